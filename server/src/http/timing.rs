//! `Server-Timing`: how long an answer took in the server, for answers whose body has no place for it.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

/// The header of W3C Server Timing.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Says how long the answer took, from when its request was understood until its body was made: one metric named
/// `engine`, its duration in milliseconds with three decimals, as the specification has it.
pub fn add(response: &mut Response, elapsed: Duration) {
    let us = elapsed.as_micros();
    let text = format!("engine;dur={}.{:03}", us / 1000, us % 1000);
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(SERVER_TIMING, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_milliseconds_with_three_decimals() {
        for (us, expected) in
            [(0, "engine;dur=0.000"), (42, "engine;dur=0.042"), (1_234_567, "engine;dur=1234.567")]
        {
            let mut response = Response::default();
            add(&mut response, Duration::from_micros(us));
            assert_eq!(response.headers()[SERVER_TIMING], expected);
        }
    }
}
