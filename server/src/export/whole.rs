//! A whole export as it is sent: records in a format, and a trailer that says how many there were and what their bytes
//! hash to, so that whoever has it knows that nothing is missing.

use insights_engine::Result;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::rows::hex;
use super::{Csv, Format, Record};

/// An export on its way: what was written so far, as a count and a hash.
#[derive(Debug)]
pub struct Whole {
    format: Format,
    hash: Sha256,
    records: u64,
}

/// What stands behind the last record.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Trailer {
    complete: bool,
    records: u64,
    sha256: String,
}

impl Whole {
    /// Nothing yet.
    pub fn new(format: Format) -> Self {
        Self { format, hash: Sha256::new(), records: 0 }
    }

    /// What stands in front of the first record; `columns` is a record that has the columns of all.
    pub fn head(&mut self, columns: &Record<'_>) -> Vec<u8> {
        let head = match self.format {
            Format::Json => b"{\"results\":[".to_vec(),
            Format::Ndjson => Vec::new(),
            Format::Csv => {
                let mut csv = Csv::new();
                columns.write_csv_header(&mut csv);
                csv.take()
            }
        };
        self.hash.update(&head);
        head
    }

    /// The next records.
    ///
    /// # Errors
    ///
    /// When a document's bytes are none.
    pub fn records(&mut self, records: &[Record<'_>]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut csv = Csv::new();
        for record in records {
            match self.format {
                Format::Json => {
                    out.extend_from_slice(if self.records == 0 { b"\n" } else { b",\n" });
                    record.write_ndjson(&mut out)?;
                    out.pop();
                }
                Format::Ndjson => record.write_ndjson(&mut out)?,
                Format::Csv => record.write_csv(&mut csv)?,
            }
            self.records += 1;
        }
        if self.format == Format::Csv {
            out = csv.take();
        }
        self.hash.update(&out);
        Ok(out)
    }

    /// What stands behind the last record. `with_trailer` is whether it says what there was; JSON, which has room for it,
    /// always does. `damaged` is what could not be read.
    pub fn tail(mut self, with_trailer: bool, damaged: &[impl Serialize]) -> Vec<u8> {
        if self.format == Format::Json {
            self.hash.update(b"\n]");
        }
        let complete = damaged.is_empty();
        let trailer = Trailer { complete, records: self.records, sha256: hex(&self.hash.finalize()) };
        match self.format {
            Format::Json => {
                let partial = if complete {
                    String::new()
                } else {
                    format!(",\"partial\":true,\"damaged\":{}", json(&damaged))
                };
                format!("\n],\"trailer\":{}{partial}}}\n", json(&trailer)).into_bytes()
            }
            _ if !with_trailer => Vec::new(),
            Format::Ndjson => format!("{{\"trailer\":{}}}\n", json(&trailer)).into_bytes(),
            Format::Csv => {
                let Trailer { complete, records, sha256 } = trailer;
                format!("# complete={complete} records={records} sha256={sha256}\r\n").into_bytes()
            }
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Cell;
    use super::*;

    const NOTHING: &[&str] = &[];

    fn written(format: Format, count: usize, with_trailer: bool) -> String {
        let record = |n: u64| Record::new(vec![("n", Cell::Number(n)), ("text", Cell::text(Some("=a,b")))]);
        let mut whole = Whole::new(format);
        let mut out = whole.head(&record(0));
        for n in 0..count as u64 {
            out.extend(whole.records(&[record(n)]).unwrap());
        }
        out.extend(whole.tail(with_trailer, NOTHING));
        String::from_utf8(out).unwrap()
    }

    fn sha256(text: &str) -> String {
        hex(&Sha256::digest(text.as_bytes()))
    }

    #[test]
    fn the_trailer_counts_the_records_and_hashes_what_is_before_it() {
        let ndjson = written(Format::Ndjson, 2, true);
        let records = "{\"n\":0,\"text\":\"=a,b\"}\n{\"n\":1,\"text\":\"=a,b\"}\n";
        let sum = sha256(records);
        let trailer = format!("{{\"trailer\":{{\"complete\":true,\"records\":2,\"sha256\":\"{sum}\"}}}}\n");
        assert_eq!(ndjson, format!("{records}{trailer}"));
        assert_eq!(written(Format::Ndjson, 2, false), records);

        let csv = "n,text\r\n0,\"'=a,b\"\r\n";
        let trailer = format!("# complete=true records=1 sha256={}\r\n", sha256(csv));
        assert_eq!(written(Format::Csv, 1, true), format!("{csv}{trailer}"));
    }

    #[test]
    fn json_is_one_document_whatever_there_is_in_it() {
        for count in 0..3 {
            let text = written(Format::Json, count, false);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["results"].as_array().unwrap().len(), count);
            assert_eq!(
                (&json["trailer"]["records"], &json["trailer"]["complete"]),
                (&count.into(), &true.into())
            );
            let before = text.split(",\"trailer\"").next().unwrap();
            assert_eq!(json["trailer"]["sha256"], sha256(before));
        }
    }

    #[test]
    fn what_is_damaged_is_not_complete() {
        let tail = String::from_utf8(Whole::new(Format::Ndjson).tail(true, &["a day"])).unwrap();
        assert!(tail.starts_with("{\"trailer\":{\"complete\":false,\"records\":0"), "{tail}");
    }
}
