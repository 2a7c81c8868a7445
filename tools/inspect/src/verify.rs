//! `verify`: whether the files are whole.

use std::io::Write;
use std::sync::Arc;

use insights_engine::disk::Disk;
use insights_engine::inspect::{Inspection, Verification};
use serde_json::json;

use crate::args::Verify;
use crate::compact::settings;
use crate::failure::Failure;

/// Prints what was found; false when that is damage.
pub(crate) fn run(disk: &Arc<dyn Disk>, args: &Verify, out: &mut dyn Write) -> Result<bool, Failure> {
    let rollups = settings(args.config.as_deref())?.rollups;
    let found = match Inspection::open(disk) {
        Ok(inspection) => inspection.verify(args.level.into(), &rollups)?,
        // A damaged manifest or catalog is a finding too, and then there is nothing else to look at.
        Err(error) if error.is_damage() => Verification::of(&error),
        Err(error) => return Err(error.into()),
    };
    if args.place.json {
        serde_json::to_writer(&mut *out, &as_json(&found))?;
        writeln!(out)?;
    } else {
        for finding in &found.findings {
            let file = finding.file.display();
            writeln!(out, "{file} at byte {}: {}: {}", finding.offset, finding.kind, finding.detail)?;
        }
        let checked = found.checked;
        writeln!(
            out,
            "{} files, {} blocks, {} bytes looked at",
            checked.files, checked.blocks, checked.bytes
        )?;
        if checked.leaves > 0 {
            writeln!(out, "{} audit records are those of their roots", checked.leaves)?;
        }
        if found.torn_tail_bytes > 0 {
            writeln!(out, "{} bytes of unacknowledged writes end the log; no damage", found.torn_tail_bytes)?;
        }
        writeln!(out, "{}", if found.findings.is_empty() { "whole" } else { "damaged" })?;
    }
    Ok(found.findings.is_empty())
}

fn as_json(found: &Verification) -> serde_json::Value {
    let findings = found.findings.iter().map(|f| {
        json!({"file": f.file.display().to_string(), "offset": f.offset, "kind": f.kind, "detail": f.detail})
    });
    json!({
        "ok": found.findings.is_empty(),
        "findings": findings.collect::<Vec<_>>(),
        "checked": {
            "files": found.checked.files,
            "blocks": found.checked.blocks,
            "bytes": found.checked.bytes,
            "leaves": found.checked.leaves,
        },
        "torn_tail_bytes": found.torn_tail_bytes,
    })
}
