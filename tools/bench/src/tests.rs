//! The program against a real server and a real engine: every question is answered, every stream is taken.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use insights_engine::Engine;
use insights_engine::clock::{Clock, SystemClock};
use insights_engine::disk::OsDisk;
use insights_engine::entropy::Entropy;
use insights_server::auth::Authenticator;
use insights_server::auth::keyring::Keyring;
use insights_server::config::{Config, Secret};
use insights_server::http::connection::Patience;
use insights_server::http::serve::{ServeLimits, serve};
use insights_server::{AppState, Store, app};
use tokio::net::TcpListener;

use crate::args::{About, Arguments, Command, Stream};
use crate::ask::{self, Asking};
use crate::client::{Client, Server};
use crate::load::{self, Load};
use crate::progress::Done;
use crate::records::Spread;
use crate::{inside, own_metrics, soak, subject};

const KEY: &str = "the-superuser-key-of-the-bench's-own-tests";
/// Long enough for some requests, short enough for a test.
const A_MOMENT: Duration = Duration::from_millis(300);

/// A server on a free port, for as long as the directory lives.
async fn server(directory: &std::path::Path) -> String {
    let clock: Arc<dyn Clock> = SystemClock::new();
    let config = Config::default();
    let disk = Arc::new(OsDisk::open(directory).unwrap());
    let engine = Engine::open(config.engine.clone(), disk, Arc::clone(&clock), [3; 32]).unwrap();
    let auth = Authenticator::new(&Secret::new(KEY.to_owned()), Keyring::default(), None);
    let store = Store::new(engine, config.limits.queries);
    let state = AppState::new(store, config, clock, auth, Entropy::from_seed([5; 32]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let limits = ServeLimits {
        connections_max: 100,
        patience: Patience::default(),
        shutdown_timeout: Duration::from_secs(1),
    };
    tokio::spawn(serve(listener, app(state), limits, std::future::pending()));
    url
}

fn load(stream: Stream, organization: &str) -> Load {
    Load {
        stream,
        batch: 100,
        clients: 2,
        rate: Some(2_000),
        organizations: vec![organization.to_owned()],
        spread: Spread::ONE,
        fresh: false,
        seed: 1,
    }
}

fn about(organization: &str) -> About {
    let arguments =
        ["insights-bench", "query", "--data-dir", "d", "--organization", organization, "--windows", "2"];
    match Arguments::parse_from(arguments).command {
        Command::Query(query) => query.about,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_takes_every_stream_and_answers_every_question() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::new(&server(directory.path()).await, KEY).unwrap();
    for stream in [Stream::Events, Stream::Metrics, Stream::Audit] {
        let outcome = load::run(&server, &load(stream, "acme"), A_MOMENT, &Done::default()).await.unwrap();
        assert!(outcome.rows > 0 && outcome.errors == 0, "{stream:?}: {outcome:?}");
        assert_eq!(outcome.rows, outcome.latencies.count() * 100);
    }
    let about = about("acme");
    let subject = subject::find(&mut Client::new(server.clone()), &about).await.unwrap();
    assert!(subject.app.starts_with("app-") && subject.user.starts_with("user-"), "{subject:?}");
    assert!(subject.page.starts_with("/app/") && subject.cursor.is_some(), "{subject:?}");
    let questions = subject::requests(&about, &subject).unwrap();
    assert_eq!(questions.len(), about.asked().len());
    for question in questions.chunks(1) {
        let asking = Asking { clients: 1, rate: None };
        let asked =
            ask::run(&server, question, asking, Duration::from_millis(60), &Done::default()).await.unwrap();
        assert!(asked.iter().all(|asked| asked.errors == 0 && asked.latencies.count() > 0), "{asked:?}");
    }
    // Too many for a thread each.
    let asking = Asking { clients: ask::THREADS_MAX + 1, rate: Some(1_000) };
    let asked = ask::run(&server, &questions[..1], asking, A_MOMENT, &Done::default()).await.unwrap();
    assert!(asked[0].errors == 0 && asked[0].latencies.count() > 0, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_soak_is_answered_but_too_short_to_judge() {
    let directory = tempfile::tempdir().unwrap();
    let url = server(directory.path()).await;
    let arguments = [
        "insights-bench",
        "soak",
        "--url",
        &url,
        "--key",
        KEY,
        "--duration",
        "1s",
        "--rate",
        "1000",
        "--batch",
        "10",
        "--organizations",
        "5",
    ];
    let Command::Soak(args) = Arguments::parse_from(arguments).command else { panic!("another command") };
    let report = soak::run(&args).await.unwrap();
    assert!(!report.passed(), "one second is no soak");
    let json: serde_json::Value = serde_json::from_str(&crate::report::json(&report)).unwrap();
    assert_eq!(json["errors"], 0, "{json}");
    assert!(json["not_judged"].as_str().is_some_and(|reason| reason.contains("too few")), "{json}");
    assert!(json["samples"][0]["engine"]["memtable_bytes"].is_number(), "{json}");
    assert!(report.table().contains("FAILED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_tells_its_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::new(&server(directory.path()).await, KEY).unwrap();
    let sample = own_metrics::once(&mut Client::new(server), 0.0).await.unwrap();
    assert!(sample.resident_bytes.is_some_and(|bytes| bytes > 0.0), "{sample:?}");
    assert_eq!(sample.anonymous_bytes.is_some(), cfg!(target_os = "linux"), "{sample:?}");
}

#[test]
fn an_engine_takes_every_stream_and_answers_every_question() {
    let directory = tempfile::tempdir().unwrap();
    for stream in [Stream::Events, Stream::Metrics, Stream::Audit] {
        let (outcome, cpu) = inside::load::run(directory.path(), &load(stream, "acme"), A_MOMENT).unwrap();
        assert!(outcome.rows > 0 && outcome.errors == 0, "{stream:?}: {outcome:?}");
        assert!(cpu > Duration::ZERO);
    }
    let asking = Asking { clients: 2, rate: None };
    let about = about("acme");
    let (asked, organization) = inside::ask::run(directory.path(), &about, asking, A_MOMENT).unwrap();
    assert_eq!(organization.as_deref(), Some("acme"));
    assert_eq!(asked.len(), about.asked().len());
    assert!(asked.iter().all(|asked| asked.errors == 0 && asked.latencies.count() > 0), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_was_filled_with_audit_records_alone_is_asked_about_them() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = [
        "insights-bench",
        "fill",
        "--data-dir",
        "d",
        "--stream",
        "audit",
        "--rows",
        "3000",
        "--users",
        "4",
        "--others",
        "3",
    ];
    let Command::Fill(mut args) = Arguments::parse_from(arguments).command else { panic!("another command") };
    args.data_dir = directory.path().to_owned();
    assert!(crate::command::fill(&args).unwrap());
    let mut about = about("bench");
    about.questions = vec![crate::question::Question::AuditSearch];
    let asking = Asking { clients: 1, rate: None };
    let (asked, _) = inside::ask::run(directory.path(), &about, asking, A_MOMENT).unwrap();
    assert!(asked.len() == 1 && asked[0].errors == 0 && asked[0].latencies.count() > 0, "{asked:?}");
    let server = Server::new(&server(directory.path()).await, KEY).unwrap();
    let subject = subject::find(&mut Client::new(server.clone()), &about).await.unwrap();
    let questions = subject::requests(&about, &subject).unwrap();
    let asked = ask::run(&server, &questions, asking, A_MOMENT, &Done::default()).await.unwrap();
    assert!(asked[0].errors == 0 && asked[0].bytes.quantile(50, 100) > 1_000, "{asked:?}");
    assert!(asked[0].server.count() > 0, "a list says what it took in the server");
}

#[test]
fn a_directory_without_events_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let asking = Asking { clients: 1, rate: None };
    let error = inside::ask::run(directory.path(), &about("acme"), asking, A_MOMENT).unwrap_err();
    assert!(error.to_string().contains("insights-bench ingest --data-dir"), "{error}");
}
