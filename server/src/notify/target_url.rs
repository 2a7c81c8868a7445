//! The URL of a channel: checked once, and shown without what may be secret in it.

use std::fmt;

use url::{Host, Url};

/// Most bytes of a URL.
pub const URL_BYTES_MAX: usize = 2_048;

/// A text that is no URL of a channel, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUrl(&'static str);

/// An absolute `http` or `https` URL with a host, without user, password and fragment. Cheap enough to clone.
///
/// Its host is in its one canonical spelling: `http://0x7f.1/` is `http://127.0.0.1/` here, so what looks at the
/// host sees what is connected to.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetUrl(Url);

impl TargetUrl {
    /// Checks a text.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        if text.len() > URL_BYTES_MAX {
            return Err(InvalidUrl("a URL has 2048 bytes at most"));
        }
        let url =
            Url::parse(text).map_err(|_| InvalidUrl("is no absolute URL such as https://example.com/in"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidUrl("a URL starts with https:// or http://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidUrl("a URL has no user and no password in it"));
        }
        if url.fragment().is_some() {
            return Err(InvalidUrl("a URL has no fragment"));
        }
        if url.host().is_none() || url.port() == Some(0) {
            return Err(InvalidUrl("a URL names a host"));
        }
        Ok(Self(url))
    }

    /// The URL itself, for the requests that go there and the record that keeps it.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is `https`.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The host: a name in its ASCII form, or an address.
    pub fn host(&self) -> Option<Host<&str>> {
        self.0.host()
    }

    /// Whether scheme, host and port are the same.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }

    /// The URL with `segments` after its path; its query is left out.
    #[must_use]
    pub fn join(&self, segments: &[&str]) -> Self {
        let mut url = self.0.clone();
        url.set_query(None);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Self(url)
    }

    /// The URL as it is shown: scheme, host and port. A path may be a secret (those of Slack are), a query too.
    pub fn shown(&self) -> String {
        let has_more = self.0.path() != "/" || self.0.query().is_some();
        let origin = self.0.origin().ascii_serialization();
        if has_more { format!("{origin}/...") } else { format!("{origin}/") }
    }
}

impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_shown_without_its_path_and_query() {
        for (text, shown) in [
            ("https://hooks.slack.com/services/T0/B0/x", "https://hooks.slack.com/..."),
            ("https://example.com:8443/?token=t", "https://example.com:8443/..."),
            ("HTTP://Example.COM", "http://example.com/"),
            ("http://[2001:DB8::1]:80/", "http://[2001:db8::1]/"),
            ("https://b\u{fc}cher.example/", "https://xn--bcher-kva.example/"),
        ] {
            assert_eq!(TargetUrl::parse(text).unwrap().shown(), shown);
        }
    }

    #[test]
    fn what_is_no_plain_address_of_a_server_is_refused() {
        let long = format!("https://example.com/{}", "a".repeat(URL_BYTES_MAX));
        for text in [
            "",
            "example.com",
            "/in",
            "https://",
            "ftp://example.com/",
            "file:///etc/passwd",
            "javascript:x",
            "gopher://example.com/",
            "https://user@example.com/",
            "https://u:p@example.com/",
            "https://example.com/#x",
            "https://example.com:0/",
            "https://exa mple.com/",
            "http://256.1.1.1/",
            &long,
        ] {
            assert!(TargetUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_is_added_behind_the_one_there_is() {
        let joined = |text: &str| TargetUrl::parse(text).unwrap().join(&["api", "v2"]).expose().to_owned();
        assert_eq!(joined("http://am:9093"), "http://am:9093/api/v2");
        assert_eq!(joined("http://am:9093/"), "http://am:9093/api/v2");
        assert_eq!(joined("http://am/prefix/?x=1"), "http://am/prefix/api/v2");
    }

    proptest! {
        #[test]
        fn any_text_is_judged_and_what_passes_stays_the_same(text in "(https?://)?[ -~\\PC]{0,60}") {
            if let Ok(url) = TargetUrl::parse(&text) {
                prop_assert_eq!(TargetUrl::parse(url.expose()), Ok(url.clone()));
                prop_assert!(url.shown().starts_with("http"));
            }
        }
    }
}
