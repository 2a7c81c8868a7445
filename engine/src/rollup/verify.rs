//! Checks cells against the rows they were made of.

use std::sync::Arc;

use super::build::{Builder, Family};
use super::cell_file::{ALL_TENANTS, CellFile};
use super::cells_format::{Layout, encode};
use super::write::{AllTenants, CellSource, Turn};
use crate::error::Result;
use crate::id::TenantNo;

/// Makes the cells of a segment again and compares them with those of its files: what differs, in words.
/// Cells that are not there are nothing to complain about, rows answer for them.
///
/// # Errors
///
/// Those of the rows and of the dictionary; damage to the files is among the findings.
pub fn verify(source: &CellSource<'_>, files: &[Arc<CellFile>]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let Some((min, _)) = source.part.bounds(source.stream) else { return Ok(findings) };
    let day = min.day();
    for file in files.iter().filter(|f| !f.is_of(source.stream, day, f.tier())) {
        findings.push(format!("{}: cells of another stream or day", file.meta().path().display()));
    }
    let (codes, tenants) = (Arc::clone(&source.codes), Arc::clone(&source.tenants));
    let of = (source.stream, day, source.must_keep);
    let builder = Builder::new(Arc::clone(&source.part), of, source.rollups, codes, tenants)?;
    let mut all = AllTenants::new(&builder, source)?;
    source.each_run(&mut all, |turn| {
        if let Turn::Whole(run, cells) = turn {
            compare(source, files, day, run.tenant, &cells.families, &mut findings);
        }
        Ok(())
    })?;
    compare(source, files, day, ALL_TENANTS, &all.finish(source)?, &mut findings);
    findings.extend(files.iter().flat_map(|file| file.findings()));
    Ok(findings)
}

fn compare(
    source: &CellSource<'_>,
    files: &[Arc<CellFile>],
    day: i32,
    tenant: TenantNo,
    families: &[Family],
    findings: &mut Vec<String>,
) {
    let definitions: Vec<_> = source.rollups.of(source.stream).collect();
    for family in families {
        let Some((definition, hash)) = definitions.get(family.definition) else { continue };
        let layout = Layout { definition, tier: family.tier, day };
        for file in files.iter().filter(|f| f.is_of(source.stream, day, family.tier)) {
            let Some(cells) = file.cells(tenant, *hash) else { continue };
            // As bytes: numbers are compared by their bits, NaN too.
            if encode(&cells, layout) != encode(&family.cells, layout) {
                let path = file.meta().path();
                let of =
                    if tenant == ALL_TENANTS { "all tenants".to_owned() } else { format!("tenant {tenant}") };
                findings.push(format!(
                    "{}: cells of rollup {} for {of} are not those of the rows",
                    path.display(),
                    definition.id
                ));
            }
        }
    }
}
