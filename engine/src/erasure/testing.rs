//! A small store on a simulated disk for tests of erasure and retention.

use std::sync::Arc;

use crate::append::{Append, Appended};
use crate::clock::ManualClock;
use crate::config::Config;
use crate::disk::sim::SimDisk;
use crate::engine::Engine;
use crate::error::Result;
use crate::id::{Stream, TenantId, TenantNo};
use crate::manifest::Edit;
use crate::query::{Aggregate, Budget, Field, Filter, GroupBy, Literal, Op, Order, Query, RowRequest, Scope};
use crate::rollup::{BlobFate, CellFile, Rewritten};
use crate::schema::{Batch, BatchBuilder, Column, ColumnDef, Document, Value, stream};
use crate::time::{DAY_US, TimeRange, TimestampUs};

/// The present of the tests: noon of day 1,000.
pub(crate) const NOW: TimestampUs = TimestampUs(1_000 * DAY_US + DAY_US / 2);

/// A store whose log and flush are stepped.
pub(crate) struct Store {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: Config,
    pub(crate) engine: Arc<Engine>,
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn one(name: &str) -> Scope {
    Scope::One(tenant(name))
}

fn config() -> Config {
    Config {
        wal_file_bytes: 16 << 10,
        wal_bytes_max: 1 << 20,
        memtable_bytes_max: 1 << 20,
        memtable_flush_bytes: 512 << 10,
        disk_reserve_bytes: 0,
        ..Config::default()
    }
}

/// Rows of a tenant's stream, one for each (time, user).
pub(crate) fn batch(name: &str, of: Stream, rows: &[(i64, &str)]) -> Batch {
    let mut batch = BatchBuilder::new(tenant(name), of);
    for (time, user) in rows {
        let mail = Value::Object(vec![("mail".to_owned(), Value::Str(format!("{user}@example.org")))]);
        batch.i64(&stream::TIME, *time).str(&stream::USER_ID, Some(user));
        match of {
            Stream::Events => batch
                .str(&stream::EVENT_TYPE, Some("click"))
                .str(&stream::IP_ADDRESS, Some(&format!("ip-of-{user}")))
                .bytes(&stream::EVENT_DATA, Some(Document::encode(&mail).as_bytes())),
            Stream::Audit => batch
                .str(&stream::ACTION_TYPE, Some("file.read"))
                .str(&stream::USER_NAME, Some(&format!("name-of-{user}")))
                .bytes(&stream::METADATA, Some(Document::encode(&mail).as_bytes())),
            Stream::Metrics => batch.str(&stream::NAME, Some("cpu")).f64(&stream::VALUE, 1.0),
        };
        batch.finish_row();
    }
    batch.build()
}

impl Store {
    pub(crate) fn new() -> Self {
        Self::open(SimDisk::new(), ManualClock::new(NOW), config()).unwrap()
    }

    pub(crate) fn with(config_of: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        config_of(&mut config);
        Self::open(SimDisk::new(), ManualClock::new(NOW), config).unwrap()
    }

    pub(crate) fn open(disk: SimDisk, clock: Arc<ManualClock>, config: Config) -> Result<Self> {
        let engine =
            Engine::open_stepped(config.clone(), Arc::new(disk.clone()), Arc::clone(&clock) as _, [7; 32])?;
        Ok(Self { disk, clock, config, engine })
    }

    /// The store after a crash that keeps what was synced.
    pub(crate) fn reopened(self) -> Self {
        let disk = self.disk.crash(crate::disk::sim::CrashPolicy::DropAll, 0);
        drop(self.engine);
        Self::open(disk, self.clock, self.config).unwrap()
    }

    pub(crate) fn append(&self, batch: Batch) -> Appended {
        self.try_append(Append::batch(batch)).unwrap()
    }

    pub(crate) fn try_append(&self, append: Append) -> Result<Appended> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.engine.submit(append, Box::new(move |result| drop(sender.send(result))));
        while self.engine.step_log()? {}
        receiver.recv().unwrap()
    }

    pub(crate) fn flush(&self) {
        self.engine.flush().unwrap();
    }

    /// Rows that a question counts.
    pub(crate) fn count(&self, scope: Scope, of: Stream) -> u64 {
        self.number(scope, of, Filter::all(), Aggregate::Count)
    }

    pub(crate) fn number(&self, scope: Scope, of: Stream, filter: Filter, aggregate: Aggregate) -> u64 {
        let answer = self.engine.aggregate(&query(scope, of, filter, vec![], vec![aggregate])).unwrap();
        answer.groups[0].values[0].as_u64()
    }

    pub(crate) fn users(&self, scope: Scope, of: Stream) -> u64 {
        self.number(scope, of, Filter::all(), Aggregate::Distinct(Field::Column(stream::USER_ID.id)))
    }

    /// The rows of a page, oldest first.
    pub(crate) fn rows(&self, scope: Scope, of: Stream) -> Vec<Batch> {
        let page = self.engine.rows(&RowRequest {
            scope,
            stream: of,
            window: TimeRange::ALL,
            filter: Filter::all(),
            order: Order::Asc,
            limit: 1_000,
            after: None,
            columns: None,
            allow_partial: false,
        });
        page.unwrap().batches
    }
}

pub(crate) fn query(
    scope: Scope,
    of: Stream,
    filter: Filter,
    group_by: Vec<GroupBy>,
    aggregates: Vec<Aggregate>,
) -> Query {
    Query {
        scope,
        stream: of,
        window: TimeRange::ALL,
        filter,
        group_by,
        aggregates,
        budget: Budget::default(),
        rows_only: false,
        allow_partial: false,
    }
}

pub(crate) fn is(def: &ColumnDef, text: &str) -> Filter {
    Filter::Compare(Field::Column(def.id), Op::Is(Literal::Str(text.to_owned())))
}

/// The texts of a column over batches.
pub(crate) fn texts(batches: &[Batch], def: &ColumnDef) -> Vec<Option<String>> {
    let columns = batches.iter().filter_map(|b| b.column(def).and_then(Column::as_bytes));
    columns.flat_map(|c| c.iter().map(|t| t.map(|t| String::from_utf8_lossy(t).into_owned()))).collect()
}

/// What a blob of a file, tenant and definition becomes; none when it stays.
pub(crate) type BlobChange<'c> = &'c dyn Fn(&CellFile, TenantNo, u8, &[u8]) -> Option<Vec<u8>>;

/// Writes blobs of cell files anew as `change` makes them, checksums and all; how many files that were. The
/// store must be opened again to see them.
pub(crate) fn rewrite_cells(store: &Store, files: &[Arc<CellFile>], change: BlobChange<'_>) -> usize {
    let core = store.engine.core();
    let mut edit = Edit::default();
    for file in files {
        let fate = |tenant, id| {
            let blob = file.blob(tenant, id)?.unwrap();
            Ok(change(file, tenant, id, &blob).map_or(BlobFate::Keep, BlobFate::Change))
        };
        let version = core.manifest.version();
        let described = version.get(file.meta().id).unwrap();
        let written =
            file.rewrite(core.disk.as_ref(), || core.manifest.allocate(), described, &fate).unwrap();
        if let Rewritten::File(meta) = written {
            edit.add.push(*meta);
            edit.remove.push(file.meta().id);
        }
    }
    let written = edit.add.len();
    core.manifest.commit(edit).unwrap();
    written
}
