//! CSV as RFC 4180 says, and safe to open in a spreadsheet.

/// Writes lines of cells.
///
/// A cell of text that a spreadsheet would take for a formula (it starts with `=`, `+`, `-`, `@`, a tab or a carriage
/// return) gets an apostrophe in front, as OWASP advises against CSV injection. Numbers are written as they are.
#[derive(Debug, Default)]
pub struct Csv {
    out: Vec<u8>,
    /// Cells of the open line.
    cells: usize,
}

impl Csv {
    /// No line yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a cell of text to the open line.
    pub fn text(&mut self, text: &str) {
        self.separate();
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let quoted = text.contains(['"', ',', '\r', '\n']);
        if quoted {
            self.out.push(b'"');
        }
        if formula {
            self.out.push(b'\'');
        }
        if quoted {
            for (index, piece) in text.split('"').enumerate() {
                if index > 0 {
                    self.out.extend_from_slice(b"\"\"");
                }
                self.out.extend_from_slice(piece.as_bytes());
            }
            self.out.push(b'"');
        } else {
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    /// Adds a cell that is a number, a truth value or an instant: nothing a client chose, and nothing to quote.
    pub fn plain(&mut self, value: impl std::fmt::Display) {
        self.separate();
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    /// Adds an empty cell: an absent value.
    pub fn empty(&mut self) {
        self.separate();
    }

    /// How many cells the open line has.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Ends the open line.
    pub fn end_line(&mut self) {
        self.out.extend_from_slice(b"\r\n");
        self.cells = 0;
    }

    /// Takes what was written so far; the next line starts at an empty buffer.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn separate(&mut self) {
        if self.cells > 0 {
            self.out.push(b',');
        }
        self.cells += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cells: &[&str]) -> String {
        let mut csv = Csv::new();
        for cell in cells {
            csv.text(cell);
        }
        csv.end_line();
        String::from_utf8(csv.take()).unwrap()
    }

    #[test]
    fn cells_are_quoted_when_they_must_be() {
        assert_eq!(line(&["a", "b c", ""]), "a,b c,\r\n");
        assert_eq!(
            line(&["a,b", "say \"hi\"", "two\r\nlines"]),
            "\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\"\r\n"
        );
    }

    #[test]
    fn formulas_are_disarmed() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"] {
            assert_eq!(line(&[formula]), format!("'{formula}\r\n"));
        }
        assert_eq!(line(&["=A1,\"B\""]), "\"'=A1,\"\"B\"\"\"\r\n");
        assert_eq!(line(&["\rx"]), "\"'\rx\"\r\n");
        assert_eq!(line(&["a=1"]), "a=1\r\n");
    }

    #[test]
    fn numbers_stay_numbers() {
        let mut csv = Csv::new();
        csv.plain(-5);
        csv.empty();
        csv.plain(0.5);
        csv.end_line();
        assert_eq!(csv.take(), b"-5,,0.5\r\n");
    }
}
