//! One segment that a merge reads from front to back, a granule at a time.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::flush::SERIES_CODES;
use crate::id::{Stream, TenantNo};
use crate::part::{Part, Run};
use crate::schema::stream::{LABELS, LSN, SEQ, TIME};
use crate::schema::{BytesColumn, ColumnDef, ColumnVector, Schema};
use crate::segment::{GRANULE_ROWS, SegmentColumn, SegmentReader};

/// A segment's rows of one stream, and how far they are read.
#[derive(Debug)]
pub(super) struct Input {
    reader: Arc<SegmentReader>,
    stream: Stream,
    /// The next run, as an index into the segment's.
    run: usize,
    /// Rows of that run that are not read.
    rows: Range<u64>,
    window: Option<Window>,
}

/// A decoded granule.
#[derive(Debug)]
struct Window {
    granule: u64,
    columns: Vec<ColumnVector>,
    keys: Keys,
}

/// What rows of a run are sorted by.
#[derive(Debug)]
struct Keys {
    times: Vec<i64>,
    /// `seq` where the stream has one, else `lsn`.
    arrivals: Vec<u64>,
    series: Option<Series>,
}

#[derive(Debug)]
struct Series {
    codes: [Vec<u32>; 3],
    labels: Arc<BytesColumn>,
}

/// The place of a row in the order of a run.
type Key<'a> = (Option<([u32; 3], Option<&'a [u8]>)>, i64, u64);

impl Keys {
    fn of(stream: Stream, columns: &[ColumnVector]) -> Result<Self> {
        let schema = Schema::of(stream);
        let column = |def: &ColumnDef| schema.index_of(def.id).and_then(|index| columns.get(index));
        let ColumnVector::I64(times, _) = column(&TIME).ok_or_else(no_key)? else { return Err(no_key()) };
        let arrival = column(&SEQ).or_else(|| column(&LSN)).ok_or_else(no_key)?;
        let ColumnVector::U64(arrivals, _) = arrival else { return Err(no_key()) };
        let series = if stream == Stream::Metrics {
            let codes = |def: &ColumnDef| match column(def) {
                Some(ColumnVector::Codes(codes)) => Ok(codes.clone()),
                _ => Err(no_key()),
            };
            let [app, host, name] = SERIES_CODES.map(|(def, _)| codes(&def));
            let Some(ColumnVector::Bytes(labels)) = column(&LABELS) else { return Err(no_key()) };
            Some(Series { codes: [app?, host?, name?], labels: Arc::clone(labels) })
        } else {
            None
        };
        Ok(Self { times: times.clone(), arrivals: arrivals.clone(), series })
    }

    fn get(&self, row: usize) -> Key<'_> {
        let code = |codes: &Vec<u32>| codes.get(row).copied().unwrap_or(u32::MAX);
        let series = self.series.as_ref().map(|s| (s.codes.each_ref().map(code), s.labels.get(row)));
        let time = self.times.get(row).copied().unwrap_or(i64::MAX);
        (series, time, self.arrivals.get(row).copied().unwrap_or(u64::MAX))
    }
}

fn no_key() -> Error {
    Error::invalid("a segment without the columns that its rows are sorted by")
}

impl Input {
    /// The rows of `stream` in a segment, from the first on.
    pub(super) fn new(reader: Arc<SegmentReader>, stream: Stream) -> Self {
        let rows = reader.runs(stream).first().map_or(0..0, |run| run.rows.clone());
        Self { reader, stream, run: 0, rows, window: None }
    }

    /// The run whose rows come next.
    pub(super) fn peek(&self) -> Option<&Run> {
        self.reader.runs(self.stream).get(self.run)
    }

    /// Whose rows come next, and of which day.
    pub(super) fn partition(&self) -> Option<(TenantNo, i32)> {
        self.peek().map(|run| (run.tenant, run.min_time.day()))
    }

    /// Leaves out what is not read of the run.
    pub(super) fn skip_run(&mut self) {
        self.run += 1;
        self.rows = self.peek().map_or(0..0, |run| run.rows.clone());
    }

    /// Whether every row of the run is read.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes that were read of the file.
    pub(super) fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    /// Decodes the granule of the next row, unless it is there.
    ///
    /// # Errors
    ///
    /// Damage and I/O.
    pub(super) fn load(&mut self) -> Result<()> {
        let granule = self.rows.start / GRANULE_ROWS as u64;
        if self.rows.is_empty() || self.window.as_ref().is_some_and(|w| w.granule == granule) {
            return Ok(());
        }
        // The memory of the one before goes first.
        self.window = None;
        let columns = self.reader.read_granule(self.stream, index(granule))?;
        let keys = Keys::of(self.stream, &columns)?;
        self.window = Some(Window { granule, columns, keys });
        Ok(())
    }

    /// Compares the next row with that of another input; both are loaded.
    pub(super) fn cmp_next(&self, other: &Self) -> Ordering {
        match (self.key(0), other.key(0)) {
            (Some(a), Some(b)) => a.cmp(&b),
            // What has no row comes last.
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }

    /// The key of the row `ahead` rows after the next one, inside of the window and the run.
    fn key(&self, ahead: usize) -> Option<Key<'_>> {
        let window = self.window.as_ref()?;
        (ahead < self.reach()).then(|| window.keys.get(self.offset() + ahead))
    }

    /// The place of the next row in its granule.
    fn offset(&self) -> usize {
        index(self.rows.start % GRANULE_ROWS as u64)
    }

    /// Rows of the run in the window.
    pub(super) fn reach(&self) -> usize {
        index(self.rows.end - self.rows.start).min(GRANULE_ROWS - self.offset())
    }

    /// How many rows of the window come before the next row of `other`, at most `limit`; those that are
    /// equal too when `equal_too`.
    pub(super) fn ahead_of(&self, other: &Self, equal_too: bool, limit: usize) -> usize {
        let limit = self.reach().min(limit);
        let Some(bound) = other.key(0) else { return limit };
        let before = |row: usize| match self.key(row).map(|key| key.cmp(&bound)) {
            Some(Ordering::Less) => true,
            Some(Ordering::Equal) => equal_too,
            _ => false,
        };
        // Steps that double, then a search between the last two: long spans cost little, short ones less.
        let (mut known, mut step) = (0, 1);
        while known + step <= limit && before(known + step - 1) {
            known += step;
            step *= 2;
        }
        let (mut low, mut high) = (known, limit.min(known + step));
        while low < high {
            let middle = low.midpoint(high);
            if before(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Moves the next `count` rows of the window to `columns`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the window has no such rows.
    pub(super) fn take(&mut self, count: usize, columns: &mut [SegmentColumn]) -> Result<()> {
        let from = self.offset();
        let window = self.window.as_ref().ok_or_else(no_key)?;
        for (to, vector) in columns.iter_mut().zip(&window.columns) {
            to.extend_vector(vector, from..from + count)?;
        }
        self.rows.start += count as u64;
        Ok(())
    }
}

/// A row count as an index; a granule of more rows than memory can address cannot be decoded.
fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
