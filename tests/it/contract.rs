//! Every route: what it answers to whom, and that it says so in the OpenAPI document and in the docs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use insights_tests::{Answer, Call, ROOT, World};
use serde_json::{Value, json};

use crate::schema::Judge;

/// A method in upper case and a path with its parameters in braces.
type Operation = (String, String);

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];

/// What the document does not describe: itself, and the pages that show it.
const PAGES: [&str; 5] = [
    "/api/insights/openapi.json",
    "/api/insights/docs/",
    "/api/insights/docs/docs.js",
    "/api/insights/docs/docs.css",
    "/api/insights/docs/errors/{code}/",
];

/// What anybody may ask.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

fn document(world: &World) -> Value {
    world.send(Call::new("GET", "/api/insights/openapi.json")).expect(200)
}

/// The operations of the document.
fn operations(document: &Value) -> BTreeSet<Operation> {
    let paths = document["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&String, &Value)| {
        let methods: Vec<_> =
            item.as_object().expect("methods").keys().map(|m| m.to_ascii_uppercase()).collect();
        methods.into_iter().map(|method| (method, path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The paths that the source gives to the router.
fn paths_of_source() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let mut folders = vec![root().join("server/src/http/route")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                for call in text.split(".route(").skip(1) {
                    let quoted = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                    paths.extend(quoted.map(str::to_owned));
                }
            }
        }
    }
    paths
}

/// A path with a value for each parameter.
fn filled(path: &str, values: &BTreeMap<&str, String>) -> String {
    let of_part = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        Some(name) => values.get(name).cloned().unwrap_or_else(|| "unknown-thing".to_owned()),
        None => part.to_owned(),
    };
    path.split('/').map(of_part).collect::<Vec<_>>().join("/")
}

fn all_paths(document: &Value) -> BTreeSet<String> {
    operations(document).into_iter().map(|(_, path)| path).chain(PAGES.map(str::to_owned)).collect()
}

fn check_problem(answer: &Answer, status: u16, code: &str) -> Value {
    let problem = answer.expect(status);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{problem}");
    assert!(problem["type"].as_str().is_some_and(|kind| kind.ends_with(code)), "{problem}");
    assert_eq!(problem["request_id"], answer.header("x-request-id"), "{problem}");
    assert!(["title", "detail", "instance"].iter().all(|name| problem[name].is_string()), "{problem}");
    problem
}

#[test]
fn the_routes_that_answer_are_those_of_the_document() {
    let world = World::new();
    let document = document(&world);
    let described = operations(&document);
    assert_eq!(paths_of_source(), all_paths(&document));
    let mut answering = BTreeSet::new();
    for path in all_paths(&document) {
        for method in METHODS {
            let answer = world.send(Call::new(method, filled(&path, &BTreeMap::new())));
            // Without a credential a route of its own answers 401 before it looks for anything.
            let page = PAGES.contains(&path.as_str());
            if answer.status != 405 && !(page && method != "GET") {
                assert!(answer.status != 404 || page, "{method} {path}");
                answering.insert((method.to_owned(), path.clone()));
            }
        }
    }
    answering.retain(|(_, path)| !PAGES.contains(&path.as_str()));
    assert_eq!(answering, described);
    for nowhere in [
        "/",
        "/api",
        "/api/insights/",
        "/api/insights/nothing/",
        "/api/insights/track/more/",
        "/metrics/x",
        "/API/insights/track/",
    ] {
        check_problem(&world.send(Call::new("GET", nowhere)), 404, "not_found");
    }
}

/// Every method that a path has not is refused with the list of those it has.
#[test]
fn a_wrong_method_is_405_and_allow_names_the_right_ones() {
    let world = World::new();
    let document = document(&world);
    let described = operations(&document);
    for path in all_paths(&document) {
        let mut allowed: BTreeSet<String> =
            described.iter().filter(|(_, of)| *of == path).map(|(method, _)| method.clone()).collect();
        if PAGES.contains(&path.as_str()) {
            allowed.insert("GET".to_owned());
        }
        for method in METHODS.iter().chain(&["OPTIONS", "TRACE"]).filter(|method| !allowed.contains(**method))
        {
            let answer = world.send(Call::new(method, filled(&path, &BTreeMap::new())).key(ROOT));
            check_problem(&answer, 405, "method_not_allowed");
            let named: BTreeSet<String> = answer
                .header("allow")
                .split(',')
                .map(|m| m.trim().to_owned())
                .filter(|m| m != "HEAD")
                .collect();
            assert_eq!(named, allowed, "{method} {path}");
        }
    }
}

#[test]
fn without_a_valid_credential_every_route_is_401_alike() {
    let world = World::new();
    let document = document(&world);
    let made = world.key("acme", &["read"]);
    let (id_of_key, _) = made.rsplit_once('_').expect("ins_<id>_<secret>");
    let wrong = [
        None,
        Some(("authorization", "Bearer nothing".to_owned())),
        Some(("authorization", "Basic YTpi".to_owned())),
        Some(("authorization", format!("Bearer {id_of_key}_{}", "A".repeat(40)))),
        Some(("x-api-key", format!("{made}x"))),
        Some(("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.".to_owned())),
    ];
    for (method, path) in operations(&document) {
        if OPEN.contains(&path.as_str()) {
            assert_eq!(world.send(Call::new(&method, path)).status, 200);
            continue;
        }
        let path = filled(&path, &BTreeMap::new());
        let mut details = BTreeSet::new();
        for credential in &wrong {
            let mut call = Call::new(&method, path.clone());
            if let Some((name, value)) = credential {
                call = call.header(name, value);
            }
            let answer = world.send(call.json(&json!({})));
            let problem = check_problem(&answer, 401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path}");
            details.insert((problem["detail"].to_string(), problem["title"].to_string()));
        }
        assert_eq!(details.len(), 1, "{method} {path}: {details:?}");
    }
}

/// What a successful request of an operation needs.
#[derive(Debug, Default)]
struct Sample {
    query: &'static str,
    body: Value,
    /// Only superusers may.
    root: bool,
}

/// Ids of things that are there.
fn things(world: &World, key: &str) -> BTreeMap<&'static str, String> {
    let event = json!({"event_type": "page_view", "user_id": "u1", "app_id": "shop", "event_data": {"page": "/home"}});
    world.post("/api/insights/track/", key, &event).expect(202);
    let audit = json!({"action_type": "project.created", "user_id": "u1", "metadata": {"a": 1}, "changes": {"name": ["a", "b"]}, "targets": [{"id": "t"}]});
    let kept = world.post("/api/insights/audit/", key, &audit).expect(201);
    let points = json!([
        {"name": "response_time", "value": 12.5, "app_id": "shop"}, {"name": "uptime", "value": 1, "app_id": "shop"},
        {"name": "requests.count", "value": 3, "app_id": "shop"}, {"name": "cpu.usage", "value": 7, "host": "h1"},
        {"name": "jobs.depth", "value": 2, "labels": {"queue": "mail"}},
    ]);
    world.post("/api/insights/metrics/", key, &points).expect(202);
    BTreeMap::from([("audit", kept["records"][0]["id"].as_str().expect("an id").to_owned())])
}

fn silence() -> Value {
    json!({"comment": "a new disk", "ends_at": "2024-02-11T00:00:00Z",
        "matchers": [{"label": "host", "op": "=~", "value": "web-.*"}]})
}

fn maintenance() -> Value {
    json!({"name": "Backup", "schedule": "0 3 * * 0", "duration": "2h", "timezone": "Europe/Paris",
        "matchers": [{"label": "host", "op": "=", "value": "db"}]})
}

/// A rule over a metric.
fn alert_rule() -> Value {
    json!({"name": "Load", "severity": "critical", "for": "2m", "annotations": {"summary": "{{value}}"},
        "condition": {"type": "metric", "metric": "cpu.usage", "by": ["host"], "window": "5m", "op": "gt",
            "threshold": 90, "resolve_threshold": 80, "filters": [["host", "exists"]]}})
}

/// A channel whose messages arrive nowhere.
fn channel() -> Value {
    json!({"name": "n", "type": "slack", "url": "http://nowhere.invalid/services/x"})
}

/// A successful request of each operation of the contract.
fn sample(method: &str, path: &str) -> Option<Sample> {
    let window = || json!({"start_date": "2024-02-09", "end_date": "2024-02-10"});
    let with = |mut body: Value, name: &str, value: Value| {
        body[name] = value;
        body
    };
    let body = |body: Value| Some(Sample { body, ..Sample::default() });
    let below = path.strip_prefix("/api/insights").unwrap_or(path);
    match (method, below) {
        ("POST", "/track/") => body(json!({"event_type": "login", "user_id": "u1"})),
        ("POST", "/audit/") => body(json!([{"action_type": "user.login"}, {"action_type": ""}])),
        ("POST", "/metrics/") => body(json!([{"name": "cpu.usage", "value": 1}])),
        ("POST", "/import/") => Some(Sample {
            query: "?stream=audit",
            body: json!({"action_type": "user.login", "timestamp": 0}),
            ..Sample::default()
        }),
        ("POST", "/analytics/") => {
            body(with(with(window(), "compare", json!("previous_period")), "breakdown", json!("page")))
        }
        ("POST", "/performance/") => body(with(window(), "app_id", json!("shop"))),
        ("POST", "/metrics/query/") => body(with(
            with(window(), "names", json!(["cpu.usage", "jobs.depth"])),
            "by",
            json!(["host", "queue"]),
        )),
        ("POST", "/keys/") => {
            body(json!({"name": "n", "scopes": ["read"], "expires_at": "2030-01-01T00:00:00Z"}))
        }
        ("POST", "/reports/") => body(json!({"type": "daily", "date": "2024-02-09"})),
        ("POST", "/alerts/channels/") | ("PUT", "/alerts/channels/{id}/") => body(channel()),
        ("POST", "/alerts/channels/{id}/test/" | "/alerts/deliveries/{id}/redeliver/") => {
            Some(Sample::default())
        }
        ("POST", "/tasks/{name}/run/") => {
            Some(Sample { query: "?dry_run=true", body: json!({}), root: true })
        }
        ("POST", "/alerts/rules/rehearse/") => body(
            json!({"rule": alert_rule(), "start": "2024-02-09T00:00:00Z", "end": "2024-02-09T01:00:00Z"}),
        ),
        ("POST", "/alerts/silences/") => body(silence()),
        ("POST", "/alerts/maintenance/") => body(maintenance()),
        ("POST", "/alerts/rules/") | ("PUT", "/alerts/rules/{id}/") => body(alert_rule()),
        ("PUT", "/organizations/{id}/settings/") => body(json!({"timezone": "Europe/Paris"})),
        ("PUT", "/organizations/{id}/retention/") => body(json!({"events": {"raw_days": 90}})),
        ("GET", "/metrics") => Some(Sample { root: true, ..Sample::default() }),
        ("GET", "/analytics/") => {
            Some(Sample { query: "?start_date=2024-02-09&end_date=2024-02-10", ..Sample::default() })
        }
        ("GET", "/export/") => Some(Sample { query: "?stream=events&format=json", ..Sample::default() }),
        // The stream has no end to wait for.
        ("GET", "/live/") => Some(Sample { query: "?format=json", ..Sample::default() }),
        ("GET", "/performance/") => Some(Sample {
            query: "?app_id=shop&start_date=2024-02-09&end_date=2024-02-10",
            ..Sample::default()
        }),
        ("GET", "/metrics/query/") => {
            Some(Sample { query: "?name=cpu.usage&start=2024-02-09&end=2024-02-10", ..Sample::default() })
        }
        ("GET" | "DELETE", _) => Some(Sample::default()),
        _ => None,
    }
}

/// The ids in a path: of things that this method may do something with.
fn ids(
    world: &World,
    things: &BTreeMap<&str, String>,
    key: &str,
    method: &str,
    path: &str,
) -> BTreeMap<&'static str, String> {
    let below = path.strip_prefix("/api/insights/").unwrap_or(path);
    let id = match below.split('/').next().unwrap_or_default() {
        "audit" => things["audit"].clone(),
        "organizations" if method == "DELETE" && !below.contains("users") => "leaving".to_owned(),
        "organizations" => "acme".to_owned(),
        "keys" => {
            let made =
                world.post("/api/insights/keys/", key, &json!({"name": "n", "scopes": ["read"]})).expect(201);
            made["id"].as_str().expect("an id").to_owned()
        }
        "alerts" if below.contains("/channels/") => {
            let made = world.post("/api/insights/alerts/channels/", key, &channel()).expect(201);
            made["id"].as_str().expect("an id").to_owned()
        }
        "alerts" => {
            let (of, body) = match below.split('/').nth(1).unwrap_or_default() {
                "silences" => ("silences", silence()),
                "maintenance" => ("maintenance", maintenance()),
                _ => ("rules", alert_rule()),
            };
            let made = world.post(&format!("/api/insights/alerts/{of}/"), key, &body).expect(201);
            made["id"].as_str().expect("an id").to_owned()
        }
        "reports" => {
            let wanted = json!({"type": "security", "start_date": "2024-02-08", "end_date": "2024-02-09"});
            let made = world.post("/api/insights/reports/", key, &wanted).json();
            made["id"].as_str().expect("an id").to_owned()
        }
        _ => "none".to_owned(),
    };
    BTreeMap::from([
        ("id", id),
        ("user_id", "u9".to_owned()),
        ("name", "cleanup_old_metrics_task".to_owned()),
    ])
}

/// The schema of an answer in the document, when it is JSON.
fn schema_of<'a>(document: &'a Value, operation: &Operation, status: u16, media: &str) -> Option<&'a Value> {
    let (method, path) = operation;
    let responses = &document["paths"][path][method.to_ascii_lowercase()]["responses"];
    let response = responses.get(status.to_string()).or_else(|| responses.get("default"))?;
    response.get("content")?.get(media)?.get("schema")
}

fn check_headers(answer: &Answer, operation: &Operation) {
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{operation:?}");
    assert!(!answer.header("x-request-id").is_empty(), "{operation:?}");
    if operation.1.starts_with("/api/") {
        assert_eq!(answer.header("cache-control"), "no-store", "{operation:?}");
    }
}

#[test]
fn every_answer_is_what_the_document_says() {
    let world = World::new();
    let document = document(&world);
    let judge = Judge::new(&document);
    let key = world.key("acme", &["admin"]);
    world.key("leaving", &["read"]);
    let things = things(&world, &key);
    // Erasures last: what they take away is asked for before.
    let mut all: Vec<Operation> = operations(&document).into_iter().collect();
    all.sort_by_key(|(method, _)| method == "DELETE");
    for operation in all {
        let (method, path) = &operation;
        let sample = sample(method, path).unwrap_or_else(|| panic!("{method} {path} has no sample"));
        let values = ids(&world, &things, &key, method, path);
        let superuser = sample.root || values["id"] == "leaving";
        let credential = if superuser { ROOT } else { key.as_str() };
        let call = |path: &str| {
            let call =
                Call::new(method, format!("{}{}", filled(path, &values), sample.query)).key(credential);
            if sample.body.is_null() { call } else { call.json(&sample.body) }
        };
        let answer = world.send(call(path));
        check_headers(&answer, &operation);
        // Neither is there at once: an erasure's receipt, and a dead letter.
        if path.contains("erasures") || path.contains("redeliver") {
            check_problem(&answer, 404, "not_found");
            continue;
        }
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
        let media = answer.header("content-type").split(';').next().unwrap_or_default().to_owned();
        match schema_of(&document, &operation, answer.status, &media) {
            Some(schema) if media == "application/json" => {
                let faults = judge.faults(schema, &answer.json());
                assert_eq!(faults, [""; 0], "{method} {path}: {}", answer.text());
            }
            Some(_) => {}
            None => {
                assert!(
                    answer.body.is_empty(),
                    "{method} {path}: {} {media} is not described",
                    answer.status
                );
            }
        }
        // Without the last slash it is the same handler.
        if let Some(bare) = path.strip_suffix('/').filter(|_| method != "DELETE") {
            let again = world.send(call(bare)).status;
            // A report that the first call made is there for the second.
            let was_made = path.ends_with("/reports/") && (answer.status, again) == (201, 200);
            assert!(again == answer.status || was_made, "{method} {bare}: {again}");
        }
        // Errors are described too.
        let refused = world.send(Call::new(method, filled(path, &values)).header("x-api-key", "wrong"));
        if !OPEN.contains(&path.as_str()) {
            let schema = schema_of(&document, &operation, 401, "application/problem+json");
            let schema = schema.unwrap_or_else(|| panic!("{method} {path} describes no errors"));
            assert_eq!(judge.faults(schema, &refused.json()), [""; 0], "{method} {path}");
        }
        check_headers(&refused, &operation);
    }
}

/// What a problem says, without what differs from request to request.
fn without_request(mut problem: Value) -> Value {
    let members = problem.as_object_mut().expect("a problem");
    members.remove("request_id");
    members.remove("instance");
    problem
}

#[test]
fn a_foreign_organization_and_an_unknown_one_are_refused_alike() {
    let world = World::new();
    let document = document(&world);
    let key = world.key("acme", &["admin"]);
    world.key("other", &["admin"]);
    for operation in operations(&document) {
        let (method, path) = &operation;
        let Some(sample) = sample(method, path).filter(|sample| !sample.root) else { continue };
        let takes_parameter = document["paths"][path][method.to_ascii_lowercase()]["parameters"]
            .as_array()
            .is_some_and(|all| all.iter().any(|p| p["name"] == "organization_id" && p["in"] == "query"));
        let in_path = path.contains("/organizations/{id}/");
        if !takes_parameter && !in_path && !sample.body.is_object() && !sample.body.is_array() {
            continue;
        }
        let mut said = Vec::new();
        for organization in ["other", "nobody", "_platform"] {
            let id = if in_path { organization.to_owned() } else { "some-id".to_owned() };
            let values = BTreeMap::from([("id", id), ("user_id", "u1".to_owned())]);
            let mut path = format!("{}{}", filled(path, &values), sample.query);
            if takes_parameter {
                let sign = if path.contains('?') { '&' } else { '?' };
                path = format!("{path}{sign}organization_id={organization}");
            }
            let mut body = sample.body.clone();
            if !in_path {
                let records = match &mut body {
                    Value::Array(records) => records.as_mut_slice(),
                    record => std::slice::from_mut(record),
                };
                for record in records.iter_mut().filter(|record| record.is_object()) {
                    record["organization_id"] = json!(organization);
                }
            }
            let call = Call::new(method, path).key(&key);
            let answer = world.send(if body.is_null() { call } else { call.json(&body) });
            said.push(without_request(check_problem(&answer, 403, "forbidden")));
        }
        assert!(said.iter().all(|problem| *problem == said[0]), "{method} {path}: {said:?}");
    }
}
/// The operations that the docs name: a method and a path in backquotes, or the path alone of a page.
fn operations_of_docs(text: &str) -> BTreeSet<Operation> {
    let mut found = BTreeSet::new();
    for quoted in text.split('`').skip(1).step_by(2) {
        let (methods, path) = quoted.rsplit_once(' ').unwrap_or(("GET", quoted));
        let path = path.split('?').next().unwrap_or_default();
        let methods: Vec<&str> = methods.split(", ").collect();
        let is_whole = path.starts_with("/api/insights/") || !path.trim_start_matches('/').contains('/');
        if path.len() > 1 && path.starts_with('/') && is_whole && methods.iter().all(|m| METHODS.contains(m))
        {
            found.extend(methods.iter().map(|method| ((*method).to_owned(), path.to_owned())));
        }
    }
    found
}

#[test]
fn the_docs_name_every_operation_and_no_other() {
    let world = World::new();
    let pages = PAGES.map(|page| ("GET".to_owned(), page.split('{').next().unwrap_or_default().to_owned()));
    let mut described = operations(&document(&world));
    described.extend(pages);
    let text = std::fs::read_to_string(root().join("docs/api.md")).expect("docs/api.md");
    let named = operations_of_docs(&text);
    // What a page loads is nothing that anybody asks for.
    let is_part = |(_, path): &&Operation| PAGES[2..4].contains(&path.as_str());
    let missing: Vec<_> = described.difference(&named).filter(|operation| !is_part(operation)).collect();
    let unknown: Vec<_> = named.difference(&described).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not in docs/api.md: {missing:?}; only there: {unknown:?}"
    );
}
