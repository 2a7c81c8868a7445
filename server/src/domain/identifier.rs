//! Identifiers of organizations, users, apps, sessions, objects and records.

/// Longest identifier, in bytes.
pub const IDENTIFIER_BYTES_MAX: usize = 128;

/// Whether `text` is an identifier: 1 to 128 characters of `[A-Za-z0-9._:@-]`, not `.` or `..`.
pub fn is_identifier(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=IDENTIFIER_BYTES_MAX).contains(&bytes.len())
        && text != "."
        && text != ".."
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'-'))
}
