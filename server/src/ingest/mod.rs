//! From untrusted records to typed rows.
