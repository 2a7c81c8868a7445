//! Takes tenants and users who are erased out of cells that have outlived their rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::rows::Carried;
use crate::catalog::erasure::Erased;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::{FileId, TenantNo};
use crate::manifest::{Edit, FileKind, FileMeta};
use crate::part::Part;
use crate::query::PROBES;
use crate::rollup::{ALL_TENANTS, BlobFate, Forgotten, Remains, Rewritten};
use crate::schema::IdentityKind;
use crate::tables::Publication;

/// Takes what is erased out of the cells that segments have left behind, and answers how many files were
/// written anew or removed, and their bytes.
///
/// Of an erased tenant its cells go, and those of all tenants together where it is among them: those of each
/// of the others answer. An erased user leaves sets, keys and open chains; sums over everybody stay.
pub(super) fn erase_cells(core: &Core, carried: &[Carried]) -> Result<CellWork> {
    let erased = carried.iter().filter(|c| c.record.erased == Erased::Tenant);
    let gone: BTreeSet<TenantNo> = erased.map(|c| c.record.tenant).collect();
    let users = forgotten(core, carried)?;
    let is_of = |tenant: TenantNo| gone.contains(&tenant) || users.iter().any(|user| user.tenant == tenant);
    let has = |remains: &Remains| remains.runs(remains.stream()).iter().any(|r| is_of(r.tenant));
    let mut work = CellWork::default();
    for remains in core.tables.remains().into_iter().filter(|remains| has(remains)) {
        core.compactor.alone(|| rewrite_cells(core, &remains, &gone, &users, &mut work))?;
    }
    core.compactor.alone(|| remove_unread(core, &mut work))?;
    Ok(work)
}

/// Files of cells without rows that a pass wrote anew or removed, and their bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CellWork {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl CellWork {
    fn add(&mut self, file: &FileMeta) {
        self.files += 1;
        self.bytes += file.bytes;
    }
}

/// The users that leave cells, with the codes that they have.
fn forgotten(core: &Core, carried: &[Carried]) -> Result<Vec<Forgotten>> {
    let codes = core.tables.codes();
    let mut out = Vec::new();
    for Carried { record, .. } in carried {
        let Some(user) = record.pending_user() else { continue };
        let (low, high) = split(user.secret);
        let of = |kind| codes.code_of(record.tenant, kind, &user.user);
        out.push(Forgotten {
            tenant: record.tenant,
            user: of(IdentityKind::User)?,
            object: of(IdentityKind::Object)?,
            name: user.user.clone(),
            seed: [low, high],
        });
    }
    Ok(out)
}

/// A secret as the two numbers that chains are hashed with.
fn split(secret: [u8; 16]) -> (u64, u64) {
    let whole = u128::from_le_bytes(secret);
    #[expect(clippy::cast_possible_truncation, reason = "the low half of it")]
    let low = whole as u64;
    let high = (whole >> 64) as u64;
    (low, high)
}

/// Removes cells without a segment that could not be opened: nobody can tell whose they are.
fn remove_unread(core: &Core, work: &mut CellWork) -> Result<()> {
    let version = core.manifest.version();
    let read: BTreeSet<FileId> =
        core.tables.remains().iter().flat_map(|r| r.cells()).map(|file| file.meta().id).collect();
    let is_unread = |file: &&Arc<FileMeta>| {
        !read.contains(&file.id) && file.of.is_some_and(|of| version.get(of.segment).is_none())
    };
    let files: Vec<&Arc<FileMeta>> = version.files_of(FileKind::Cells).filter(is_unread).collect();
    if files.is_empty() {
        return Ok(());
    }
    core.manifest.commit(Edit { remove: files.iter().map(|f| f.id).collect(), ..Edit::default() })?;
    for file in files {
        work.add(file);
        drop(core.disk.remove(&file.path()));
    }
    Ok(())
}

/// Writes the cells of a segment that is no more anew, without tenants and users who are erased.
fn rewrite_cells(
    core: &Core,
    remains: &Remains,
    gone: &BTreeSet<TenantNo>,
    users: &[Forgotten],
    work: &mut CellWork,
) -> Result<()> {
    // Retention may have removed some of them meanwhile.
    let version = core.manifest.version();
    let live = || remains.cells().iter().filter(|file| version.get(file.meta().id).is_some());
    let allocate = || core.compactor.allocate_kind(&core.manifest, FileKind::Cells);
    let has_gone = remains.runs(remains.stream()).iter().any(|run| gone.contains(&run.tenant));
    let (mut add, mut kept, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for file in live() {
        let Some(described) = version.get(file.meta().id) else { continue };
        let fate = |tenant: TenantNo, id: u8| match tenant {
            ALL_TENANTS if has_gone && id == PROBES => file.mark_without(gone),
            ALL_TENANTS if has_gone => Ok(BlobFate::Drop),
            tenant if gone.contains(&tenant) => Ok(BlobFate::Drop),
            tenant => file.without_users(tenant, id, users),
        };
        match file.rewrite(core.disk.as_ref(), allocate, described, &fate) {
            Ok(Rewritten::Same) => {
                kept.push(Arc::clone(file));
                continue;
            }
            Ok(Rewritten::Nothing) => {}
            Ok(Rewritten::File(written)) => add.push(*written),
            // What cannot be read cannot be told apart: it goes as a whole.
            Err(error @ Error::Corrupt { .. }) => core.cells.note(error.to_string()),
            Err(error) => return Err(error),
        }
        removed.push(file);
    }
    if removed.is_empty() {
        return Ok(());
    }
    let metas: Vec<Arc<FileMeta>> = add.iter().cloned().map(Arc::new).collect();
    kept.extend(core.cells.open(core.disk.as_ref(), metas.iter())?);
    kept.sort_by_key(|file| file.tier());
    let left = remains.with(kept)?.map(Arc::new);
    let remove: Vec<FileId> = removed.iter().map(|file| file.meta().id).collect();
    core.manifest.commit(Edit { add, remove, ..Edit::default() })?;
    core.tables.publish(Publication {
        removed: vec![remains.segment],
        remains: left.into_iter().collect(),
        ..Publication::default()
    });
    for file in removed {
        work.add(file.meta());
        drop(core.disk.remove(&file.meta().path()));
    }
    Ok(())
}
