//! Tables for people: columns as wide as their widest cell, numbers to the right.

use std::io::{self, Write};

/// Lines of cells; the first line names the columns.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(names: &[&str]) -> Self {
        Self { lines: vec![names.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, cells: Vec<String>) {
        self.lines.push(cells);
    }

    /// Writes it.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for line in &self.lines {
            let padded = line.iter().zip(&widths).map(|(cell, width)| {
                let is_number = cell.starts_with(|c: char| c.is_ascii_digit());
                if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A number of bytes in the largest unit of which there is at least one.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut rest = bytes;
    let mut below = 0;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if rest < 1024 {
            return if unit == "B" {
                format!("{rest} B")
            } else {
                format!("{rest}.{} {unit}", below * 10 / 1024)
            };
        }
        below = rest % 1024;
        rest /= 1024;
    }
    format!("{rest}.{} TiB", below * 10 / 1024)
}

/// `bytes / rows` with two decimals.
pub(crate) fn per_row(bytes: u64, rows: u64) -> String {
    let hundredths = u128::from(bytes) * 100 / u128::from(rows.max(1));
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_fits() {
        let cases =
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (1 << 42, "4.0 TiB")];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
        assert_eq!(per_row(12_345, 1000), "12.34");
        assert_eq!(per_row(0, 0), "0.00");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["name", "rows"]);
        table.line(vec!["a-long-name".into(), "7".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "name         rows\na-long-name     7\n");
    }
}
