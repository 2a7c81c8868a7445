//! Questions and answers: who may see what, filters, groups, aggregates, rows.

pub mod probe_request;
pub mod request;
pub mod session_request;
pub mod snapshot;

mod accumulate;
mod aggregate;
mod cells;
mod compare;
mod distinct;
mod distinct_ids;
mod erased;
mod expired;
mod field;
mod filter;
pub(crate) mod fingerprint;
mod granule;
mod group;
mod hidden;
mod holders;
mod id_set;
mod ids;
mod mask;
mod newer;
mod number;
mod plan;
mod probes;
mod row_groups;
mod rows;
mod scan;
mod series;
mod session_build;
mod session_cells;
mod session_rows;
mod session_sums;
mod sessions;
mod set_places;
mod standing;
mod stop;
mod version;
mod walk;

#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub(crate) use accumulate::{Accumulators, Latest};
pub use aggregate::aggregate;
pub(crate) use aggregate::aggregate_all;
pub(crate) use aggregate::count;
pub(crate) use cells::{code_kind, tiers_of};
pub(crate) use erased::is_user_type;
pub(crate) use field::Fields;
pub(crate) use filter::{Predicate, select};
pub(crate) use granule::Granule;
pub(crate) use group::{CellDimension, Grouping};
pub use hidden::Hidden;
pub(crate) use ids::Space;
pub(crate) use number::Sum;
pub(crate) use plan::{Slice, add_run};
pub use probe_request::{AppProbes, ProbeAnswer, ProbeRequest};
pub(crate) use probes::ProbeCellBuilder;
pub use probes::{PROBES, probe_blobs, probes};
pub use request::{
    Aggregate, Answer, Budget, Cost, Cursor, Damage, Field, Filter, Group, GroupBy, GroupKey, KeyValue,
    Literal, Number, Op, Order, Query, RowPage, RowRequest, ScanColumn, ScanEnd, ScanRequest, ScanVector,
    Scope,
};
pub(crate) use row_groups::RowGroups;
pub use rows::{PAGE_ROWS_MAX, rows};
pub use scan::scan;
pub use series::{Samples, Series, SeriesList, samples, series};
pub use session_build::{SessionBlob, session_blobs};
pub(crate) use session_build::{SessionCellBuilder, absorb};
pub use session_cells::{SESSIONS, SESSIONS_OF_APPS};
pub use session_request::{SessionAnswer, SessionClasses, SessionRequest, StartedSession};
pub use sessions::{StandingSessions, sessions};
pub use snapshot::Snapshot;
pub use standing::{Advance, StandingQueries};
pub use stop::{Cancel, Stop};
pub(crate) use version::version;
pub use version::{DataVersion, PartId};
pub(crate) use walk::selected;
