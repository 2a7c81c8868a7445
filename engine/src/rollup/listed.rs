//! Cells of each tenant one after the other: those of all tenants where keys are identities of one.

use super::cells::{Cells, KeyColumn, StateColumn};
use super::histogram::HistogramList;
use crate::id::TenantNo;
use crate::sorted_file::MemoryBytes;

/// The cells of several tenants, with the number of each as a last key.
#[derive(Debug, Default)]
pub(super) struct Listed {
    cells: Cells,
    tenants: Vec<u32>,
    bytes: usize,
}

impl Listed {
    /// Adds the cells of the next tenant; tenants come in ascending order.
    pub(super) fn add(&mut self, tenant: TenantNo, more: &Cells) {
        let to = &mut self.cells;
        if to.keys.is_empty() {
            to.keys.resize(more.keys.len(), KeyColumn::Codes(Vec::new()));
            to.states = more.states.iter().map(empty).collect();
        }
        for (to, more) in to.keys.iter_mut().zip(&more.keys) {
            if let (KeyColumn::Codes(to), KeyColumn::Codes(more)) = (to, more) {
                to.extend_from_slice(more);
            }
        }
        let before = u32::try_from(to.len()).unwrap_or(u32::MAX);
        to.ends.extend(more.ends.iter().map(|end| before.saturating_add(*end)));
        to.slots.extend_from_slice(&more.slots);
        to.counts.extend_from_slice(&more.counts);
        to.states.iter_mut().zip(&more.states).for_each(|(to, more)| extend(to, more));
        self.tenants.resize(self.tenants.len() + more.series(), tenant.0);
        self.bytes += more.memory_bytes();
    }

    /// Bytes of memory this takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// The cells.
    pub(super) fn finish(mut self) -> Cells {
        self.cells.keys.push(KeyColumn::Codes(self.tenants));
        self.cells
    }
}

/// A column of the same kind without cells.
fn empty(column: &StateColumn) -> StateColumn {
    match column {
        StateColumn::Sum(_) => StateColumn::Sum(Vec::new()),
        StateColumn::Min(_) => StateColumn::Min(Vec::new()),
        StateColumn::Max(_) => StateColumn::Max(Vec::new()),
        StateColumn::Last(_) => StateColumn::Last(Vec::new()),
        StateColumn::Histogram(_) => StateColumn::Histogram(HistogramList::default()),
        StateColumn::CountIf(_) => StateColumn::CountIf(Vec::new()),
        StateColumn::Distinct(_) => StateColumn::Distinct(Vec::new()),
    }
}

fn extend(to: &mut StateColumn, more: &StateColumn) {
    match (to, more) {
        (StateColumn::Sum(to), StateColumn::Sum(more)) => to.extend_from_slice(more),
        (StateColumn::Min(to), StateColumn::Min(more)) | (StateColumn::Max(to), StateColumn::Max(more)) => {
            to.extend_from_slice(more);
        }
        (StateColumn::Last(to), StateColumn::Last(more)) => to.extend_from_slice(more),
        (StateColumn::Histogram(to), StateColumn::Histogram(more)) => to.extend(more),
        (StateColumn::CountIf(to), StateColumn::CountIf(more)) => to.extend_from_slice(more),
        // No definition that numbers tenants keeps distinct values, and columns are of one definition.
        _ => {}
    }
}
