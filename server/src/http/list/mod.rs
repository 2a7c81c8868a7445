//! What all lists have in common: their parameters, pages of rows, and answers in three formats.

pub mod answer;
pub mod filter;
pub mod pages;
pub mod parameters;
pub mod stream_body;
pub mod table;
pub mod window;

pub use answer::List;
pub use pages::{Pages, TableQuery};
pub use parameters::{Limit, ListOrder, Paging};
pub use window::window;

#[cfg(test)]
mod tests;
