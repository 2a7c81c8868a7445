//! A stored report as one page: for reading and for printing, with everything in it, without a script.
//!
//! The page is made of the canonical body and the stamp alone, so that it is the same whenever it is asked for.

mod activity;
mod application;
mod chart;
mod date;
mod markup;
mod number;
mod security;
#[cfg(test)]
mod tests;
mod view;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::markup::Markup;
use self::view::View;
use super::ReportType;
use crate::domain::lang::Lang;
use crate::domain::texts::Texts;

const STYLE: &str = include_str!("style.css");

static TEXTS: LazyLock<Texts> =
    LazyLock::new(|| Texts::parse(include_str!("texts.en.txt"), include_str!("texts.fr.txt")));

/// What a page may load: nothing but its own style.
pub(crate) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// What identifies a report beside its body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp<'a> {
    /// Its id, when it is kept.
    pub(crate) id: Option<&'a str>,
    /// When it was made.
    pub(crate) generated_at: &'a str,
    /// The hash of its body, when it is kept.
    pub(crate) sha256: Option<&'a str>,
}

/// A text of the pages; the last part of its name where there is none.
fn text_of(lang: Lang, name: &str) -> &'static str {
    TEXTS.find(lang, name).unwrap_or_default()
}

/// The page of a report.
pub(crate) fn page(kind: ReportType, body: &Value, stamp: Stamp<'_>, lang: Lang) -> String {
    let mut view = View { markup: Markup::default(), body, lang };
    let title = title(&view, kind);
    view.markup.raw("<!DOCTYPE html>\n");
    view.markup.open("html", &[("lang", lang.name())]);
    view.markup.open("head", &[]);
    view.markup.void("meta", &[("charset", "utf-8")]);
    view.markup.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
    view.markup.void("meta", &[("name", "robots"), ("content", "noindex")]);
    view.markup.leaf("title", &[], &title);
    view.markup.open("style", &[]);
    view.markup.raw(STYLE);
    view.markup.close();
    view.markup.close();
    view.markup.open("body", &[]);
    view.markup.open("header", &[]);
    view.markup.leaf("h1", &[("class", "name")], &title);
    let window = window(&view);
    view.markup.leaf("p", &[("class", "sub")], &window);
    view.markup.close();
    view.markup.open("main", &[]);
    warn_of_damage(&mut view);
    match kind {
        ReportType::Daily | ReportType::Organization => activity::sections(&mut view),
        ReportType::Application => application::sections(&mut view),
        ReportType::Security => security::sections(&mut view),
    }
    view.definitions();
    view.markup.close();
    footer(&mut view, stamp);
    view.markup.finish()
}

/// The name of the report: its type, and whose it is.
fn title(view: &View<'_>, kind: ReportType) -> String {
    let member = |name: &str| view.body.get(name).and_then(Value::as_str);
    let (organization, app) = (member("organization_id").unwrap_or_default(), member("app_id"));
    let name = view.text(&format!("title.{}", kind.name()));
    match app {
        Some(app) => format!("{name} \u{2013} {app} ({organization})"),
        None => format!("{name} \u{2013} {organization}"),
    }
}

/// The time that the report is of.
fn window(view: &View<'_>) -> String {
    let member = |name: &str| view.body.get(name).and_then(Value::as_str).unwrap_or_default();
    let (start, end) = (member("start_date"), member("end_date"));
    let (first, last) = (date::moment(start, view.lang), date::moment(end, view.lang));
    let span = if start == end { first } else { format!("{first} \u{2013} {last}") };
    format!("{span} ({})", member("timezone"))
}

fn warn_of_damage(view: &mut View<'_>) {
    if view.body.get("partial").and_then(Value::as_bool) == Some(true) {
        let text = view.text("partial");
        view.markup.leaf("p", &[("class", "finding error")], text);
    }
}

fn footer(view: &mut View<'_>, stamp: Stamp<'_>) {
    let made = format!("{} {}", view.text("generated"), date::moment(stamp.generated_at, view.lang));
    let kept = match (stamp.id, stamp.sha256) {
        (Some(id), Some(sha256)) => format!("{id} \u{b7} SHA-256 {sha256}"),
        _ => view.text("not_stored").to_owned(),
    };
    view.markup.open("footer", &[]);
    view.markup.leaf("p", &[], &format!("{made} (UTC)"));
    view.markup.open("p", &[]);
    view.markup.leaf("code", &[], &kept);
    view.markup.close();
    view.markup.close();
}
