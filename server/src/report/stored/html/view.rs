//! What the pages of all types are put together from: tiles, tables, charts of a body's numbers.

use serde_json::Value;

use super::chart::{Chart, Form, Series, draw};
use super::date;
use super::markup::Markup;
use super::number::{Unit, change, plain, shown};
use super::{TEXTS, text_of};
use crate::domain::lang::Lang;

/// Rows of a table.
const ROWS_MAX: usize = 25;
/// What stands where there is no number.
const NONE: &str = "\u{2013}";

/// A page that is being written.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The markup so far.
    pub(super) markup: Markup,
    /// The body of the report.
    pub(super) body: &'a Value,
    /// The language.
    pub(super) lang: Lang,
}

/// A number of a summary as a tile: where it is, what it is called, what it counts.
pub(super) type Tile = (&'static str, &'static str, Unit);

/// A column of a table: its name, the member it shows, and what that counts; without a unit it is a name.
pub(super) type Column = (&'static str, &'static str, Option<Unit>);

/// A chart of series: its title, the members with their names, form, unit, and the top of the axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plot<'p> {
    pub(super) title: &'static str,
    pub(super) series: &'p [(&'static str, &'static str)],
    pub(super) form: Form,
    pub(super) unit: Unit,
    pub(super) top: Option<f64>,
}

impl<'a> View<'a> {
    /// A text of the page.
    pub(super) fn text(&self, name: &str) -> &'static str {
        text_of(self.lang, name)
    }

    /// A number of the body.
    pub(super) fn number(&self, pointer: &str) -> Option<f64> {
        self.body.pointer(pointer).and_then(Value::as_f64)
    }

    /// The rows of a list of the body.
    pub(super) fn rows(&self, pointer: &str) -> &'a [Value] {
        self.body.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// A number with its unit, or a dash.
    pub(super) fn shown(&self, value: Option<f64>, unit: Unit) -> String {
        value.map_or_else(|| NONE.to_owned(), |value| shown(value, unit, self.lang))
    }

    /// A heading.
    pub(super) fn heading(&mut self, name: &str) {
        let text = self.text(name);
        self.markup.leaf("h2", &[], text);
    }

    /// Tiles of the numbers of a summary, with their change against the previous period.
    pub(super) fn tiles(&mut self, summary: &str, changes: &str, tiles: &[Tile]) {
        self.markup.open("div", &[("class", "tiles")]);
        for (member, name, unit) in tiles {
            let value = self.number(&format!("{summary}/{}", member.replace('.', "/")));
            // The changes are under dotted names.
            let relative =
                self.body.pointer(changes).and_then(|all| all.get(*member)?.get("relative")?.as_f64());
            self.tile(name, value, *unit, relative);
        }
        self.markup.close();
    }

    /// One tile.
    pub(super) fn tile(&mut self, name: &str, value: Option<f64>, unit: Unit, relative: Option<f64>) {
        let (label, value) = (self.text(name), self.shown(value, unit));
        self.markup.open("div", &[("class", "tile")]);
        self.markup.leaf("div", &[("class", "label")], label);
        self.markup.leaf("div", &[("class", "value")], &value);
        if let Some(relative) = relative {
            let arrow = match relative {
                up if up > 0.0 => "\u{25b2}",
                down if down < 0.0 => "\u{25bc}",
                _ => "=",
            };
            let text = format!("{arrow} {} {}", change(relative, self.lang), self.text("versus_before"));
            self.markup.leaf("div", &[("class", "change")], &text);
        }
        self.markup.close();
    }

    /// A table of a list of the body; nothing is said of an empty one but that it is.
    pub(super) fn table(&mut self, title: &str, pointer: &str, columns: &[Column]) {
        let (title, rows) = (self.text(title), self.rows(pointer));
        self.markup.leaf("h3", &[], title);
        if rows.is_empty() {
            let nothing = self.text("nothing");
            self.markup.leaf("p", &[("class", "nothing")], nothing);
            return;
        }
        self.markup.open("table", &[]);
        self.markup.open("thead", &[]);
        self.markup.open("tr", &[]);
        for (name, _, unit) in columns {
            let name = self.text(name);
            let class = if unit.is_some() { "number" } else { "label" };
            self.markup.leaf("th", &[("class", class), ("scope", "col")], name);
        }
        self.markup.close();
        self.markup.close();
        self.markup.open("tbody", &[]);
        for row in rows.iter().take(ROWS_MAX) {
            self.row(row, columns);
        }
        self.markup.close();
        self.markup.close();
        let list = pointer.rsplit('/').next().unwrap_or_default();
        let omitted =
            self.number(&format!("/omitted/{list}")).or_else(|| self.number(&format!("{pointer}_omitted")));
        self.more(rows.len().saturating_sub(ROWS_MAX), omitted);
    }

    /// Says how many rows of a list are not on the page: those that other formats have, and those that the report
    /// left out.
    pub(super) fn more(&mut self, in_other_formats: usize, omitted: Option<f64>) {
        let omitted = omitted.filter(|omitted| *omitted > 0.0);
        #[expect(clippy::cast_precision_loss, reason = "a list of a report has at most some thousand rows")]
        let here = in_other_formats as f64;
        let name = match omitted {
            None if in_other_formats == 0 => return,
            None => "more",
            Some(_) => "more_omitted",
        };
        let plain = |number| plain(number, self.lang);
        let text = self.text(name).replace("{count}", &plain(here + omitted.unwrap_or_default()));
        let text = text.replace("{here}", &plain(here));
        self.markup.leaf("p", &[("class", "note")], &text);
    }

    fn row(&mut self, row: &Value, columns: &[Column]) {
        self.markup.open("tr", &[]);
        for (_, member, unit) in columns {
            let value = row.pointer(&format!("/{}", member.replace('.', "/")));
            if let Some(unit) = unit {
                let text = self.shown(value.and_then(Value::as_f64), *unit);
                self.markup.leaf("td", &[("class", "number")], &text);
            } else {
                let text = value.and_then(Value::as_str).unwrap_or(NONE);
                self.markup.leaf("td", &[("class", "name")], text);
            }
        }
        self.markup.close();
    }

    /// A chart of series of the body, with a label for each bucket.
    pub(super) fn chart(&mut self, pointer: &str, plot: &Plot<'_>) {
        let rows = self.rows(pointer);
        let is_by_hour = self.body.get("group_by").and_then(Value::as_str) == Some("hour");
        let label = |row: &Value| {
            let bucket = row.get("bucket").and_then(Value::as_str).unwrap_or_default();
            if is_by_hour { date::hour(bucket, self.lang) } else { date::short_day(bucket, self.lang) }
        };
        let values = |member: &str| {
            let pointer = format!("/{}", member.replace('>', "/"));
            rows.iter().map(|row| row.pointer(&pointer).and_then(Value::as_f64)).collect()
        };
        let series =
            plot.series.iter().map(|(member, name)| Series { name: self.text(name), values: values(member) });
        let chart = Chart {
            title: self.text(plot.title),
            nothing: self.text("nothing"),
            labels: rows.iter().map(label).collect(),
            series: series.collect(),
            form: plot.form,
            unit: plot.unit,
            top: plot.top,
        };
        draw(&mut self.markup, &chart, self.lang);
    }

    /// The definitions of the numbers of the report.
    pub(super) fn definitions(&mut self) {
        let definitions = crate::report::definitions::of_answer(self.body, self.lang);
        self.heading("definitions");
        self.markup.open("dl", &[]);
        for (name, definition) in definitions {
            let called = TEXTS.find(self.lang, &format!("metric.{name}")).unwrap_or(name);
            self.markup.leaf("dt", &[], called);
            self.markup.leaf("dd", &[], definition.text);
        }
        self.markup.close();
    }
}
