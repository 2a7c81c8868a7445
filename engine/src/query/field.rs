//! Fields of a question, resolved once: which columns and paths are read, and how they are told apart.

use super::request::Field;
use crate::error::{Error, Result};
use crate::id::Stream;
use crate::schema::{ColumnDef, ColumnId, ColumnType, IdentityKind, Schema};

/// One column, or one path of a document column, that a question reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// The column.
    pub(crate) column: ColumnId,
    /// Its type.
    pub(crate) ty: ColumnType,
    /// The path inside it; empty for the column itself.
    pub(crate) path: Vec<String>,
}

impl Leaf {
    /// The code space of its values, when they have codes.
    pub(crate) fn kind(&self) -> Option<IdentityKind> {
        if let ColumnType::Code(kind) = self.ty { Some(kind) } else { None }
    }

    /// Whether its values are whole documents: present or absent, equal to nothing.
    pub(crate) fn is_document(&self) -> bool {
        self.ty == ColumnType::Document && self.path.is_empty()
    }
}

/// A [`Field`] as places of [`Fields::leaves`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// One leaf.
    Leaf(usize),
    /// The tenant's name.
    Tenant,
    /// The first that is present; never nested.
    FirstOf(Vec<Source>),
}

/// The leaves that a question reads, each once.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    stream: Stream,
    leaves: Vec<Leaf>,
}

impl Fields {
    /// None yet.
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, leaves: Vec::new() }
    }

    /// The stream they are of.
    pub(crate) fn stream(&self) -> Stream {
        self.stream
    }

    /// The leaves.
    pub(crate) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// Resolves a field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a column the stream does not have, a path into what is no document, an
    /// empty path, and a choice among no fields.
    pub(crate) fn source(&mut self, field: &Field) -> Result<Source> {
        match field {
            Field::Tenant => Ok(Source::Tenant),
            Field::Column(id) => Ok(Source::Leaf(self.leaf(*id, &[])?)),
            Field::Path(id, path) if path.is_empty() => {
                Err(Error::invalid(format!("an empty path into column {}", id.0)))
            }
            Field::Path(id, path) => Ok(Source::Leaf(self.leaf(*id, path)?)),
            Field::FirstOf(fields) => {
                let mut flat = Vec::with_capacity(fields.len());
                for field in fields {
                    match self.source(field)? {
                        Source::FirstOf(inner) => flat.extend(inner),
                        source => flat.push(source),
                    }
                }
                if flat.is_empty() {
                    return Err(Error::invalid("the first of no fields"));
                }
                Ok(Source::FirstOf(flat))
            }
        }
    }

    /// The place of a column of the stream.
    ///
    /// # Errors
    ///
    /// As [`Self::source`].
    pub(crate) fn column(&mut self, def: &ColumnDef) -> Result<usize> {
        self.leaf(def.id, &[])
    }

    fn leaf(&mut self, column: ColumnId, path: &[String]) -> Result<usize> {
        let def = Schema::of(self.stream).get(column).ok_or_else(|| {
            Error::invalid(format!("the stream {} has no column {}", self.stream, column.0))
        })?;
        if !path.is_empty() && def.ty != ColumnType::Document {
            return Err(Error::invalid(format!("a path into {}, which is no document", def.name)));
        }
        let known = self.leaves.iter().position(|l| l.column == column && l.path == path);
        Ok(known.unwrap_or_else(|| {
            self.leaves.push(Leaf { column, ty: def.ty, path: path.to_vec() });
            self.leaves.len() - 1
        }))
    }
}
