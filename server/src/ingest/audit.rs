//! Audit records: the fields of a record, and its row.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use insights_engine::id::Stream;
use insights_engine::schema::stream::{
    ACTION_TYPE, CHANGES, DESCRIPTION, METADATA, OBJECT_ID, OBJECT_REPR, OBJECT_TYPE, OBJECT_URL, OUTCOME,
    REQUEST_ID, SEVERITY, TARGETS, TRACE_ID, USER_NAME,
};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::document::{DocumentSeed, Rule, Scratch};
use super::fault::{Faults, code};
use super::intake::{Collected, Intake, Request};
use super::raw::{Key, Raw, wrong_type};
use super::record::{Origin, Record, Shared, Sink, identifier, require, text};
use crate::domain::audit::{ACTION_TYPE_BYTES_MAX, OWN_ACTION_PREFIX, Outcome, Severity, is_action_type};

/// Most characters of a description.
pub const DESCRIPTION_CHARS_MAX: usize = 8192;
/// Most characters of a user's name.
pub const USER_NAME_CHARS_MAX: usize = 256;
/// Most characters of what an object is shown as.
pub const OBJECT_REPR_CHARS_MAX: usize = 1024;
/// Most characters of an object's address.
pub const OBJECT_URL_CHARS_MAX: usize = 2048;
/// Most characters of an object's type, and of the id of a request or a trace.
const NAME_CHARS_MAX: usize = 128;

/// The object that a record is about.
#[derive(Debug, Default)]
struct ContentObject<'de> {
    object_type: Option<Cow<'de, str>>,
    id: Option<Cow<'de, str>>,
    repr: Option<Cow<'de, str>>,
    url: Option<Cow<'de, str>>,
}

/// An audit record as it is read.
#[derive(Debug, Default)]
pub struct AuditRecord<'de> {
    shared: Shared<'de>,
    origin: Origin<'de>,
    action_type: Option<Cow<'de, str>>,
    description: Option<Cow<'de, str>>,
    user_name: Option<Cow<'de, str>>,
    content_object: ContentObject<'de>,
    severity: Severity,
    outcome: Outcome,
    request_id: Option<Cow<'de, str>>,
    trace_id: Option<Cow<'de, str>>,
    targets: Option<Range<usize>>,
    metadata: Option<Range<usize>>,
    changes: Option<Range<usize>>,
}

impl<'de> Record<'de> for AuditRecord<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        scratch: &mut Scratch,
    ) -> Result<(), A::Error> {
        let faults = &mut scratch.faults;
        match key {
            "action_type" => {
                self.action_type = text(map, "/action_type", ACTION_TYPE_BYTES_MAX, faults)?
                    .filter(|action| check_action(action, faults));
            }
            "description" => self.description = text(map, "/description", DESCRIPTION_CHARS_MAX, faults)?,
            "user_name" => self.user_name = text(map, "/user_name", USER_NAME_CHARS_MAX, faults)?,
            "content_object" => self.content_object = map.next_value_seed(ContentObjectSeed(faults))?,
            "severity" => {
                let known = Severity::ALL.map(Severity::name);
                self.severity = choice(map, "/severity", &known, Severity::from_name, faults)?;
            }
            "outcome" => {
                let known = Outcome::ALL.map(Outcome::name);
                self.outcome = choice(map, "/outcome", &known, Outcome::from_name, faults)?;
            }
            "request_id" => self.request_id = text(map, "/request_id", NAME_CHARS_MAX, faults)?,
            "trace_id" => self.trace_id = text(map, "/trace_id", NAME_CHARS_MAX, faults)?,
            "targets" => self.targets = document(map, Rule::List, "/targets", scratch)?,
            "metadata" => self.metadata = document(map, Rule::Object, "/metadata", scratch)?,
            "changes" => self.changes = document(map, Rule::Changes, "/changes", scratch)?,
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

fn document<'de, A: MapAccess<'de>>(
    map: &mut A,
    rule: Rule,
    pointer: &str,
    scratch: &mut Scratch,
) -> Result<Option<Range<usize>>, A::Error> {
    map.next_value_seed(DocumentSeed { rule, pointer, scratch })
}

fn check_action(action: &str, faults: &mut Faults) -> bool {
    if !is_action_type(action) {
        let detail =
            "an action type is words of A-Z a-z 0-9 _ : - with dots between, such as project.created";
        faults.add("/action_type", code::INVALID, detail);
    } else if action.starts_with(OWN_ACTION_PREFIX) {
        let detail = format!("{OWN_ACTION_PREFIX}* are the server's own actions");
        faults.add("/action_type", code::RESERVED, detail);
    } else {
        return true;
    }
    false
}

/// One of a few names; null and empty text are the default.
fn choice<'de, A: MapAccess<'de>, T: Default>(
    map: &mut A,
    pointer: &str,
    known: &[&str],
    from_name: impl Fn(&str) -> Option<T>,
    faults: &mut Faults,
) -> Result<T, A::Error> {
    let Some(name) = text(map, pointer, usize::MAX, faults)? else { return Ok(T::default()) };
    Ok(from_name(&name).unwrap_or_else(|| {
        faults.add(pointer, code::INVALID, format!("this is one of {}", known.join(", ")));
        T::default()
    }))
}

struct ContentObjectSeed<'a>(&'a mut Faults);

impl<'de> DeserializeSeed<'de> for ContentObjectSeed<'_> {
    type Value = ContentObject<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ContentObjectSeed<'_> {
    #[expect(clippy::unnecessary_wraps, reason = "the shape of a visitor's methods")]
    fn other<'de, E: Error>(self, raw: &Raw<'_>) -> Result<ContentObject<'de>, E> {
        let none = wrong_type(raw, "an object", "/content_object", self.0);
        Ok(none.unwrap_or_default())
    }
}

impl<'de> Visitor<'de> for ContentObjectSeed<'_> {
    type Value = ContentObject<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(ContentObject::default())
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<Self::Value, E> {
        self.other(&Raw::Bool(b))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Self::Value, E> {
        self.other(&Raw::I64(n))
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Self::Value, E> {
        self.other(&Raw::U64(n))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Self::Value, E> {
        self.other(&Raw::F64(n))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.other(&Raw::Str(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.other(&Raw::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = ContentObject::default();
        let faults = self.0;
        while let Some(key) = map.next_key::<Key<'de>>()? {
            match &*key.0 {
                "type" => {
                    object.object_type = text(&mut map, "/content_object/type", NAME_CHARS_MAX, faults)?;
                }
                "id" => object.id = identifier(&mut map, "/content_object/id", faults)?,
                "repr" => {
                    object.repr = text(&mut map, "/content_object/repr", OBJECT_REPR_CHARS_MAX, faults)?;
                }
                "url" => object.url = text(&mut map, "/content_object/url", OBJECT_URL_CHARS_MAX, faults)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(object)
    }
}

/// Turns audit records into rows.
#[derive(Debug)]
pub struct AuditSink<'a> {
    intake: Intake<'a>,
}

impl<'a> AuditSink<'a> {
    /// A sink without rows.
    pub fn new(request: &'a Request<'a>) -> Self {
        Self { intake: Intake::new(request, Stream::Audit) }
    }

    /// What the request came to.
    pub fn finish(self) -> Collected {
        self.intake.finish()
    }

    /// Adds the row of a record without faults.
    fn row<'r>(&mut self, mut record: AuditRecord<'r>, scratch: &mut Scratch) -> Option<()>
    where
        'a: 'r,
    {
        let faults = &mut scratch.faults;
        let table = self.intake.home(&mut record.shared, faults);
        require(record.action_type.is_some(), "/action_type", faults);
        let time = self.intake.time(record.shared.timestamp, faults);
        if !faults.is_empty() {
            return None;
        }
        let (action_type, table) = (record.action_type?, table?);
        if record.shared.user_id.is_none() {
            record.shared.user_id = self.intake.actor().map(Cow::Borrowed);
        }
        let request_id = record.request_id.as_deref().or(self.intake.request_id());
        let trace_id = record.trace_id.as_deref().or(self.intake.trace_id());
        let row = self.intake.row(table, time, &record.shared, Some(&record.origin))?;
        let object = &record.content_object;
        row.str(&REQUEST_ID, request_id)
            .str(&TRACE_ID, trace_id)
            .str(&ACTION_TYPE, Some(&action_type))
            .str(&DESCRIPTION, record.description.as_deref())
            .str(&USER_NAME, record.user_name.as_deref())
            .str(&OBJECT_TYPE, object.object_type.as_deref())
            .str(&OBJECT_ID, object.id.as_deref())
            .str(&OBJECT_REPR, object.repr.as_deref())
            .str(&OBJECT_URL, object.url.as_deref())
            .bytes(&TARGETS, scratch.document(record.targets.as_ref()))
            .u64(&SEVERITY, record.severity.tag())
            .u64(&OUTCOME, record.outcome.tag())
            .bytes(&METADATA, scratch.document(record.metadata.as_ref()))
            .bytes(&CHANGES, scratch.document(record.changes.as_ref()))
            .finish_row();
        Some(())
    }
}

impl<'de> Sink<'de> for AuditSink<'_> {
    type Record = AuditRecord<'de>;

    fn take(&mut self, record: AuditRecord<'de>, scratch: &mut Scratch) {
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
