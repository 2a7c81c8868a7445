//! What the records of all streams have in common: fields that are read as they come, then checked.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use insights_engine::time::TimestampUs;
use serde::de::MapAccess;

use super::document::Scratch;
use super::fault::{Faults, code};
use super::raw::Raw;

/// Most characters of a User-Agent that are kept.
pub const USER_AGENT_CHARS_MAX: usize = 1024;

/// A record that is being read, field by field.
///
/// What is wrong with a field goes into the scratch's faults; an `Err` is only for text that is no JSON.
pub trait Record<'de>: Default {
    /// Takes the value of `key` from `map`. An unknown key is read over.
    ///
    /// # Errors
    ///
    /// The parser's own.
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        scratch: &mut Scratch,
    ) -> Result<(), A::Error>;
}

/// Takes records as they are read; counts them, and says no.
pub trait Sink<'de> {
    /// What the fields of a record are read into.
    type Record: Record<'de>;

    /// A record was read; `scratch` has its documents and its faults.
    fn take(&mut self, record: Self::Record, scratch: &mut Scratch);

    /// A record could not be read; `scratch` has its faults.
    fn refuse(&mut self, scratch: &mut Scratch);

    /// Forgets everything: the body is read once more, from its start.
    fn reset(&mut self);
}

/// The fields that every stream has.
#[derive(Debug, Default)]
pub struct Shared<'de> {
    /// The id that the client gives the record.
    pub id: Option<Cow<'de, str>>,
    /// Whose record it is.
    pub organization_id: Option<Cow<'de, str>>,
    /// Who acted.
    pub user_id: Option<Cow<'de, str>>,
    /// In which application.
    pub app_id: Option<Cow<'de, str>>,
    /// When.
    pub timestamp: Option<TimestampUs>,
}

impl<'de> Shared<'de> {
    /// Takes the value of `key` if it is one of these fields; says whether it was.
    ///
    /// # Errors
    ///
    /// The parser's own.
    pub fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        faults: &mut Faults,
    ) -> Result<bool, A::Error> {
        match key {
            "id" => self.id = identifier(map, "/id", faults)?,
            "organization_id" => self.organization_id = identifier(map, "/organization_id", faults)?,
            "user_id" => self.user_id = identifier(map, "/user_id", faults)?,
            "app_id" => self.app_id = identifier(map, "/app_id", faults)?,
            "timestamp" => self.timestamp = map.next_value::<Raw<'de>>()?.instant("/timestamp", faults),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Where a record comes from, for the streams that keep it.
#[derive(Debug, Default)]
pub struct Origin<'de> {
    /// The client's address, as the record gives it.
    pub ip_address: Option<Cow<'de, str>>,
    /// The client's User-Agent, as the record gives it.
    pub user_agent: Option<Cow<'de, str>>,
}

impl<'de> Origin<'de> {
    /// Takes the value of `key` if it is one of these fields; says whether it was.
    ///
    /// # Errors
    ///
    /// The parser's own.
    pub fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        faults: &mut Faults,
    ) -> Result<bool, A::Error> {
        match key {
            "ip_address" => {
                let text = text(map, "/ip_address", usize::MAX, faults)?;
                self.ip_address = text.and_then(|text| address(text, faults));
            }
            "user_agent" => {
                self.user_agent = text(map, "/user_agent", usize::MAX, faults)?.map(cut_user_agent);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Tells that a field is absent that must be there, unless it was told already why.
pub fn require(present: bool, pointer: &str, faults: &mut Faults) {
    if !present && !faults.mention(pointer) {
        faults.add(pointer, code::REQUIRED, "this field is required");
    }
}

/// The next value of `map` as text of at most `chars_max` characters.
///
/// # Errors
///
/// The parser's own.
pub fn text<'de, A: MapAccess<'de>>(
    map: &mut A,
    pointer: &str,
    chars_max: usize,
    faults: &mut Faults,
) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(map.next_value::<Raw<'de>>()?.text(pointer, chars_max, faults))
}

/// The next value of `map` as an identifier.
///
/// # Errors
///
/// The parser's own.
pub fn identifier<'de, A: MapAccess<'de>>(
    map: &mut A,
    pointer: &str,
    faults: &mut Faults,
) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(map.next_value::<Raw<'de>>()?.identifier(pointer, faults))
}

/// An address without its port, in its shortest form.
fn address<'de>(text: Cow<'de, str>, faults: &mut Faults) -> Option<Cow<'de, str>> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&text);
    let parsed = bare
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
        .inspect_err(|_| faults.add("/ip_address", code::INVALID, "this is no IPv4 or IPv6 address"));
    match parsed.ok()?.to_canonical() {
        // The text of an IPv4 address has one form only.
        IpAddr::V4(_) if bare.len() == text.len() && !text.contains(':') => Some(text),
        ip => Some(Cow::Owned(ip.to_string())),
    }
}

/// A User-Agent is kept for people to read, so a longer one is cut rather than refused.
fn cut_user_agent(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.len() <= USER_AGENT_CHARS_MAX {
        return text;
    }
    match text.char_indices().nth(USER_AGENT_CHARS_MAX) {
        Some(_) => Cow::Owned(text.chars().take(USER_AGENT_CHARS_MAX).collect()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_its_port_and_is_written_shortest() {
        let table = [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:8080", Some("192.0.2.1")),
            ("2001:DB8:0:0::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("localhost", None),
            ("192.0.2", None),
            ("192.0.2.1, 10.0.0.1", None),
        ];
        for (given, expected) in table {
            let mut faults = Faults::default();
            assert_eq!(address(Cow::Borrowed(given), &mut faults).as_deref(), expected, "{given}");
            assert_eq!(faults.is_empty(), expected.is_some());
        }
    }

    #[test]
    fn a_long_user_agent_is_cut_at_a_character() {
        let long = "\u{e9}".repeat(2 * USER_AGENT_CHARS_MAX);
        assert_eq!(cut_user_agent(Cow::Borrowed(&long)).chars().count(), USER_AGENT_CHARS_MAX);
        assert_eq!(cut_user_agent(Cow::Borrowed("curl/8")), "curl/8");
    }
}
