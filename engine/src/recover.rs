//! Opens a store: manifest, catalog, dictionary, segments, ids, then the WAL on top, in bounded memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::apply::Applier;
use crate::catalog::{Catalog, TenantRecord};
use crate::clock::Clock;
use crate::codes::{Codes, Tenants};
use crate::compaction::compactor::Compactor;
use crate::config::Config;
use crate::core::{Core, Counters, FRAME_APPEND};
use crate::dedup::{IdIndex, IdempotencyIndex, SeenId};
use crate::dictionary::DictionarySet;
use crate::disk::Disk;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::flush::{Flusher, open_segment};
use crate::frame::{self, FrameHeader};
use crate::id::{FileId, KeyId, Lsn, Stream, TenantId, TenantNo};
use crate::manifest::{FileKind, FileMeta, Manifest, StreamMeta, Version};
use crate::memtable::{Leaf, NewRows};
use crate::query::Damage;
use crate::retention::clock::TrustedClock;
use crate::rollup::{CellRoom, Remains};
use crate::schema::{Batch, Column, stream};
use crate::segment::BlockCache;
use crate::sequencer::sequence::LOST_LEAF;
use crate::sequencer::{Sequencer, leaf};
use crate::tables::{Kept, LiveSegment, Tables};
use crate::time::{TimeRange, TimestampUs};
use crate::wal::{self, Frame, Log, LogOptions, WalDamage, WalOptions, WalWriter};

/// The directory of the WAL.
pub(crate) const WAL_DIR: &str = "wal";

/// Opens a store whose directory is locked.
///
/// # Errors
///
/// What the manifest and the catalog say when they cannot be read. Damage to the WAL, a segment, the
/// dictionary, ids or named requests is no error here: it is named by [`crate::engine::Health`].
pub(crate) fn open(
    config: Config,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    seed: [u8; 32],
    is_stepped: bool,
) -> Result<Core> {
    let manifest = Arc::new(Manifest::open_or_create(Arc::clone(&disk))?);
    let version = manifest.version();
    let catalog = Arc::new(Catalog::open(Arc::clone(&disk), &version)?);
    let (entropy, flushed) = (Entropy::from_seed(seed), version.flushed_lsn());
    let ids = Arc::new(IdIndex::open(Arc::clone(&disk), &version)?);
    let requests = Arc::new(IdempotencyIndex::open(Arc::clone(&disk), &version)?);
    let mut sequencer =
        Sequencer::new(&catalog, Arc::clone(&ids), Arc::clone(&requests), flushed, entropy.next())?;
    let dictionary = DictionarySet::open(Arc::clone(&disk), &version)?;
    let cache = BlockCache::new(config.block_cache_bytes);
    let cells = CellRoom::new(&config)?;
    let (tables, missing) = open_tables(disk.as_ref(), &version, &cache, &cells, &dictionary)?;

    let wal_dir = Path::new(WAL_DIR);
    let mut replay = Replay {
        sequencer: &mut sequencer,
        tables: &tables,
        catalog: &catalog,
        ids: &ids,
        requests: &requests,
        clock: clock.as_ref(),
    };
    let mut replayed = wal::replay(disk.as_ref(), wal_dir, flushed, &mut |frame| replay.frame(&frame))?;
    // A manifest that lost its end names fewer files than there are, and then frames are missing too:
    // its files are evidence, not orphans.
    if replayed.damage.is_empty() && missing.is_empty() {
        // What cannot be removed now harms nothing, and is tried again at the next start.
        drop(manifest.sweep());
    }
    // Numbers of frames that are lost are not given again either.
    sequencer.replayed_frame(replayed.last_lsn);
    let writer = WalWriter::open(Arc::clone(&disk), wal_dir, &wal_options(&config, &entropy), &mut replayed)?;
    // Opening the writer has set the bad bytes aside and noted where.
    let damage: Vec<WalDamage> = std::mem::take(&mut replayed.damage);
    let set_aside = ids.findings().len() + requests.findings().len() + dictionary.findings().len();
    let counters = counters(damage.len() + missing.len() + set_aside, replayed.torn_tail_bytes);
    let applier = Applier::new(&tables, &catalog, &clock, &counters, config.durability);
    let log = Log::new(writer, applier, log_options(&config), Arc::clone(&clock));
    let core = Core {
        trusted_clock: TrustedClock::new(clock.as_ref(), &catalog),
        erasing: Mutex::new(()),
        erasure_pass: Mutex::new(()),
        erasures_known: Mutex::default(),
        retention_failure: Mutex::new(None),
        unmoved: Mutex::default(),
        unerased: Mutex::default(),
        retention_wanted: (Mutex::new(()), Condvar::new()),
        is_stepped,
        entropy,
        derived_ids: sequencer.derived_ids().clone(),
        tables,
        catalog,
        sequencer: Mutex::new(sequencer),
        ids,
        requests,
        log,
        manifest,
        cache,
        cells,
        flusher: Mutex::new(Flusher { dictionary }),
        counters,
        compactor: Compactor::default(),
        missing,
        wal_damage: damage,
        damage: Mutex::new(Vec::new()),
        closing: AtomicBool::new(false),
        flush_error: Mutex::new(None),
        flush_wanted: (Mutex::new(()), Condvar::new()),
        free_bytes: AtomicU64::new(u64::MAX),
        secrets: Mutex::new(()),
        config,
        disk,
        clock,
    };
    core.look_at_disk();
    Ok(core)
}

/// Counters that start with what recovery found.
fn counters(damaged: usize, torn_bytes: u64) -> Arc<Counters> {
    let counters = Counters::default();
    counters.damage_found.store(damaged as u64, Ordering::Relaxed);
    counters.wal_torn_bytes.store(torn_bytes, Ordering::Relaxed);
    Arc::new(counters)
}

fn wal_options(config: &Config, entropy: &Entropy) -> WalOptions {
    let random = entropy.next();
    WalOptions {
        file_bytes: config.wal_file_bytes,
        spare_files_max: usize::try_from(config.wal_bytes_max / config.wal_file_bytes)
            .unwrap_or(1)
            .clamp(1, 64),
        new_log_id: random.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)),
    }
}

fn log_options(config: &Config) -> LogOptions {
    LogOptions {
        durability: config.durability,
        payload_bytes_max: config.frame_bytes_max,
        ..LogOptions::default()
    }
}

/// A segment that the manifest names and that cannot be opened.
#[derive(Debug, Clone)]
pub(crate) struct MissingSegment {
    /// Its number.
    pub(crate) id: FileId,
    /// The file and what is wrong with it.
    pub(crate) path: PathBuf,
    /// In words.
    pub(crate) reason: String,
    /// The event times of its rows, by stream.
    pub(crate) damage: Vec<Damage>,
}

/// What can be read at the start: live segments and what is left of others.
fn open_tables(
    disk: &dyn Disk,
    version: &Version,
    cache: &Arc<BlockCache>,
    cells: &CellRoom,
    dictionary: &DictionarySet,
) -> Result<(Arc<Tables>, Vec<MissingSegment>)> {
    let (segments, missing) = open_segments(disk, version, cache, cells)?;
    let remains = open_remains(disk, version, cells)?;
    let codes = Arc::new(dictionary.clone());
    Ok((Arc::new(Tables::new(segments, remains, codes, version.flushed_lsn())), missing))
}

/// Opens the live segments; one that cannot be opened is set aside and never stops the start.
fn open_segments(
    disk: &dyn Disk,
    version: &Version,
    cache: &Arc<BlockCache>,
    cells: &CellRoom,
) -> Result<(Vec<Arc<LiveSegment>>, Vec<MissingSegment>)> {
    let (mut segments, mut missing) = (Vec::new(), Vec::new());
    for meta in version.files_of(FileKind::Segment) {
        match open_segment(disk, cache, meta) {
            Ok(segment) => {
                let of = |f: &&Arc<FileMeta>| f.of.is_some_and(|of| of.segment == meta.id);
                let cells = cells.open(disk, version.files_of(FileKind::Cells).filter(of))?;
                segments.push(Arc::new(LiveSegment { cells, ..segment }));
            }
            Err(error) if error.is_foreign_format() => return Err(error),
            Err(error) => missing.push(MissingSegment {
                id: meta.id,
                path: meta.path(),
                reason: error.to_string(),
                damage: meta.streams.iter().map(damage_of).collect(),
            }),
        }
    }
    Ok((segments, missing))
}

/// Opens the cells that have outlived their segments; those that cannot be read are named and left out.
fn open_remains(disk: &dyn Disk, version: &Version, cells: &CellRoom) -> Result<Vec<Arc<Remains>>> {
    let mut by_segment: BTreeMap<FileId, Vec<&Arc<FileMeta>>> = BTreeMap::new();
    for meta in version.files_of(FileKind::Cells) {
        if let Some(of) = meta.of.filter(|of| version.get(of.segment).is_none()) {
            by_segment.entry(of.segment).or_default().push(meta);
        }
    }
    let mut remains = Vec::new();
    for metas in by_segment.into_values() {
        let files = cells.open(disk, metas.into_iter())?;
        match Remains::new(files) {
            Ok(some) => remains.extend(some.map(Arc::new)),
            Err(error) => cells.note(error.to_string()),
        }
    }
    Ok(remains)
}

fn damage_of(stream: &StreamMeta) -> Damage {
    let end = TimestampUs(stream.max_time.0.saturating_add(1));
    Damage { stream: stream.stream, range: TimeRange { start: stream.min_time, end } }
}

/// Takes over the frames that are not flushed.
struct Replay<'a> {
    sequencer: &'a mut Sequencer,
    tables: &'a Tables,
    catalog: &'a Catalog,
    ids: &'a IdIndex,
    requests: &'a IdempotencyIndex,
    clock: &'a dyn Clock,
}

impl Replay<'_> {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        if frame.kind != FRAME_APPEND {
            return Err(Error::invalid(format!("a WAL frame of the unknown kind {}", frame.kind)));
        }
        let lsn = frame.lsn;
        let corrupt = |e: Error| Error::corrupt("WAL frame", WAL_DIR, 0, format!("frame {lsn}: {e}"));
        let decoded = frame::decode(frame.payload, lsn).map_err(corrupt)?;
        let received = decoded.header.received;
        for put in &decoded.header.puts {
            self.sequencer.learn(put)?;
        }
        self.catalog.apply(lsn, &decoded.header.puts)?;
        self.lost_tenants(&decoded.header)?;
        let mut rows = Vec::with_capacity(decoded.columns.len());
        for (batch, columns) in decoded.header.batches.iter().zip(decoded.columns) {
            let columns = Batch::from_columns(TenantId::new(&batch.tenant)?, batch.stream, columns)?;
            self.sequencer.replayed_keys(&batch.key_ids);
            rows.push(self.rows(batch.tenant_no, columns, lsn, received)?);
        }
        if let Some(request) = &decoded.header.idempotency {
            let (key, answer) = request.remembered(lsn, received);
            self.requests.insert(key, answer);
        }
        self.sequencer.replayed_frame(lsn);
        self.tables.keep(Kept { lsn, rows }, self.clock.monotonic());
        Ok(())
    }

    /// Makes tenants exist again whose first frame is lost: every batch says whose it is.
    fn lost_tenants(&mut self, header: &FrameHeader) -> Result<()> {
        let policies = self.catalog.policies();
        for batch in header.batches.iter().filter(|b| !policies.is_retired(b.tenant_no)) {
            let name = TenantId::new(&batch.tenant)?;
            if self.catalog.number_of(&name).is_none() {
                let put = TenantRecord { number: batch.tenant_no, created: header.received }.put(&name)?;
                self.sequencer.learn(&put)?;
                self.catalog.apply_derived(vec![put])?;
            }
        }
        Ok(())
    }

    fn rows(&mut self, tenant: TenantNo, batch: Batch, lsn: Lsn, received: TimestampUs) -> Result<NewRows> {
        let stream = batch.stream();
        let leaves = if stream == Stream::Audit { self.leaves(tenant, &batch)? } else { Vec::new() };
        if let Some(ids) = batch.column(&stream::ID).and_then(Column::as_bytes) {
            let seqs = batch.column(&stream::SEQ).and_then(Column::as_u64).unwrap_or(&[]);
            for (row, id) in ids.iter().enumerate() {
                if let Some(id) = id {
                    let seq = seqs.get(row).copied().unwrap_or(0);
                    self.ids.insert(tenant, stream, id, SeenId { seq, lsn, received });
                }
            }
        }
        let rows = NewRows { tenant, stream, columns: batch.into_columns(), leaves };
        if let Some(next) = rows.next_seq() {
            self.sequencer.replayed_rows(tenant, stream, next);
        }
        Ok(rows)
    }

    /// The leaves of audit rows. A row whose subject's key went with a lost frame has the leaf of a lost
    /// record: nobody can compute its own.
    fn leaves(&self, tenant: TenantNo, batch: &Batch) -> Result<Vec<Leaf>> {
        let users = batch.column(&stream::USER_ID).and_then(Column::as_bytes);
        let key_ids = batch.column(&stream::KEY_ID).and_then(Column::as_u64).unwrap_or(&[]);
        let policies = self.catalog.policies();
        let mut of_rows = leaf::Leaves::new(batch)?;
        (0..batch.rows())
            .map(|row| {
                let subject = users.and_then(|u| u.get(row)).unwrap_or(&[]);
                let key_id = KeyId(key_ids.get(row).copied().unwrap_or(0));
                let key = self.sequencer.subject_key(tenant, subject).filter(|key| key.id == key_id);
                // The catalog may be ahead of the frames: the key of an erased subject is with the erasure.
                match key.map(|key| key.key).or_else(|| policies.erased_key(tenant, key_id)) {
                    Some(key) => of_rows.leaf(row, &key),
                    None => Ok(LOST_LEAF),
                }
            })
            .collect()
    }
}
