//! A request and how it went, as predicates and functions of the caller see it.

use http::{Method, StatusCode, request};

use crate::record::{Outcome, Severity};

/// A request that was served, and how it went.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) route: &'a str,
    pub(crate) status: Option<StatusCode>,
}

impl Act<'_> {
    /// The method.
    pub fn method(&self) -> &Method {
        self.method
    }

    /// The path, without the query. It may hold what the caller does not want to be recorded.
    pub fn path(&self) -> &str {
        self.path
    }

    /// The name of the route.
    pub fn route(&self) -> &str {
        self.route
    }

    /// The status of the answer, or none when the inner service failed without one.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Whether the method changes something: `POST`, `PUT`, `PATCH` and `DELETE`.
    pub fn is_mutating(&self) -> bool {
        [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(self.method)
    }

    /// Whether the act is recorded unless the caller decides otherwise.
    ///
    /// That is when something was changed (a mutating method answered below 400), somebody was refused (401 and 403), or the
    /// service failed (5xx, or no answer at all).
    pub fn is_important(&self) -> bool {
        match self.status {
            None | Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => true,
            Some(status) if status.is_server_error() => true,
            Some(status) => self.is_mutating() && status.as_u16() < 400,
        }
    }

    /// `failure` from 400 on and without an answer.
    pub fn outcome(&self) -> Outcome {
        match self.status {
            Some(status) if status.as_u16() < 400 => Outcome::Success,
            _ => Outcome::Failure,
        }
    }

    /// `info` below 400, `notice` for what the client did wrong, `warning` for 401 and 403, `error` from 500 on and without an
    /// answer.
    pub fn severity(&self) -> Severity {
        match self.status {
            None => Severity::Error,
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Severity::Warning,
            Some(status) => match status.as_u16() {
                0..400 => Severity::Info,
                400..500 => Severity::Notice,
                500.. => Severity::Error,
            },
        }
    }
}

/// What is kept of a request while the inner service has it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
}

impl Asked {
    pub(crate) fn of(parts: &request::Parts) -> Self {
        Self { method: parts.method.clone(), path: parts.uri.path().to_owned() }
    }
}
