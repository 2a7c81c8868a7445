//! Questions and answers: who may see what, filters, groups, aggregates, rows.

pub mod request;
pub mod snapshot;

pub use request::{
    Aggregate, Answer, Budget, Cost, Cursor, Damage, Field, Filter, GroupBy, GroupKey, Group, KeyValue, Literal, Number, Op,
    Order, Query, RowPage, RowRequest, ScanColumn, ScanEnd, ScanRequest, ScanVector, Scope,
};
pub use snapshot::Snapshot;
