//! Events: the fields of a record, and its row.

use std::borrow::Cow;
use std::ops::Range;

use insights_engine::id::Stream;
use insights_engine::schema::stream::{
    ANONYMOUS_ID, EVENT_DATA, EVENT_TYPE, REQUEST_ID, SESSION_ID, TRACE_ID,
};
use serde::de::{IgnoredAny, MapAccess};

use super::document::{DocumentSeed, Rule, Scratch};
use super::intake::{Collected, Intake, Request};
use super::record::{Origin, Record, Shared, Sink, identifier, require, text};
use super::session::SessionNamer;
use crate::domain::event::EVENT_TYPE_CHARS_MAX;

/// An event as it is read.
#[derive(Debug, Default)]
pub struct EventRecord<'de> {
    shared: Shared<'de>,
    origin: Origin<'de>,
    event_type: Option<Cow<'de, str>>,
    anonymous_id: Option<Cow<'de, str>>,
    session_id: Option<Cow<'de, str>>,
    event_data: Option<Range<usize>>,
}

impl<'de> Record<'de> for EventRecord<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        scratch: &mut Scratch,
    ) -> Result<(), A::Error> {
        let faults = &mut scratch.faults;
        match key {
            "event_type" => self.event_type = text(map, "/event_type", EVENT_TYPE_CHARS_MAX, faults)?,
            "anonymous_id" => self.anonymous_id = identifier(map, "/anonymous_id", faults)?,
            "session_id" => self.session_id = identifier(map, "/session_id", faults)?,
            "event_data" => {
                let seed = DocumentSeed { rule: Rule::Object, pointer: "/event_data", scratch };
                self.event_data = map.next_value_seed(seed)?;
            }
            key => {
                let known = self.shared.field(key, map, faults)? || self.origin.field(key, map, faults)?;
                if !known {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Turns event records into rows.
#[derive(Debug)]
pub struct EventSink<'a> {
    intake: Intake<'a>,
    names: &'a SessionNamer,
}

impl<'a> EventSink<'a> {
    /// A sink without rows.
    pub fn new(request: &'a Request<'a>, names: &'a SessionNamer) -> Self {
        Self { intake: Intake::new(request, Stream::Events), names }
    }

    /// What the request came to.
    pub fn finish(self) -> Collected {
        self.intake.finish()
    }

    /// Adds the row of a record without faults.
    fn row<'r>(&mut self, mut record: EventRecord<'r>, scratch: &mut Scratch) -> Option<()>
    where
        'a: 'r,
    {
        let faults = &mut scratch.faults;
        let table = self.intake.home(&mut record.shared, faults);
        require(record.event_type.is_some(), "/event_type", faults);
        let time = self.intake.time(record.shared.timestamp, faults);
        if !faults.is_empty() {
            return None;
        }
        let (event_type, table) = (record.event_type?, table?);
        if record.shared.user_id.is_none() && record.anonymous_id.is_none() {
            record.shared.user_id = self.intake.actor().map(Cow::Borrowed);
        }
        let has_identity = record.shared.user_id.is_some() || record.anonymous_id.is_some();
        let tenant = self.intake.organization_of(table)?;
        // A session that the server named stands for the identity's chain. Without an identity there
        // is no chain, and the name is as good as a client's own.
        let session_id = record.session_id.filter(|id| !has_identity || !self.names.recognises(tenant, id));
        let (request_id, trace_id) = (self.intake.request_id(), self.intake.trace_id());
        let row = self.intake.row(table, time, &record.shared, Some(&record.origin))?;
        row.str(&REQUEST_ID, request_id)
            .str(&TRACE_ID, trace_id)
            .str(&EVENT_TYPE, Some(&event_type))
            .str(&ANONYMOUS_ID, record.anonymous_id.as_deref())
            .str(&SESSION_ID, session_id.as_deref())
            .bytes(&EVENT_DATA, scratch.document(record.event_data.as_ref()))
            .finish_row();
        Some(())
    }
}

impl<'de> Sink<'de> for EventSink<'_> {
    type Record = EventRecord<'de>;

    fn take(&mut self, record: EventRecord<'de>, scratch: &mut Scratch) {
        self.intake.begin();
        if self.row(record, scratch).is_none() {
            self.intake.reject(&mut scratch.faults);
        }
    }

    fn refuse(&mut self, scratch: &mut Scratch) {
        self.intake.begin();
        self.intake.reject(&mut scratch.faults);
    }

    fn reset(&mut self) {
        self.intake.reset();
    }
}
