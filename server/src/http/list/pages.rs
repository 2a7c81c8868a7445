//! Tables in pages: lists whose rows are made at once and told apart by rank and name.

use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::{next_link, question};
use super::filter::{accept, present};
use super::parameters::Limit;
use super::table::{Table, respond};
use crate::app::AppState;
use crate::export::Format;
use crate::http::cursor::{self, Question, TablePlace};
use crate::http::error::ApiError;
use crate::http::timing;

/// Parameters of a table of an organization, or of all.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TableQuery {
    /// Whose; a superuser who names none gets all
    pub organization_id: Option<String>,
    /// Rows of a page, 1 to 1000; `all` gives every row in NDJSON or CSV
    #[serde(default)]
    #[param(value_type = Option<String>, default = "50")]
    pub limit: Limit,
    /// `next_cursor` of the page before
    pub cursor: Option<String>,
    /// The format; without it `Accept` decides
    pub format: Option<Format>,
}

impl TableQuery {
    /// Limit, cursor and format, as [`Pages::wanted`] takes them.
    pub fn page(&self, headers: &HeaderMap) -> (Limit, Option<&str>, Format) {
        (self.limit, self.cursor.as_deref(), Format::wanted(self.format, accept(headers)))
    }
}

/// Which page of a table is wanted.
#[derive(Debug)]
pub struct Pages<'a> {
    state: &'a AppState,
    uri: &'a Uri,
    question: Question,
    limit: Limit,
    format: Format,
    after: Option<TablePlace>,
    as_of: TimestampUs,
    began: std::time::Duration,
}

impl<'a> Pages<'a> {
    /// The page that was asked for at `uri` of the table `list`, which is of an organization or of all.
    ///
    /// # Errors
    ///
    /// `invalid_cursor`, `invalid` for `limit=all` in JSON, and those of the store.
    pub async fn wanted(
        state: &'a AppState,
        uri: &'a Uri,
        (list, organization): (&str, Option<&TenantId>),
        (limit, cursor, format): (Limit, Option<&str>, Format),
    ) -> Result<Self, ApiError> {
        let began = state.clock.monotonic();
        if limit == Limit::All && format == Format::Json {
            return Err(ApiError::invalid_at("/limit", "invalid", "`limit=all` needs format=ndjson or csv"));
        }
        let question = question(list, organization, uri);
        let after = match present(cursor) {
            Some(text) => {
                Some(cursor::decode_table(text, &question, &state.store.secret(cursor::SECRET).await?)?)
            }
            None => None,
        };
        let as_of = after.as_ref().map_or_else(|| state.clock.now(), |place| place.as_of);
        Ok(Self { state, uri, question, limit, format, after, as_of, began })
    }

    /// When the first page was asked for: what was received later is for another walk.
    pub fn as_of(&self) -> TimestampUs {
        self.as_of
    }

    /// The rows of the page out of all `rows`, which are in order, and the cursor of the next one. `place` gives the
    /// rank and the name of a row.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn cut<T>(
        &self,
        mut rows: Vec<T>,
        place: impl Fn(&T) -> (u64, &str),
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let place = |row: &T| {
            let (rank, name) = place(row);
            TablePlace { as_of: self.as_of, rank, name: name.to_owned() }
        };
        if let Some(after) = &self.after {
            rows.retain(|row| place(row).is_after(after));
        }
        let Limit::Page(limit) = self.limit else { return Ok((rows, None)) };
        if rows.len() <= limit {
            return Ok((rows, None));
        }
        rows.truncate(limit);
        let Some(last) = rows.last().map(place) else { return Ok((rows, None)) };
        let secret = self.state.store.secret(cursor::SECRET).await?;
        let next = cursor::encode_table(&last, &self.question, &secret);
        Ok((rows, Some(next)))
    }

    /// The answer, with a link to the next page where there is one.
    ///
    /// # Errors
    ///
    /// `internal` when it cannot be written.
    pub fn respond<T: Table>(&self, table: &T, next: Option<&str>) -> Result<Response, ApiError> {
        let mut response = respond(self.format, table)?;
        if let Some(link) = next.and_then(|next| next_link(self.uri, next)) {
            response.headers_mut().insert(header::LINK, link);
        }
        timing::add(&mut response, self.state.clock.monotonic().saturating_sub(self.began));
        Ok(response)
    }
}
