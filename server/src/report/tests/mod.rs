//! Reports over HTTP and a real store: golden stories, and judges that loop over plain records.

mod activity_judge;
mod metric_judge;
mod parameters;
mod stories;
