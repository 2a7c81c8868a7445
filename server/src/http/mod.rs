//! The only room that names axum: routes, middleware, errors on the wire, the accept loop.

pub mod connection;
pub mod cursor;
pub mod damage;
pub mod document;
pub mod error;
pub mod extract;
pub mod list;
pub mod middleware;
pub mod own_acts;
mod process_state;
pub(crate) mod report;
pub(crate) mod report_query;
pub mod route;
pub mod router;
pub mod serve;
pub mod timing;
