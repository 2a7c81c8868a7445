//! Bodies of requests: records as JSON, made beforehand or as they are sent.

use std::fmt::Write;

use hyper::body::Bytes;

use crate::records::{Record, Records, What};

/// Where the bodies of one client come from.
#[derive(Debug)]
pub(crate) enum Bodies {
    /// Made before anything is measured and sent in turn, so that making them costs nothing while it runs.
    Made(Vec<Bytes>),
    /// Made as they are sent: for runs so long that the same records again would be no load.
    Fresh {
        /// The records.
        records: Records,
        /// How many to a body.
        batch: u32,
        /// The organizations, by index; none when the key says which.
        organizations: Vec<String>,
    },
}

impl Bodies {
    /// `count` bodies of `batch` records each; times lie before `now_ms`, milliseconds since 1970.
    pub(crate) fn make(
        mut records: Records,
        organizations: &[String],
        (count, batch): (usize, u32),
        now_ms: i64,
    ) -> Self {
        Self::Made((0..count).map(|_| body(&mut records, organizations, batch, now_ms)).collect())
    }

    /// The body of request `n`.
    pub(crate) fn get(&mut self, n: u64) -> Bytes {
        match self {
            Self::Made(bodies) => {
                let index = usize::try_from(n % bodies.len().max(1) as u64).unwrap_or(0);
                bodies.get(index).cloned().unwrap_or_default()
            }
            Self::Fresh { records, batch, organizations } => {
                body(records, organizations, *batch, jiff::Timestamp::now().as_millisecond())
            }
        }
    }
}

fn body(records: &mut Records, organizations: &[String], batch: u32, now_ms: i64) -> Bytes {
    let mut out = String::from("[");
    for index in 0..batch {
        if index > 0 {
            out.push(',');
        }
        let record = records.draw(now_ms);
        let organization = usize::try_from(record.organization).ok().and_then(|n| organizations.get(n));
        write_json(&mut out, organization.map(String::as_str), &record);
    }
    out.push(']');
    Bytes::from(out)
}

/// Appends one record. Every text is of letters that JSON takes as they are.
fn write_json(out: &mut String, organization: Option<&str>, record: &Record) {
    let Record { at_ms, app, user, .. } = record;
    out.push('{');
    if let Some(organization) = organization {
        push(out, format_args!("\"organization_id\":\"{organization}\","));
    }
    match record.what {
        What::Event { event_type, session, page, browser, duration_ms } => push(
            out,
            format_args!(
                "\"event_type\":\"{event_type}\",\"user_id\":\"user-{user}\",\"session_id\":\"s-{session:x}\",\
                 \"app_id\":\"app-{app}\",\"timestamp\":{at_ms},\"event_data\":{{\"page\":\"/app/{page}\",\
                 \"browser\":\"{browser}\",\"duration_ms\":{duration_ms}}}"
            ),
        ),
        What::Audit { action, object, object_id, address: (a, b), browser, elapsed_ms } => push(
            out,
            format_args!(
                "\"action_type\":\"{action}\",\"description\":\"{object} {object_id}\",\"user_id\":\"user-{user}\",\
                 \"content_object\":{{\"type\":\"{object}\",\"id\":\"{object}-{object_id}\"}},\
                 \"ip_address\":\"10.0.{a}.{b}\",\"user_agent\":\"Mozilla/5.0 {browser}\",\"timestamp\":{at_ms},\
                 \"metadata\":{{\"elapsed_ms\":{elapsed_ms}}}"
            ),
        ),
        What::Point { name, hundredths, host } => push(
            out,
            format_args!(
                "\"name\":\"{name}\",\"value\":{}.{:02},\"host\":\"host-{host}\",\"app_id\":\"app-{app}\",\
                 \"timestamp\":{at_ms}",
                hundredths / 100,
                hundredths % 100,
            ),
        ),
    }
    out.push('}');
}

/// Writing into a string does not fail.
fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::args::Stream;
    use crate::records::Spread;

    #[test]
    fn bodies_are_json_of_so_many_records_and_the_same_for_a_seed() {
        for &stream in Stream::value_variants() {
            let make = |seed| {
                let records = Records::new(stream, Spread::ONE, seed);
                Bodies::make(records, &["acme".to_owned()], (2, 30), 1_700_000_000_000)
            };
            let body: serde_json::Value = serde_json::from_slice(&make(1).get(0)).unwrap();
            assert_eq!(body.as_array().unwrap().len(), 30);
            assert!(body.as_array().unwrap().iter().all(|r| r["organization_id"] == "acme"));
            assert_eq!(make(1).get(1), make(1).get(3));
            assert_ne!(make(1).get(0), make(2).get(0));
        }
    }

    #[test]
    fn fresh_bodies_differ_and_a_key_of_one_organization_names_none() {
        let records = Records::new(Stream::Metrics, Spread::ONE, 1);
        let mut fresh = Bodies::Fresh { records, batch: 2, organizations: Vec::new() };
        let (one, two) = (fresh.get(0), fresh.get(0));
        assert_ne!(one, two);
        assert!(!String::from_utf8_lossy(&one).contains("organization_id"));
    }
}
