//! `keys`: makes, lists and revokes API keys, on the data directory or against a running server.

#![expect(clippy::doc_markdown, reason = "clap prints these comments as they stand")]

use axum::body::Bytes;
use axum::http::Method;
use clap::{Args, Subcommand};
use insights_engine::append::{Append, CatalogPut};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde_json::json;

use super::http_client::Server;
use super::open::Opened;
use super::settings::SettingsArgs;
use super::{ProgramError, print};
use crate::auth::Principal;
use crate::auth::api_key::ApiKey;
use crate::auth::keyring::{Keyring, last_use_put};
use crate::config::units::parse_duration;
use crate::domain::instant::Rfc3339;
use crate::http::error::ApiError;
use crate::http::list::parameters::LIMIT_MAX;
use crate::http::route::keys::{KeyList, KeyView, NewKey};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key; its text is shown once and kept nowhere
    Create(CreateArgs),
    /// List the keys, newest first
    List(ListArgs),
    /// Revoke a key; against a running server it is worth nothing from now on
    Revoke(RevokeArgs),
}

/// Where the keys are.
#[derive(Debug, Args)]
struct Place {
    /// A running server, such as http://127.0.0.1:8686; without it the data directory is opened,
    /// which no running server may have
    #[arg(long, value_name = "URL", requires = "key")]
    url: Option<String>,
    /// The credential for the running server
    #[arg(long, value_name = "KEY", env = "INSIGHTS_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What people call it
    #[arg(long)]
    name: String,
    /// The organization it is bound to; it comes to exist with its first key
    #[arg(long, value_name = "ID", required_unless_present = "superuser", conflicts_with = "superuser")]
    organization: Option<String>,
    /// What it may do: track, metrics:write, audit:write, read, audit:read, admin (all of these) or
    /// metrics (of the server itself); may be repeated, or separated by commas
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        value_delimiter = ',',
        required_unless_present = "superuser"
    )]
    scopes: Vec<String>,
    /// It may do everything everywhere
    #[arg(long, conflicts_with = "scopes")]
    superuser: bool,
    /// When it expires: an instant in RFC 3339
    #[arg(long, value_name = "INSTANT", conflicts_with = "expires_in")]
    expires_at: Option<String>,
    /// When it expires, from now: 90d, 12h
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only the keys of this organization
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The id of the key: the middle part of its text
    id: String,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(command: KeysCommand, settings: &SettingsArgs) -> Result<(), ProgramError> {
    match command {
        KeysCommand::Create(args) => create(&args, settings),
        KeysCommand::List(args) => list(&args, settings),
        KeysCommand::Revoke(args) => revoke(&args, settings),
    }
}

impl Place {
    fn server(&self) -> Result<Option<Server>, ProgramError> {
        let Some(url) = &self.url else { return Ok(None) };
        Server::new(url, self.key.as_deref().unwrap_or_default()).map(Some)
    }
}

/// Opens the data directory, does something with it, and closes it, whatever came of it.
fn offline<T>(
    settings: &SettingsArgs,
    work: impl FnOnce(&Opened) -> Result<T, ProgramError>,
) -> Result<T, ProgramError> {
    let opened = Opened::open(&settings.load()?.0).map_err(|error| match error {
        ProgramError::Engine(locked @ insights_engine::Error::Locked { .. }) => {
            ProgramError::Refused(format!("{locked}; to talk to a running server, add --url and --key"))
        }
        other => other,
    })?;
    let done = work(&opened);
    let closed = opened.engine.close();
    let done = done?;
    closed?;
    Ok(done)
}

fn put(opened: &Opened, puts: Vec<CatalogPut>) -> Result<(), ProgramError> {
    opened.engine.append(Append::puts(puts))?;
    Ok(())
}

/// What the same request over HTTP would be told.
#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
fn refused(error: ApiError) -> ProgramError {
    let places = error.errors().iter().map(|place| format!("\n  {}: {}", place.pointer, place.detail));
    ProgramError::Refused(error.detail().to_owned() + &places.collect::<String>())
}

fn create(args: &CreateArgs, settings: &SettingsArgs) -> Result<(), ProgramError> {
    let lifetime =
        args.expires_in.as_deref().map(parse_duration).transpose().map_err(ProgramError::Refused)?;
    let request = |now: TimestampUs| NewKey {
        name: args.name.clone(),
        organization_id: args.organization.clone(),
        scopes: args.scopes.clone(),
        superuser: args.superuser,
        expires_at: args.expires_at.clone().map(Into::into).or_else(|| {
            let us = i64::try_from(lifetime?.as_micros()).unwrap_or(i64::MAX);
            Some(
                Rfc3339(TimestampUs(now.0.saturating_add(us)).min(crate::domain::instant::MAX))
                    .to_string()
                    .into(),
            )
        }),
    };
    let view = if let Some(server) = args.place.server()? {
        let now = insights_engine::clock::Clock::now(&*insights_engine::clock::SystemClock::new());
        let body = serde_json::to_vec(&request(now)).map_err(std::io::Error::other)?;
        let answer = server.send(Method::POST, "/api/insights/keys/", body)?;
        serde_json::from_slice::<KeyView>(&answer).map_err(std::io::Error::other)?
    } else {
        offline(settings, |opened| {
            let (now, local) = (opened.clock.now(), Principal::local());
            let new = request(now);
            let (grant, expires) = new.check(&local, now).map_err(refused)?;
            let (key, text) =
                ApiKey::issue(&new.name, grant, expires, now, local.credential(), &opened.entropy);
            if let Some(organization) = key.organization() {
                opened.engine.create_tenant(organization)?;
            }
            put(opened, vec![key.put()])?;
            Ok(KeyView { key: Some(text), ..KeyView::new(&key, None) })
        })?
    };
    if args.place.json {
        return print(&serde_json::to_string(&view).map_err(std::io::Error::other)?);
    }
    // The key alone, so that `KEY=$(... keys create ...)` works.
    print(view.key.as_deref().unwrap_or_default())
}

fn list(args: &ListArgs, settings: &SettingsArgs) -> Result<(), ProgramError> {
    let views = if let Some(server) = args.place.server()? {
        all_pages(args.organization.as_deref(), |path| server.send(Method::GET, path, Vec::new()))?
    } else {
        let organization = args.organization.as_deref().map(TenantId::new).transpose()?;
        offline(settings, |opened| {
            let keyring = Keyring::load(|kind, prefix| opened.engine.catalog_scan(kind, prefix));
            Ok(keyring.list(organization.as_ref()).iter().map(|entry| KeyView::from(&**entry)).collect())
        })?
    };
    if args.place.json {
        return print(&json!({ "results": views, "next_cursor": null }).to_string());
    }
    print(table(&views).trim_end())
}

/// The keys of all pages, each got by its path.
fn all_pages(
    organization: Option<&str>,
    mut get: impl FnMut(&str) -> Result<Bytes, ProgramError>,
) -> Result<Vec<KeyView>, ProgramError> {
    let (mut views, mut cursor) = (Vec::new(), None);
    loop {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &LIMIT_MAX.to_string());
        for (name, value) in [("organization_id", organization), ("cursor", cursor.as_deref())] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let answer = get(&format!("/api/insights/keys/?{}", query.finish()))?;
        let page: KeyList = serde_json::from_slice(&answer).map_err(std::io::Error::other)?;
        views.extend(page.results);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(views);
        }
    }
}

/// Keys as a table for people.
fn table(views: &[KeyView]) -> String {
    let header =
        ["ID", "NAME", "ORGANIZATION", "SCOPES", "CREATED", "EXPIRES", "LAST USED"].map(String::from);
    let mut rows = vec![header];
    rows.extend(views.iter().map(|view| {
        let scopes = if view.superuser { "superuser".to_owned() } else { view.scopes.join(",") };
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [
            view.id.clone(),
            view.name.clone(),
            or_dash(&view.organization_id),
            scopes,
            view.created_at.clone(),
            or_dash(&view.expires_at),
            or_dash(&view.last_used_at),
        ]
    }));
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn revoke(args: &RevokeArgs, settings: &SettingsArgs) -> Result<(), ProgramError> {
    if let Some(server) = args.place.server()? {
        server.send(Method::DELETE, &format!("/api/insights/keys/{}/", args.id), Vec::new())?;
    } else {
        offline(settings, |opened| {
            let keyring = Keyring::load(|kind, prefix| opened.engine.catalog_scan(kind, prefix));
            if keyring.get(&args.id).is_none() {
                return Err(ProgramError::Refused(format!("there is no key {}", args.id)));
            }
            put(opened, vec![ApiKey::removal(&args.id), last_use_put(&args.id, None)])
        })?;
    }
    if args.place.json {
        return print(&json!({ "id": args.id, "revoked": true }).to_string());
    }
    print(&format!("revoked {}", args.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_every_page_are_listed() {
        let key = json!({"id": "k", "name": "n", "organization_id": null, "scopes": [], "superuser": true,
                         "created_at": "2024-01-01T00:00:00Z", "expires_at": null, "last_used_at": null});
        let mut asked = Vec::new();
        let views = all_pages(Some("a:b"), |path| {
            asked.push(path.to_owned());
            let next = (asked.len() < 3).then(|| format!("c{}", asked.len()));
            Ok(json!({"results": [key], "next_cursor": next}).to_string().into())
        });
        assert_eq!(views.unwrap().len(), 3);
        let first = "/api/insights/keys/?limit=1000&organization_id=a%3Ab";
        assert_eq!(asked, [first.to_owned(), format!("{first}&cursor=c1"), format!("{first}&cursor=c2")]);
    }

    #[test]
    fn keys_are_shown_in_columns() {
        let view = KeyView {
            id: "abc".into(),
            key: None,
            name: "web".into(),
            organization_id: Some("acme".into()),
            scopes: vec!["track".into(), "read".into()],
            superuser: false,
            created_at: "2024-01-01T00:00:00Z".into(),
            expires_at: None,
            last_used_at: None,
        };
        let expected = "ID   NAME  ORGANIZATION  SCOPES      CREATED               EXPIRES  LAST USED\n\
                        abc  web   acme          track,read  2024-01-01T00:00:00Z  -        -\n";
        assert_eq!(table(&[view]), expected);
    }
}
