//! The types of a question and of its answer; no logic.

use std::sync::Arc;

use crate::id::{Stream, TenantId, TenantNo};
use crate::schema::{Batch, Bitmap, ColumnId, Scalar};
use crate::time::{Buckets, TimeRange, TimestampUs};

/// Whose rows a question may see. There is no question without one.
///
/// Only what has checked a principal may make one; in the server that is `auth::Principal`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One tenant.
    One(TenantId),
    /// Several tenants, each once.
    Several(Vec<TenantId>),
    /// Every tenant.
    All,
}

/// What a filter looks at, a group is cut by, or an aggregate reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// A column of the stream.
    Column(ColumnId),
    /// A path inside a document column: keys from the outside in, at least one.
    Path(ColumnId, Vec<String>),
    /// The tenant's name.
    Tenant,
    /// The first of these fields that is present (an identity: user, else visitor, else session). A null,
    /// an array or an object counts as absent here; where a path stands alone it is present
    /// ([`Op::Exists`] holds) and equal to nothing.
    FirstOf(Vec<Self>),
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// True or false.
    Bool(bool),
    /// A number that fits an `i64`.
    I64(i64),
    /// A number above `i64::MAX`.
    U64(u64),
    /// Any other number.
    F64(f64),
    /// Text.
    Str(String),
}

/// How a field is compared. An absent field makes every one false except `IsNot`.
///
/// Numbers compare by value whatever their type; text with text by bytes; a number never equals a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Equal.
    Is(Literal),
    /// Not equal, or absent.
    IsNot(Literal),
    /// Text that contains this.
    Contains(String),
    /// Text that starts with this.
    StartsWith(String),
    /// Equal to one of these.
    In(Vec<Literal>),
    /// Greater.
    Gt(Literal),
    /// Greater or equal.
    Gte(Literal),
    /// Less.
    Lt(Literal),
    /// Less or equal.
    Lte(Literal),
    /// Present.
    Exists,
}

/// Which rows take part.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Every one of these holds; all rows when there is none.
    And(Vec<Self>),
    /// At least one of these holds.
    Or(Vec<Self>),
    /// This does not hold.
    Not(Box<Self>),
    /// A field compares.
    Compare(Field, Op),
}

impl Filter {
    /// Every row.
    pub const fn all() -> Self {
        Self::And(Vec::new())
    }
}

/// What rows are grouped by.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupBy {
    /// The bucket of the event time; rows outside of all buckets are left out.
    Bucket(Buckets),
    /// The value of a field.
    Field(Field),
}

/// What is computed of each group. Numbers are of the columns `value`, `received_at` and the like, or
/// of a path; rows where the field is absent or no number are left out of everything but `Count`.
#[derive(Debug, Clone, PartialEq)]
pub enum Aggregate {
    /// Rows.
    Count,
    /// Sum of a field, 0 without values.
    Sum(Field),
    /// Mean of a field; absent without values.
    Avg(Field),
    /// Least value.
    Min(Field),
    /// Greatest value.
    Max(Field),
    /// The value with the latest (event time, LSN).
    Last(Field),
    /// A quantile in 0..=1 from the exponential histogram, relative error at most 0.55 %.
    Quantile(Field, f64),
    /// A quantile in 0..=1 interpolated linearly between the two nearest of all values.
    QuantileExact(Field, f64),
    /// Distinct present values of a field; over several tenants (tenant, value) pairs.
    Distinct(Field),
    /// Rows where a filter holds.
    CountIf(Box<Filter>),
}

/// What one question may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of memory for groups, distinct sets and values.
    pub memory_bytes_max: u64,
    /// Most groups of an answer.
    pub groups_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { memory_bytes_max: 256 << 20, groups_max: 1_000_000 }
    }
}

/// A question for numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Whose rows.
    pub scope: Scope,
    /// Of which stream.
    pub stream: Stream,
    /// Over which event times.
    pub window: TimeRange,
    /// Which of them.
    pub filter: Filter,
    /// Cut by what; one group when empty.
    pub group_by: Vec<GroupBy>,
    /// What is computed of each group.
    pub aggregates: Vec<Aggregate>,
    /// What it may use.
    pub budget: Budget,
    /// Read rows where cells would answer too: what is asked for to be exact, and to judge cells by.
    pub rows_only: bool,
    /// Answer without the parts that are damaged, and name them, rather than fail.
    pub allow_partial: bool,
}

/// One value of a group's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue {
    /// The bucket, by its index.
    Bucket(usize),
    /// The field is absent.
    Absent,
    /// True or false.
    Bool(bool),
    /// A whole number.
    I64(i64),
    /// A number above `i64::MAX`.
    U64(u64),
    /// A double, by its bits (ordered by bits).
    F64(u64),
    /// Text.
    Str(Arc<str>),
}

/// The key of a group: one value for each of `group_by`.
pub type GroupKey = Vec<KeyValue>;

/// The value of one aggregate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Nothing to compute it from.
    Absent,
    /// A count.
    U64(u64),
    /// A sum, mean, extreme or quantile.
    F64(f64),
}

impl Number {
    /// As a double; `None` when absent.
    #[expect(clippy::cast_precision_loss, reason = "counts over 2^53 are out of reach")]
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::Absent => None,
            Self::U64(n) => Some(n as f64),
            Self::F64(n) => Some(n),
        }
    }

    /// As a count; 0 when absent or no count.
    pub fn as_u64(self) -> u64 {
        match self {
            Self::U64(n) => n,
            Self::Absent | Self::F64(_) => 0,
        }
    }
}

/// One group of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its key.
    pub key: GroupKey,
    /// Its aggregates, in the order of the question.
    pub values: Vec<Number>,
}

/// What an answer cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Rows that were looked at.
    pub rows_scanned: u64,
    /// Rollup cells that were folded.
    pub cells_read: u64,
    /// Bytes read from segments and cells. Not those of cells of all tenants that one of them asks: their
    /// number would say something of the others.
    pub bytes_read: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.rows_scanned += other.rows_scanned;
        self.cells_read += other.cells_read;
        self.bytes_read += other.bytes_read;
    }
}

/// A range of event times that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The stream.
    pub stream: Stream,
    /// The event times that may be missing from the answer.
    pub range: TimeRange,
}

/// An answer of numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The groups, sorted by key; groups without rows are left out.
    pub groups: Vec<Group>,
    /// What it cost.
    pub cost: Cost,
    /// What could not be read.
    pub damaged: Vec<Damage>,
    /// Rows of before this instant were asked for and were not kept that long; the groups are without them.
    pub expired: Option<TimestampUs>,
}

/// The order of rows: by (event time, seq).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// Newest first.
    #[default]
    Desc,
    /// Oldest first.
    Asc,
}

/// Where a page of rows ended, and what the first page saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The newest frame of the first page: later rows are left out.
    pub lsn_max: u64,
    /// The event time of the last row.
    pub time: TimestampUs,
    /// The tenant of the last row, by number.
    pub tenant: u32,
    /// The seq of the last row; of a point, which has none, its place in the snapshot.
    pub seq: u64,
}

/// A question for whole rows.
#[derive(Debug, Clone, PartialEq)]
pub struct RowRequest {
    /// Whose rows.
    pub scope: Scope,
    /// Of which stream.
    pub stream: Stream,
    /// Over which event times.
    pub window: TimeRange,
    /// Which of them.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// Most rows of the page.
    pub limit: usize,
    /// After which row.
    pub after: Option<Cursor>,
    /// The columns that are read, all when `None`: text of others is absent in the batches, a number 0.
    pub columns: Option<Vec<ColumnId>>,
    /// Answer without the parts that are damaged, and name them, rather than fail.
    pub allow_partial: bool,
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPage {
    /// The rows, in order: batches of consecutive rows of one tenant, with every column of the stream.
    pub batches: Vec<Batch>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
    /// What it cost.
    pub cost: Cost,
    /// What could not be read.
    pub damaged: Vec<Damage>,
}

/// A question for the values of some fields, in no order, in vectors: what sessions and uptime fold.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanRequest {
    /// Whose rows.
    pub scope: Scope,
    /// Of which stream.
    pub stream: Stream,
    /// Over which event times.
    pub window: TimeRange,
    /// Which of them.
    pub filter: Filter,
    /// The fields that are read.
    pub fields: Vec<Field>,
    /// Answer without the parts that are damaged, and name them, rather than fail.
    pub allow_partial: bool,
}

/// The values of one field in a [`ScanVector`].
#[derive(Debug, Clone)]
pub enum ScanColumn {
    /// Instants and signed numbers; presence where a value may be absent.
    I64(Vec<i64>, Option<Bitmap>),
    /// Unsigned numbers.
    U64(Vec<u64>, Option<Bitmap>),
    /// Doubles.
    F64(Vec<f64>, Option<Bitmap>),
    /// Text, as codes of this scan: equal text of one field has one code, dense from 0 in the order of
    /// first sight; [`crate::schema::NULL_CODE`] is absent. [`ScanEnd::names`] has the text.
    Codes(Vec<u32>),
    /// Leaves of a path that are of several types; `None` is absent.
    Scalars(Vec<Option<Scalar>>),
}

/// Rows of one tenant that passed the filter: one value a row in each column.
#[derive(Debug, Clone)]
pub struct ScanVector {
    /// Whose rows.
    pub tenant: TenantNo,
    /// How many rows, at least 1.
    pub rows: usize,
    /// The fields of the request, in its order.
    pub columns: Vec<ScanColumn>,
}

/// What is known when a scan has ended.
#[derive(Debug, Clone, Default)]
pub struct ScanEnd {
    /// For each field of the request the text of its codes.
    pub names: Vec<Vec<Arc<str>>>,
    /// What it cost.
    pub cost: Cost,
    /// What could not be read.
    pub damaged: Vec<Damage>,
}
