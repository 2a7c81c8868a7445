//! What could not be read, as answers say it.

use insights_engine::query::Damage;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::instant::{self, Rfc3339};

/// A range of event times that may be missing from answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct DamagedRange {
    /// The stream.
    stream: &'static str,
    /// The first instant.
    #[schema(value_type = String, format = DateTime)]
    start: Rfc3339,
    /// The first instant after.
    #[schema(value_type = String, format = DateTime)]
    end: Rfc3339,
}

impl From<&Damage> for DamagedRange {
    fn from(damage: &Damage) -> Self {
        let on_the_wire =
            |at: insights_engine::time::TimestampUs| Rfc3339(at.clamp(instant::MIN, instant::MAX));
        Self {
            stream: damage.stream.name(),
            start: on_the_wire(damage.range.start),
            end: on_the_wire(damage.range.end),
        }
    }
}
