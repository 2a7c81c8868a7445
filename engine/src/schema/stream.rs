//! The three streams and their columns; the numbers are stable, they are on disk.

use serde::{Deserialize, Serialize};

use crate::id::Stream;

/// What a tenant gives codes to, one code space for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum IdentityKind {
    /// Users that are known by an id.
    User = 0,
    /// Visitors that are known by an anonymous id.
    Visitor = 1,
    /// Applications.
    App = 2,
    /// Objects that audit records are about.
    Object = 3,
    /// Names: event types, actions, object types, metrics, hosts.
    Name = 4,
}

impl IdentityKind {
    /// Every kind, in the order of their tags.
    pub const ALL: [Self; 5] = [Self::User, Self::Visitor, Self::App, Self::Object, Self::Name];

    /// The byte that names the kind on disk.
    pub const fn tag(self) -> u8 {
        self as u8
    }

    /// The kind a byte on disk names, if any.
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::User),
            1 => Some(Self::Visitor),
            2 => Some(Self::App),
            3 => Some(Self::Object),
            4 => Some(Self::Name),
            _ => None,
        }
    }
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Instants in microseconds ([`super::Column::I64`]), never absent.
    Time,
    /// Unsigned numbers ([`super::Column::U64`]), never absent.
    U64,
    /// Doubles ([`super::Column::F64`]), never absent, any bit pattern.
    F64,
    /// Text or bytes ([`super::Column::Bytes`]), may be absent.
    Str,
    /// Text in a batch, a code of the tenant dictionary in a segment; may be absent.
    Code(IdentityKind),
    /// An encoded [`super::Document`] in a batch, sub-columns in a segment; may be absent.
    Document,
}

/// The stable number of a column, unique over all streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ColumnId(pub u16);

/// One column of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnDef {
    /// Its number on disk.
    pub id: ColumnId,
    /// Its name on the wire.
    pub name: &'static str,
    /// What its values are.
    pub ty: ColumnType,
}

/// The columns of a stream, in the order of a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Schema {
    /// The stream.
    pub stream: Stream,
    /// Its columns.
    pub columns: &'static [ColumnDef],
}

impl Schema {
    /// The schema of a stream.
    pub const fn of(stream: Stream) -> &'static Self {
        match stream {
            Stream::Events => &EVENTS,
            Stream::Audit => &AUDIT,
            Stream::Metrics => &METRICS,
        }
    }

    /// The place of a column in a batch, if the stream has it.
    pub fn index_of(&self, id: ColumnId) -> Option<usize> {
        self.columns.iter().position(|c| c.id == id)
    }

    /// A column by its number, if the stream has it.
    pub fn get(&self, id: ColumnId) -> Option<&'static ColumnDef> {
        self.columns.iter().find(|c| c.id == id)
    }

    /// A column by its name, if the stream has it.
    pub fn by_name(&self, name: &str) -> Option<&'static ColumnDef> {
        self.columns.iter().find(|c| c.name == name)
    }
}

macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident = $id:literal $wire:literal $ty:expr;)*) => {
        $($(#[$doc])* pub const $name: ColumnDef = ColumnDef { id: ColumnId($id), name: $wire, ty: $ty };)*
    };
}

columns! {
    /// When it happened.
    TIME = 0 "timestamp" ColumnType::Time;
    /// When the server received it.
    RECEIVED = 1 "received_at" ColumnType::Time;
    /// The WAL frame it came in; written by the engine.
    LSN = 2 "lsn" ColumnType::U64;
    /// Its place in its tenant's stream, from 1, without holes; written by the engine.
    SEQ = 3 "seq" ColumnType::U64;
    /// The id the client gave; absent when the server derives one.
    ID = 4 "id" ColumnType::Str;
    /// The credential it was written with: the id of a key, or `user:<id>`.
    WRITING_KEY = 5 "writing_key" ColumnType::Str;
    /// The request it came in.
    REQUEST_ID = 6 "request_id" ColumnType::Str;
    /// The trace it belongs to.
    TRACE_ID = 7 "trace_id" ColumnType::Str;
    /// The key of its personal columns, 0 for none; written by the engine.
    KEY_ID = 8 "key_id" ColumnType::U64;
    /// The user.
    USER_ID = 9 "user_id" ColumnType::Code(IdentityKind::User);
    /// The application.
    APP_ID = 10 "app_id" ColumnType::Code(IdentityKind::App);
    /// The client's address, in text.
    IP_ADDRESS = 11 "ip_address" ColumnType::Str;
    /// The client's User-Agent.
    USER_AGENT = 12 "user_agent" ColumnType::Str;

    /// What happened.
    EVENT_TYPE = 32 "event_type" ColumnType::Code(IdentityKind::Name);
    /// The visitor, when there is no user.
    ANONYMOUS_ID = 33 "anonymous_id" ColumnType::Code(IdentityKind::Visitor);
    /// The client's session; absent when the identity's chain stands for it.
    SESSION_ID = 34 "session_id" ColumnType::Str;
    /// The event's own data.
    EVENT_DATA = 35 "event_data" ColumnType::Document;

    /// What was done, dotted.
    ACTION_TYPE = 64 "action_type" ColumnType::Code(IdentityKind::Name);
    /// In words.
    DESCRIPTION = 65 "description" ColumnType::Str;
    /// The user's name at the time.
    USER_NAME = 66 "user_name" ColumnType::Str;
    /// The type of the object.
    OBJECT_TYPE = 67 "object_type" ColumnType::Code(IdentityKind::Name);
    /// The id of the object.
    OBJECT_ID = 68 "object_id" ColumnType::Code(IdentityKind::Object);
    /// How the object was shown.
    OBJECT_REPR = 69 "object_repr" ColumnType::Str;
    /// Where the object is.
    OBJECT_URL = 70 "object_url" ColumnType::Str;
    /// Further objects.
    TARGETS = 71 "targets" ColumnType::Document;
    /// 0 info, 1 notice, 2 warning, 3 error, 4 critical.
    SEVERITY = 72 "severity" ColumnType::U64;
    /// 0 success, 1 failure.
    OUTCOME = 73 "outcome" ColumnType::U64;
    /// Context.
    METADATA = 74 "metadata" ColumnType::Document;
    /// Field -> [before, after].
    CHANGES = 75 "changes" ColumnType::Document;
    /// Of an erased record what its personal fields were hashed to, 32 bytes; empty for as long as they are
    /// hidden and still there, absent in a whole record; written by the engine.
    COMMITMENT = 76 "commitment" ColumnType::Str;

    /// The metric.
    NAME = 96 "name" ColumnType::Code(IdentityKind::Name);
    /// The host.
    HOST = 97 "host" ColumnType::Code(IdentityKind::Name);
    /// An object of strings.
    LABELS = 98 "labels" ColumnType::Document;
    /// A [`MetricKind`].
    KIND = 99 "kind" ColumnType::U64;
    /// The value; any bit pattern.
    VALUE = 100 "value" ColumnType::F64;
    /// An encoded histogram, for the kind of that name.
    HISTOGRAM = 101 "histogram" ColumnType::Str;
}

/// What a point of a metric says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum MetricKind {
    /// A value that goes up and down.
    Gauge = 0,
    /// The increment since the last point.
    Counter = 1,
    /// A total since some start; it falls back to zero at a restart.
    CumulativeCounter = 2,
    /// One observation of a distribution.
    Observation = 3,
    /// A whole distribution, encoded.
    Histogram = 4,
}

impl MetricKind {
    /// The kind a stored number names, if any.
    pub const fn from_tag(tag: u64) -> Option<Self> {
        match tag {
            0 => Some(Self::Gauge),
            1 => Some(Self::Counter),
            2 => Some(Self::CumulativeCounter),
            3 => Some(Self::Observation),
            4 => Some(Self::Histogram),
            _ => None,
        }
    }
}

static EVENTS: Schema = Schema {
    stream: Stream::Events,
    columns: &[
        TIME,
        RECEIVED,
        LSN,
        SEQ,
        ID,
        WRITING_KEY,
        REQUEST_ID,
        TRACE_ID,
        KEY_ID,
        USER_ID,
        APP_ID,
        IP_ADDRESS,
        USER_AGENT,
        EVENT_TYPE,
        ANONYMOUS_ID,
        SESSION_ID,
        EVENT_DATA,
    ],
};

static AUDIT: Schema = Schema {
    stream: Stream::Audit,
    columns: &[
        TIME,
        RECEIVED,
        LSN,
        SEQ,
        ID,
        WRITING_KEY,
        REQUEST_ID,
        TRACE_ID,
        KEY_ID,
        USER_ID,
        APP_ID,
        IP_ADDRESS,
        USER_AGENT,
        ACTION_TYPE,
        DESCRIPTION,
        USER_NAME,
        OBJECT_TYPE,
        OBJECT_ID,
        OBJECT_REPR,
        OBJECT_URL,
        TARGETS,
        SEVERITY,
        OUTCOME,
        METADATA,
        CHANGES,
        COMMITMENT,
    ],
};

static METRICS: Schema = Schema {
    stream: Stream::Metrics,
    columns: &[
        TIME,
        RECEIVED,
        LSN,
        ID,
        WRITING_KEY,
        REQUEST_ID,
        TRACE_ID,
        KEY_ID,
        USER_ID,
        APP_ID,
        NAME,
        HOST,
        LABELS,
        KIND,
        VALUE,
        HISTOGRAM,
    ],
};
