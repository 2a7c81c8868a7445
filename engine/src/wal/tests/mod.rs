//! The log keeps what it acknowledged, whatever happens to the disk.

mod basics;
mod crash;
mod damage;
mod format;
mod group_commit;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::{Disk, SimDisk};
use crate::error::Result;
use crate::id::Lsn;

const DIR: &str = "wal";

fn options() -> WalOptions {
    WalOptions { file_bytes: 8192, spare_files_max: 2, new_log_id: 0x5EC2_E7AA }
}

/// A frame as it came back.
type Found = (u64, u8, Vec<u8>);

fn replay_all(disk: &dyn Disk, flushed: u64) -> Result<(Replayed, Vec<Found>)> {
    let mut found = Vec::new();
    let replayed = replay(disk, Path::new(DIR), Lsn(flushed), &mut |frame| {
        found.push((frame.lsn.0, frame.kind, frame.payload.to_vec()));
        Ok(())
    })?;
    Ok((replayed, found))
}

/// Replays and opens; the frames, the report and the writer.
fn reopen(disk: &SimDisk, flushed: u64) -> Result<(Vec<Found>, Replayed, WalWriter)> {
    let (mut replayed, found) = replay_all(disk, flushed)?;
    let wal = WalWriter::open(Arc::new(disk.clone()), Path::new(DIR), &options(), &mut replayed)?;
    Ok((found, replayed, wal))
}

/// The payload of frame `lsn`: long enough to notice a mix-up, of no round length.
fn payload(lsn: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| u8::try_from((lsn.wrapping_mul(31) % 251 + i) % 251).unwrap()).collect()
}

fn append(wal: &mut WalWriter, lsn: u64, len: usize) -> Result<()> {
    let payload = payload(lsn, len);
    let (a, b) = payload.split_at(len / 3);
    wal.append(Lsn(lsn), 1, &[a, b])
}

/// Appends, writes and syncs one frame.
fn commit(wal: &mut WalWriter, lsn: u64, len: usize) -> Result<()> {
    append(wal, lsn, len)?;
    wal.write()?;
    wal.sync()
}

fn lsns(found: &[Found]) -> Vec<u64> {
    found.iter().map(|(lsn, ..)| *lsn).collect()
}
