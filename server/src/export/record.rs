//! One record as it leaves the server: named fields in a fixed order, in any format.

use std::borrow::Cow;

use insights_engine::Result;
use insights_engine::time::TimestampUs;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::csv::Csv;
use crate::domain::document_json::{self, DocumentJson};
use crate::domain::instant::Rfc3339;

/// The value of one field.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// Absent.
    Null,
    /// Text.
    Text(Cow<'a, str>),
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(u64),
    /// A double; what is not finite is written as absent, as JSON has no word for it.
    Double(f64),
    /// An instant.
    Time(TimestampUs),
    /// An encoded document.
    Document(&'a [u8]),
    /// An object without members.
    NoMembers,
    /// Fields of a field; in CSV columns of their own, `object.type`.
    Object(Vec<(&'static str, Self)>),
}

impl<'a> Cell<'a> {
    /// Text, or absent.
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(Cow::Borrowed(text)))
    }

    /// Appends the cell to the open line; an object takes as many cells as it has fields.
    ///
    /// # Errors
    ///
    /// When a document's bytes are none.
    fn write(&self, csv: &mut Csv) -> Result<()> {
        match self {
            Self::Null => csv.empty(),
            Self::Text(text) => csv.text(text),
            Self::Flag(flag) => csv.plain(flag),
            Self::Number(n) => csv.plain(n),
            Self::Double(n) => {
                if n.is_finite() {
                    csv.plain(n);
                } else {
                    csv.empty();
                }
            }
            Self::Time(at) => csv.plain(Rfc3339(*at)),
            Self::Document(bytes) => csv.text(&document_json::to_json(bytes)?.to_string()),
            Self::NoMembers => csv.text("{}"),
            Self::Object(fields) => {
                for (_, cell) in fields {
                    cell.write(csv)?;
                }
            }
        }
        Ok(())
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Number(n) => serializer.serialize_u64(*n),
            Self::Double(n) => serializer.serialize_f64(*n),
            Self::Time(at) => serializer.collect_str(&Rfc3339(*at)),
            Self::Document(bytes) => DocumentJson(bytes).serialize(serializer),
            Self::NoMembers => serializer.serialize_map(Some(0))?.end(),
            Self::Object(fields) => serialize_fields(fields, serializer),
        }
    }
}

/// A record: its fields in the order of the documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    fields: Vec<(&'static str, Cell<'a>)>,
}

impl<'a> Record<'a> {
    /// A record of these fields.
    pub fn new(fields: Vec<(&'static str, Cell<'a>)>) -> Self {
        Self { fields }
    }

    /// The names of its fields.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.fields.iter().map(|(name, _)| *name)
    }

    /// Keeps the fields that are `selected`, in the record's own order; all of them when nothing is selected.
    pub fn select(&mut self, selected: Option<&[String]>) {
        if let Some(selected) = selected {
            self.fields.retain(|(name, _)| selected.iter().any(|wanted| wanted == name));
        }
    }

    /// Appends it as a line of JSON.
    ///
    /// # Errors
    ///
    /// When a document's bytes are none.
    pub fn write_ndjson(&self, out: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(&mut *out, self)
            .map_err(|error| insights_engine::Error::invalid(error.to_string()))?;
        out.push(b'\n');
        Ok(())
    }

    /// Appends it as a line of CSV.
    ///
    /// # Errors
    ///
    /// When a document's bytes are none.
    pub fn write_csv(&self, csv: &mut Csv) -> Result<()> {
        for (_, cell) in &self.fields {
            cell.write(csv)?;
        }
        csv.end_line();
        Ok(())
    }

    /// Appends the line that names the columns of [`Self::write_csv`].
    pub fn write_csv_header(&self, csv: &mut Csv) {
        for (name, cell) in &self.fields {
            match cell {
                Cell::Object(fields) => {
                    for (inner, _) in fields {
                        csv.text(&format!("{name}.{inner}"));
                    }
                }
                _ => csv.text(name),
            }
        }
        csv.end_line();
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serialize_fields(&self.fields, serializer)
    }
}

fn serialize_fields<S: Serializer>(
    fields: &[(&'static str, Cell<'_>)],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(fields.len()))?;
    for (name, cell) in fields {
        map.serialize_entry(name, cell)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use insights_engine::schema::{Document, Value};

    use super::*;

    fn record(document: &[u8]) -> Record<'_> {
        Record::new(vec![
            ("at", Cell::Time(TimestampUs(1_500_000))),
            ("name", Cell::text(Some("=x"))),
            ("none", Cell::Null),
            ("n", Cell::Number(7)),
            ("nan", Cell::Double(f64::NAN)),
            ("data", Cell::Document(document)),
            ("object", Cell::Object(vec![("type", Cell::text(Some("app"))), ("id", Cell::Null)])),
            ("empty", Cell::NoMembers),
        ])
    }

    #[test]
    fn a_record_is_the_same_in_every_format() {
        let document = Document::encode(&Value::Object(vec![("a".into(), Value::I64(1))]));
        let mut record = record(document.as_bytes());
        let mut json = Vec::new();
        record.write_ndjson(&mut json).unwrap();
        let expected = concat!(
            r#"{"at":"1970-01-01T00:00:01.500000Z","name":"=x","none":null,"n":7,"nan":null,"data":{"a":1},"#,
            r#""object":{"type":"app","id":null},"empty":{}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(json).unwrap(), expected);
        let mut csv = Csv::new();
        record.write_csv_header(&mut csv);
        record.write_csv(&mut csv).unwrap();
        let expected = "at,name,none,n,nan,data,object.type,object.id,empty\r\n\
                        1970-01-01T00:00:01.500000Z,'=x,,7,,\"{\"\"a\"\":1}\",app,,{}\r\n";
        assert_eq!(String::from_utf8(csv.take()).unwrap(), expected);

        record.select(Some(&["n".into(), "at".into()]));
        assert_eq!(record.names().collect::<Vec<_>>(), ["at", "n"]);
    }

    #[test]
    fn bytes_that_are_no_document_are_an_error_in_every_format() {
        let record = record(b"\xff");
        assert!(record.write_ndjson(&mut Vec::new()).is_err());
        assert!(record.write_csv(&mut Csv::new()).is_err());
    }
}
