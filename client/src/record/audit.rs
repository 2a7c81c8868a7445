//! An audit record: what was done to what, by whom, and whether it succeeded.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

/// How grave an audited act is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Business as usual.
    #[default]
    Info,
    /// Worth a look.
    Notice,
    /// Somebody was refused.
    Warning,
    /// Something failed.
    Error,
    /// Somebody must act.
    Critical,
}

/// Whether an audited act succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    #[default]
    Success,
    /// It was refused, or failed.
    Failure,
}

/// The object an audit record is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ContentObject {
    /// Its type, such as `project`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub object_type: Option<String>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What it is shown as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repr: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl ContentObject {
    /// An object of a type, by its id.
    pub fn new(object_type: impl Into<String>, id: impl Into<String>) -> Self {
        Self { object_type: Some(object_type.into()), id: Some(id.into()), repr: None, url: None }
    }

    setters! {
        /// Sets what it is shown as.
        repr: String,
        /// Sets its address.
        url: String,
    }
}

/// An audit record for `POST /api/insights/audit/`.
///
/// ```
/// # use insights_client::{AuditRecord, ContentObject, Severity};
/// let record = AuditRecord::new("project.deleted")
///     .user_id("u-7")
///     .content_object(ContentObject::new("project", "p-3").repr("Apollo"))
///     .severity(Severity::Notice)
///     .change("state", "active", "deleted");
/// assert_eq!(record.action_type, "project.deleted");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AuditRecord {
    /// What was done: words of `A-Z a-z 0-9 _ : -` with dots between, at most 128 bytes.
    pub action_type: String,
    /// What was done, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// What that user is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// The organization; the key's, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// What it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_object: Option<ContentObject>,
    /// What else it touched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Value>,
    /// From where; this process's address, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<IpAddr>,
    /// With what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// How grave it is.
    pub severity: Severity,
    /// Whether it was done.
    pub outcome: Outcome,
    /// Anything else about it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// By field what it was and what it is, `[before, after]`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub changes: Map<String, Value>,
    /// The request it was done in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The trace it was done in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// When; the time of the call, when absent.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::clock::rfc3339")]
    pub timestamp: Option<SystemTime>,
    /// The record's own id (a version 7 UUID is best), which the server keeps once in 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl AuditRecord {
    /// A record of the act, of severity `info` and outcome `success`, with nothing else.
    pub fn new(action_type: impl Into<String>) -> Self {
        Self {
            action_type: action_type.into(),
            description: None,
            user_id: None,
            user_name: None,
            organization_id: None,
            app_id: None,
            content_object: None,
            targets: Vec::new(),
            ip_address: None,
            user_agent: None,
            severity: Severity::default(),
            outcome: Outcome::default(),
            metadata: Map::new(),
            changes: Map::new(),
            request_id: None,
            trace_id: None,
            timestamp: None,
            id: None,
        }
    }

    /// Sets how grave it is.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Sets whether it was done.
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Adds something else that it touched.
    #[must_use]
    pub fn target(mut self, target: impl Into<Value>) -> Self {
        self.targets.push(target.into());
        self
    }

    /// Adds one member to `metadata`.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Adds one changed field; the server masks what looks like a secret.
    #[must_use]
    pub fn change(
        mut self,
        field: impl Into<String>,
        before: impl Into<Value>,
        after: impl Into<Value>,
    ) -> Self {
        self.changes.insert(field.into(), Value::Array(vec![before.into(), after.into()]));
        self
    }

    setters! {
        /// Sets the sentence.
        description: String,
        /// Sets the user.
        user_id: String,
        /// Sets what the user is called.
        user_name: String,
        /// Sets the organization, which only a superuser's key may choose.
        organization_id: String,
        /// Sets the application.
        app_id: String,
        /// Sets what it was done to.
        content_object: ContentObject,
        /// Sets the address it came from.
        ip_address: IpAddr,
        /// Sets the user agent.
        user_agent: String,
        /// Sets the request.
        request_id: String,
        /// Sets the trace.
        trace_id: String,
        /// Sets the time.
        timestamp: SystemTime,
        /// Sets the record's own id.
        id: String,
    }
}
