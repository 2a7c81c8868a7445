//! A channel as it is asked for, checked against what it may be.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::AppState;
use crate::config::Secret;
use crate::config::notify::check_address;
use crate::http::error::{ApiError, FieldError};
use crate::http::extract::identifier_text;
use crate::notify::Lang;
use crate::notify::channel::{Channel, ChannelType, Target};
use crate::notify::send::signature;
use crate::notify::target_url::TargetUrl;

/// Most characters of a name.
const NAME_CHARS_MAX: usize = 128;
/// Most addresses of an e-mail channel.
const ADDRESSES_MAX: usize = 20;
/// Most bytes of an address.
const ADDRESS_BYTES_MAX: usize = 320;
/// Most bytes of a token for an Alertmanager.
const TOKEN_BYTES_MAX: usize = 512;

/// A channel that is asked for.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelInput {
    /// What people call it, 1 to 128 characters
    #[schema(example = "on call")]
    pub name: String,
    /// The shape in which it is told
    pub r#type: ChannelType,
    /// The organization; the credential's own when absent
    #[serde(default, deserialize_with = "identifier_text", skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// Where to: `https://` or `http://`; of an Alertmanager without `/api/v2/alerts`. Not for e-mail
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://hooks.example.com/insights")]
    pub url: Option<String>,
    /// Addresses, 1 to 20; for e-mail alone
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Of a webhook: `whsec_` and 24 to 64 bytes in base64, made when absent. Of an Alertmanager: a bearer token. One
    /// that is kept is so for URLs of the same scheme, host and port alone
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Whether to make a new secret for a webhook that has one
    #[serde(default)]
    pub rotate_secret: bool,
    /// The language of the words around titles and annotations
    #[serde(default)]
    pub lang: Lang,
    /// Whether it is told that something is over
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub send_resolved: bool,
    /// Whether it is told anything
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

/// Without URL and secret.
impl fmt::Debug for ChannelInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelInput")
            .field("name", &self.name)
            .field("type", &self.r#type)
            .finish_non_exhaustive()
    }
}

/// Whether a URL, where it is one, has the origin that a channel had: only there what it knows may be sent.
fn is_same_origin(before: &Target, url: Option<&TargetUrl>) -> bool {
    url.is_none_or(|url| before.url().is_some_and(|before| before.is_same_origin(url)))
}

/// What a channel that was asked for comes to.
#[derive(Debug)]
pub(super) struct Checked {
    /// Where it leads.
    pub(super) target: Target,
    /// The secret that was made, to be shown once.
    pub(super) made: Option<Secret>,
}

impl ChannelInput {
    /// Checks everything; `before` is the channel that is changed.
    ///
    /// # Errors
    ///
    /// `invalid` with every place that is wrong.
    pub(super) fn check(&self, state: &AppState, before: Option<&Channel>) -> Result<Checked, ApiError> {
        let mut errors = Vec::new();
        if self.name.trim().is_empty() || self.name.chars().count() > NAME_CHARS_MAX {
            errors.push(FieldError::new("/name", "invalid", "a name has 1 to 128 characters"));
        }
        // What a channel of another type had is not what this one needs.
        let before = before.map(|channel| &channel.target).filter(|target| target.kind() == self.r#type);
        self.check_superfluous(&mut errors);
        let (target, made) = match self.r#type {
            ChannelType::Webhook => {
                let url = self.checked_url(state, before, &mut errors);
                let kept = before.filter(|before| is_same_origin(before, url.as_ref()));
                let (secret, made) = self.signing_secret(state, kept, &mut errors);
                (url.zip(secret).map(|(url, secret)| Target::Webhook { url, secret }), made)
            }
            ChannelType::Slack => {
                (self.checked_url(state, before, &mut errors).map(|url| Target::Slack { url }), None)
            }
            ChannelType::Alertmanager => {
                let url = self.checked_url(state, before, &mut errors);
                let secret = self.token(before, url.as_ref(), &mut errors);
                (url.map(|url| Target::Alertmanager { url, secret }), None)
            }
            ChannelType::Email => {
                if !state.notify.sends_mail() {
                    let detail = "this server sends no e-mail: its operator has not set smtp_url";
                    errors.push(FieldError::new("/type", "invalid", detail));
                }
                self.check_addresses(&mut errors);
                (Some(Target::Email { to: self.to.clone() }), None)
            }
        };
        match target {
            Some(target) if errors.is_empty() => Ok(Checked { target, made }),
            _ => Err(ApiError::invalid(errors)),
        }
    }

    /// What this type of channel has no use for.
    fn check_superfluous(&self, errors: &mut Vec<FieldError>) {
        let is_email = self.r#type == ChannelType::Email;
        let signs = self.r#type == ChannelType::Webhook;
        let has_secret = signs || self.r#type == ChannelType::Alertmanager;
        for (pointer, is_there) in [
            ("/url", is_email && self.url.is_some()),
            ("/to", !is_email && !self.to.is_empty()),
            ("/secret", !has_secret && self.secret.is_some()),
            ("/rotate_secret", self.rotate_secret && (!signs || self.secret.is_some())),
        ] {
            if is_there {
                let detail = "a channel of this type has no use for it";
                errors.push(FieldError::new(pointer, "invalid", detail));
            }
        }
    }

    fn checked_url(
        &self,
        state: &AppState,
        before: Option<&Target>,
        errors: &mut Vec<FieldError>,
    ) -> Option<TargetUrl> {
        let kept = before.and_then(Target::url);
        let text = match (self.url.as_deref(), kept) {
            (None, Some(kept)) => return Some(kept.clone()),
            // As it is shown: a client that sends back what it read changes nothing.
            (Some(text), Some(kept)) if text == kept.shown() => return Some(kept.clone()),
            (None, None) => {
                errors.push(FieldError::new("/url", "required", "name the URL"));
                return None;
            }
            (Some(text), _) => text,
        };
        let wrong = match TargetUrl::parse(text) {
            Ok(url) if url.is_https() && !cfg!(feature = "tls") => {
                "this server was built without https".into()
            }
            Ok(url) if state.notify.is_refused(&url) => "the host is an address that is not allowed".into(),
            Ok(url) => return Some(url),
            Err(invalid) => invalid.to_string(),
        };
        errors.push(FieldError::new("/url", "invalid", wrong));
        None
    }

    /// The secret of a webhook, and the same again when it was made here; `before` is what it may keep it from.
    fn signing_secret(
        &self,
        state: &AppState,
        before: Option<&Target>,
        errors: &mut Vec<FieldError>,
    ) -> (Option<Secret>, Option<Secret>) {
        match (&self.secret, before.and_then(Target::secret)) {
            (Some(text), _) => match signature::key_of(text) {
                Ok(_) => (Some(Secret::new(text)), None),
                Err(invalid) => {
                    errors.push(FieldError::new("/secret", "invalid", invalid.to_string()));
                    (None, None)
                }
            },
            (None, Some(kept)) if !self.rotate_secret => (Some(kept.clone()), None),
            (None, _) => {
                let made = signature::new_secret(&state.entropy);
                (Some(made.clone()), Some(made))
            }
        }
    }

    /// The token for an Alertmanager; an empty one takes away what there was. What there was is not sent elsewhere.
    fn token(
        &self,
        before: Option<&Target>,
        url: Option<&TargetUrl>,
        errors: &mut Vec<FieldError>,
    ) -> Option<Secret> {
        let Some(text) = self.secret.as_deref() else {
            let before = before?;
            let kept = before.secret()?;
            if is_same_origin(before, url) {
                return Some(kept.clone());
            }
            let detail = "the URL leads elsewhere: give the token for it, or an empty one for none";
            errors.push(FieldError::new("/secret", "required", detail));
            return None;
        };
        if text.len() > TOKEN_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let detail = "a token has at most 512 characters of ASCII without spaces";
            errors.push(FieldError::new("/secret", "invalid", detail));
        }
        (!text.is_empty()).then(|| Secret::new(text))
    }

    fn check_addresses(&self, errors: &mut Vec<FieldError>) {
        if self.to.is_empty() || self.to.len() > ADDRESSES_MAX {
            errors.push(FieldError::new("/to", "invalid", "name 1 to 20 addresses"));
            return;
        }
        for (index, address) in self.to.iter().enumerate() {
            let checked = match address.len() {
                ..=ADDRESS_BYTES_MAX => check_address(address),
                _ => Err("is too long"),
            };
            if let Err(detail) = checked {
                errors.push(FieldError::new(format!("/to/{index}"), "invalid", detail));
            }
        }
    }
}
