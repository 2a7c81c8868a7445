//! The canonical form of a path: with and without the last slash it is the same handler.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// Everything of ours that ends in `/` lies below this.
const BASE: &str = "/api/insights/";

/// Puts a URI into the form the routes have: below `/api/insights/` a path ends in `/`, unless its
/// last segment names a file; elsewhere it does not.
pub fn canonical(uri: &mut Uri) {
    let path = uri.path();
    let wanted = if path.starts_with(BASE) && !is_file(path) {
        if path.ends_with('/') {
            return;
        }
        format!("{path}/")
    } else {
        match path.strip_suffix('/') {
            None | Some("") => return,
            Some(path) => path.to_owned(),
        }
    };
    let wanted = match uri.query() {
        Some(query) => format!("{wanted}?{query}"),
        None => wanted,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(wanted).ok();
    if let Ok(changed) = Uri::from_parts(parts) {
        *uri = changed;
    }
}

/// Whether the path is that of a file, which never ends in `/`. Identifiers may have dots, so a dot
/// alone makes no file.
fn is_file(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let below = path.strip_prefix(BASE).unwrap_or_default();
    below == "openapi.json" || below.strip_prefix("docs/").is_some_and(|name| name.contains('.'))
}

/// The route of a canonical path, for metrics: a name of few, whatever a client asks for.
pub fn label(path: &str) -> &'static str {
    let Some(below) = path.strip_prefix(BASE) else {
        return match path {
            "/healthz" => "healthz",
            "/readyz" => "readyz",
            "/metrics" => "own_metrics",
            _ => "other",
        };
    };
    match below.split_once('/').map_or(below, |(first, _)| first) {
        "track" => "track",
        "audit" => "audit",
        "metrics" if below.starts_with("metrics/query") => "metrics_query",
        "metrics" => "metrics",
        "analytics" => "analytics",
        "performance" => "performance",
        "events" => "events",
        "export" => "export",
        "import" => "import",
        "reports" => "reports",
        "tasks" => "tasks",
        "live" => "live",
        "keys" => "keys",
        "organizations" => "organizations",
        "openapi.json" | "docs" => "docs",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn with_and_without_the_last_slash_is_the_same_path() {
        for (given, expected) in [
            ("/api/insights/track", "/api/insights/track/"),
            ("/api/insights/track/", "/api/insights/track/"),
            ("/api/insights/audit?limit=5", "/api/insights/audit/?limit=5"),
            ("/api/insights/audit/a.json", "/api/insights/audit/a.json/"),
            ("/api/insights/openapi.json", "/api/insights/openapi.json"),
            ("/api/insights/openapi.json/", "/api/insights/openapi.json"),
            ("/api/insights/docs", "/api/insights/docs/"),
            ("/api/insights/docs/docs.js", "/api/insights/docs/docs.js"),
            ("/healthz/", "/healthz"),
            ("/healthz", "/healthz"),
            ("/", "/"),
            ("http://host/api/insights/track?x", "http://host/api/insights/track/?x"),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            canonical(&mut uri);
            assert_eq!(uri.to_string(), expected.parse::<Uri>().unwrap().to_string(), "{given}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_stable(path in "/(api/insights/)?[a-z./%?=]{0,30}") {
            if let Ok(mut uri) = path.parse::<Uri>() {
                canonical(&mut uri);
                let once = uri.clone();
                // Beyond the base, several slashes fall one at a time; that is no path of ours.
                if once.path().starts_with(BASE) {
                    canonical(&mut uri);
                    prop_assert_eq!(once, uri);
                }
            }
        }
    }
}
