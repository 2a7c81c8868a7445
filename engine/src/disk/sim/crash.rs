//! What is left of a simulated disk after a power cut.

use super::image::{Change, Image};
use super::state::{NameChange, SimInode, State};

/// Which of the changes that were not synced survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPolicy {
    /// None of them.
    DropAll,
    /// All of them, as if everything had been synced in the last moment.
    KeepAll,
    /// Of each file, and of the names, the first few.
    KeepRandomPrefix,
    /// Any of them, as if the disk had reordered them.
    KeepRandomSubset,
    /// All of them, but the last write of each file is torn: at a random byte, or at a multiple of
    /// 512 or 4,096 bytes of the file.
    TearLast,
}

impl CrashPolicy {
    /// All policies, for a test that tries each.
    pub const ALL: [Self; 5] =
        [Self::DropAll, Self::KeepAll, Self::KeepRandomPrefix, Self::KeepRandomSubset, Self::TearLast];
}

/// Small deterministic generator (`SplitMix64`, Steele et al., OOPSLA 2014).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number of `0..limit`; 0 when `limit` is 0.
    fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }
}

/// The changes of a list that survive.
fn survivors<T: Clone>(changes: &[T], policy: CrashPolicy, random: &mut Random) -> Vec<T> {
    match policy {
        CrashPolicy::DropAll => Vec::new(),
        CrashPolicy::KeepAll | CrashPolicy::TearLast => changes.to_vec(),
        CrashPolicy::KeepRandomPrefix => {
            let count = random.below(changes.len() as u64 + 1);
            changes.iter().take(usize::try_from(count).unwrap_or(0)).cloned().collect()
        }
        CrashPolicy::KeepRandomSubset => changes.iter().filter(|_| random.next() & 1 == 0).cloned().collect(),
    }
}

/// The first bytes of a write that reached the disk before the power went.
fn tear(offset: u64, bytes: &[u8], random: &mut Random) -> Change {
    let len = bytes.len() as u64;
    let cut = match random.below(3) {
        0 => random.below(len + 1),
        kind => {
            // A boundary of the file, not of the write: sectors are aligned to the device.
            let unit = if kind == 1 { 512 } else { 4096 };
            let first = offset.next_multiple_of(unit);
            let count = (offset + len).saturating_sub(first) / unit;
            (first + unit * random.below(count + 1)).saturating_sub(offset).min(len)
        }
    };
    let (kept, _) = bytes.split_at(usize::try_from(cut).unwrap_or(0));
    Change::Write(offset, kept.into())
}

/// The bytes of one file after the power cut.
fn image_after(file: &SimInode, policy: CrashPolicy, random: &mut Random) -> Image {
    if file.pending.is_empty() || policy == CrashPolicy::DropAll {
        return file.synced.clone();
    }
    if policy == CrashPolicy::KeepAll && !file.lost_changes {
        return file.now.clone();
    }
    let mut kept = survivors(&file.pending, policy, random);
    if let (CrashPolicy::TearLast, Some(Change::Write(offset, bytes))) = (policy, kept.last()) {
        let torn = tear(*offset, bytes, random);
        kept.pop();
        kept.push(torn);
    }
    let mut image = file.synced.clone();
    for change in &kept {
        image.apply(change);
    }
    image
}

/// The disk after a power cut, in which everything is durable.
pub(super) fn after_power_cut(state: &State, policy: CrashPolicy, seed: u64) -> State {
    let mut random = Random(seed);
    let mut names = state.durable.clone();
    for change in survivors::<NameChange>(&state.pending, policy, &mut random) {
        change.apply(&mut names);
    }
    let mut inodes = std::collections::BTreeMap::new();
    for inode in names.values() {
        let Some(file) = state.inodes.get(inode) else { continue };
        let image = image_after(file, policy, &mut random);
        let unreadable = file.unreadable.clone();
        inodes.insert(
            *inode,
            SimInode { now: image.clone(), synced: image, unreadable, ..SimInode::default() },
        );
    }
    State {
        durable: names.clone(),
        names,
        inodes,
        dirs: state.dirs.clone(),
        next_inode: state.next_inode,
        capacity: state.capacity,
        ..State::default()
    }
}

/// The disk after the process was killed: nothing is lost yet, and nothing more is durable.
pub(super) fn after_kill(state: &State) -> State {
    let inodes = state.inodes.iter().map(|(inode, file)| (*inode, SimInode { handles: 0, ..file.clone() }));
    State {
        names: state.names.clone(),
        durable: state.durable.clone(),
        pending: state.pending.clone(),
        inodes: inodes.collect(),
        dirs: state.dirs.clone(),
        next_inode: state.next_inode,
        capacity: state.capacity,
        ..State::default()
    }
}
