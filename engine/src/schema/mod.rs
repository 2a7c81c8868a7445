//! Streams, columns, values and batches of rows: what may be stored.

pub mod batch;
pub mod column;
pub mod document;
pub mod encoder;
pub(crate) mod leaves;
pub mod stream;
pub mod vector;

pub use batch::{Batch, BatchBuilder};
pub use column::{Bitmap, BytesColumn, Column};
pub use document::{Document, DocumentBuilder, Scalar, ScalarRef, Value};
pub use encoder::DocumentEncoder;
pub use stream::{ColumnDef, ColumnId, ColumnType, IdentityKind, Schema};
pub use vector::{ColumnVector, NULL_CODE};
