//! An event: what somebody did.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

/// An event for `POST /api/insights/track/`.
///
/// ```
/// # use insights_client::Event;
/// let event = Event::new("project.opened").user_id("u-7").session_id("s-1").data("project", "p-3").data("tab", 2);
/// assert_eq!(event.event_type, "project.opened");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// What happened, 1 to 128 characters.
    pub event_type: String,
    /// Anything about it: at most 64 KiB, 256 keys, 8 levels.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub event_data: Map<String, Value>,
    /// The session it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Who did it, while nobody has signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<String>,
    /// The organization; the key's, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// From where; this process's address, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<IpAddr>,
    /// With what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// When; the time of the call, when absent.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::clock::rfc3339")]
    pub timestamp: Option<SystemTime>,
    /// The event's own id (a version 7 UUID is best), which the server keeps once in 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Event {
    /// An event of the type, with nothing else.
    pub fn new(event_type: impl Into<String>) -> Self {
        Self {
            event_type: event_type.into(),
            event_data: Map::new(),
            session_id: None,
            user_id: None,
            anonymous_id: None,
            organization_id: None,
            app_id: None,
            ip_address: None,
            user_agent: None,
            timestamp: None,
            id: None,
        }
    }

    /// Adds one member to `event_data`.
    #[must_use]
    pub fn data(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.event_data.insert(name.into(), value.into());
        self
    }

    setters! {
        /// Sets the session.
        session_id: String,
        /// Sets the user.
        user_id: String,
        /// Sets the identity of a visitor who has not signed in.
        anonymous_id: String,
        /// Sets the organization, which only a superuser's key may choose.
        organization_id: String,
        /// Sets the application.
        app_id: String,
        /// Sets the address it came from.
        ip_address: IpAddr,
        /// Sets the user agent.
        user_agent: String,
        /// Sets the time.
        timestamp: SystemTime,
        /// Sets the event's own id.
        id: String,
    }
}
