//! From a message that is enqueued to a receiver on a real socket, by a clock that is moved.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde_json::json;

use super::channel::tests::webhook;
use super::channel::{Channel, Target};
use super::delivery::{Delivery, DeliveryState};
use super::message::tests::message;
use super::target_url::TargetUrl;
use super::testing::{Receiver, answer, config};
use super::*;
use crate::testing::TestApp;

/// The key of every webhook of these tests: the secret of `webhook` without its beginning.
const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn add(app: &TestApp, channel: Channel) -> ChannelId {
    let id = channel.id.clone();
    app.state.store.create_tenant(channel.organization.clone()).await.unwrap();
    app.state.store.put(vec![channel.put()]).await.unwrap();
    app.state.notify.channels().insert(channel);
    id
}

fn deliveries(app: &TestApp) -> Vec<Delivery> {
    app.state.notify.0.outbox.lock().list(None)
}

async fn enqueue(app: &TestApp, channels: &[ChannelId], group: &str) -> Enqueued {
    app.state.notify.enqueue(channels, message(group, app.state.clock.now())).await.unwrap()
}

/// Moves the clock to when the next attempt is due.
fn pass(app: &TestApp) {
    let next = app.state.notify.0.outbox.lock().next().unwrap();
    let us = u64::try_from(next.0 - app.state.clock.now().0).unwrap();
    app.clock.advance(Duration::from_micros(us));
}

/// HMAC by hand (RFC 2104) over the SHA-256 of the library: the judge of signatures.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::digest([&block.map(|b| b ^ 0x36)[..], text].concat());
    Sha256::digest([&block.map(|b| b ^ 0x5c)[..], &inner[..]].concat()).to_vec()
}

#[tokio::test]
async fn a_message_arrives_signed_over_a_real_socket() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let id = add(&app, webhook("ch_1", &receiver.url("/in?x=1"))).await;
    let enqueued = enqueue(&app, &[id.clone(), id], "shop").await;
    assert_eq!((enqueued.deliveries.len(), enqueued.skipped.len()), (1, 0));
    assert_eq!(app.state.notify.step().await, 1);
    let request = receiver.next().await;
    assert_eq!(request.line, "POST /in?x=1 HTTP/1.1");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.json()["data"]["title"], "Errors of the shop");
    let delivery = enqueued.deliveries[0].as_str();
    assert_eq!(request.headers["webhook-id"], delivery);
    assert_eq!(request.headers["webhook-timestamp"], "1700000000");
    let signed = [format!("{delivery}.1700000000.").as_bytes(), &request.body].concat();
    let expected = STANDARD.encode(hmac_sha256(&STANDARD.decode(KEY).unwrap(), &signed));
    assert_eq!(request.headers["webhook-signature"], format!("v1,{expected}"));
    let delivery = deliveries(&app).remove(0);
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Delivered, 0));
    assert_eq!((app.state.notify.step().await, receiver.arrived().is_none()), (0, true));
}

#[tokio::test]
async fn a_receiver_that_fails_is_asked_again_under_the_same_id() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::answering(|n| answer(if n < 2 { 503 } else { 204 }, "")).await;
    let id = add(&app, webhook("ch_1", &receiver.url("/"))).await;
    enqueue(&app, &[id], "shop").await;
    let mut ids = Vec::new();
    let mut times = Vec::new();
    for n in 0..3 {
        assert_eq!(app.state.notify.step().await, 1);
        let request = receiver.next().await;
        ids.push(request.headers["webhook-id"].clone());
        times.push(request.headers["webhook-timestamp"].parse::<i64>().unwrap());
        if n < 2 {
            assert_eq!(app.state.notify.step().await, 0, "not before its time");
            pass(&app);
        }
    }
    assert!(ids.iter().all(|id| *id == ids[0]) && times.is_sorted() && times[0] < times[2]);
    assert_eq!(deliveries(&app)[0].state, DeliveryState::Delivered);
}

#[tokio::test]
async fn what_never_arrives_is_a_dead_letter_and_says_why() {
    let app = TestApp::with(config());
    let receiver = Receiver::answering(|_| answer(302, "location: http://127.0.0.1:1/\r\n")).await;
    let id = add(&app, webhook("ch_1", &receiver.url("/"))).await;
    enqueue(&app, &[id], "shop").await;
    for _ in 0..8 {
        pass(&app);
        assert_eq!(app.state.notify.step().await, 1);
    }
    let dead = deliveries(&app).remove(0);
    assert_eq!((dead.state, dead.attempts), (DeliveryState::Dead, 8));
    let last = dead.last.unwrap();
    assert_eq!(last.status, Some(302));
    assert_eq!(last.error.as_deref(), Some("the answer is 302: redirects are not followed"));
}

#[tokio::test]
async fn a_channel_that_leads_inside_is_refused_and_not_tried_again() {
    let app = TestApp::new();
    let mut receiver = Receiver::start().await;
    let port = receiver.url("").rsplit_once(':').unwrap().1.to_owned();
    let hosts = ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"];
    for (n, host) in hosts.into_iter().enumerate() {
        let id = add(&app, webhook(&format!("ch_{n}"), &format!("http://{host}:{port}/"))).await;
        enqueue(&app, &[id], "shop").await;
    }
    let mut made = 0;
    while made < hosts.len() {
        made += app.state.notify.step().await;
    }
    for delivery in deliveries(&app) {
        assert_eq!(delivery.state, DeliveryState::Dead, "{delivery:?}");
        let error = delivery.last.unwrap().error.unwrap();
        assert_eq!(error, "the host leads to an address that is not allowed");
    }
    assert!(receiver.arrived().is_none());
}

#[tokio::test]
async fn a_receiver_that_asks_to_wait_is_left_alone_so_long() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::answering(|n| match n {
        0 => answer(429, "retry-after: 900\r\n"),
        _ => answer(200, ""),
    })
    .await;
    let target = Target::Slack { url: TargetUrl::parse(&receiver.url("/services/T/B/x")).unwrap() };
    let id = add(&app, Channel { target, ..webhook("ch_1", "http://x.example/") }).await;
    for group in ["a", "b"] {
        enqueue(&app, std::slice::from_ref(&id), group).await;
    }
    assert_eq!(app.state.notify.step().await, 1);
    assert_eq!(receiver.next().await.json()["text"], "[Alert: critical] Errors of the shop");
    app.clock.advance(Duration::from_secs(899));
    assert_eq!(app.state.notify.step().await, 0);
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(app.state.notify.step().await + app.state.notify.step().await, 2);
    assert!(deliveries(&app).iter().all(|delivery| delivery.state == DeliveryState::Delivered));
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_nobody_else() {
    let app = TestApp::with(config());
    let mut hanging = Receiver::hanging().await;
    let mut other = Receiver::start().await;
    let slow = add(&app, webhook("ch_slow", &hanging.url("/"))).await;
    let quick = add(&app, webhook("ch_quick", &other.url("/"))).await;
    let driver = tokio::spawn(drive(app.state.notify.clone()));
    for group in ["a", "b", "c"] {
        enqueue(&app, &[slow.clone(), quick.clone()], group).await;
    }
    hanging.next().await;
    for group in ["a", "b", "c"] {
        assert_eq!(other.next().await.json()["data"]["group_key"], group);
    }
    assert!(hanging.arrived().is_none(), "one attempt at a time");
    driver.abort();
}

#[tokio::test]
async fn an_alertmanager_is_told_again_while_it_fires_and_then_that_it_is_over() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let url = TargetUrl::parse(&receiver.url("/prefix")).unwrap();
    let target = Target::Alertmanager { url, secret: Some(crate::config::Secret::new("token")) };
    let id = add(&app, Channel { target, ..webhook("ch_1", "http://x.example/") }).await;
    enqueue(&app, std::slice::from_ref(&id), "shop").await;
    let mut ends = Vec::new();
    for _ in 0..3 {
        assert_eq!(app.state.notify.step().await, 1);
        let request = receiver.next().await;
        assert_eq!(request.line, "POST /prefix/api/v2/alerts HTTP/1.1");
        assert_eq!(request.headers["authorization"], "Bearer token");
        let told = request.json();
        assert_eq!(told[0]["startsAt"], "2023-11-14T22:13:20Z");
        ends.push(told[0]["endsAt"].as_str().unwrap().to_owned());
        assert_eq!(app.state.notify.step().await, 0);
        pass(&app);
    }
    assert_eq!(ends, ["2023-11-14T22:17:20Z", "2023-11-14T22:18:20Z", "2023-11-14T22:19:20Z"]);
    let mut over = message("shop", app.state.clock.now());
    (over.status, over.alerts[0].status) = (AlertStatus::Resolved, AlertStatus::Resolved);
    over.alerts[0].starts_at = TimestampUs(1_700_000_000_000_000);
    over.alerts[0].ends_at = Some(over.at);
    app.state.notify.enqueue(&[id], over).await.unwrap();
    assert_eq!(app.state.notify.step().await, 1);
    assert_eq!(receiver.next().await.json()[0]["endsAt"], "2023-11-14T22:16:20Z");
    assert_eq!(app.state.notify.0.outbox.lock().next(), None, "nothing is said again");
}

#[tokio::test]
async fn an_alertmanager_that_is_not_told_of_ends_is_not_told_again_either() {
    let app = TestApp::with(config());
    let receiver = Receiver::start().await;
    let target = Target::Alertmanager { url: TargetUrl::parse(&receiver.url("/")).unwrap(), secret: None };
    let channel = Channel { target, send_resolved: false, ..webhook("ch_1", "http://x.example/") };
    let organization = channel.organization.clone();
    let id = add(&app, channel).await;
    let next = || app.state.notify.0.outbox.lock().next();
    for group in ["a", "b"] {
        enqueue(&app, std::slice::from_ref(&id), group).await;
        assert_eq!(app.state.notify.step().await, 1);
    }
    assert!(next().is_some());
    let mut over = message("a", app.state.clock.now());
    over.status = AlertStatus::Resolved;
    let enqueued = app.state.notify.enqueue(std::slice::from_ref(&id), over).await.unwrap();
    assert_eq!(enqueued.skipped, [id]);
    assert!(next().is_some(), "of the other group nothing is known");
    app.state.notify.stop_saying(&organization, "b").await.unwrap();
    assert_eq!(next(), None);
    let restarted = Outbox::load(|kind, prefix| app.state.store.catalog_scan(kind, prefix));
    assert_eq!((restarted.list(None).len(), restarted.next()), (2, None));
}

#[tokio::test]
async fn who_is_not_told_is_skipped_and_foreign_channels_are_never_told() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let url = receiver.url("/");
    let off = add(&app, Channel { enabled: false, ..webhook("ch_off", &url) }).await;
    let quiet = add(&app, Channel { send_resolved: false, ..webhook("ch_quiet", &url) }).await;
    let theirs = Channel { organization: TenantId::new("beta").unwrap(), ..webhook("ch_theirs", &url) };
    let theirs = add(&app, theirs).await;
    let gone = ChannelId::parse("ch_gone").unwrap();
    let mut over = message("shop", app.state.clock.now());
    over.status = AlertStatus::Resolved;
    let all = [off, quiet.clone(), theirs, gone];
    let enqueued = app.state.notify.enqueue(&all, over).await.unwrap();
    assert_eq!(enqueued, Enqueued { deliveries: Vec::new(), skipped: all.to_vec() });
    let enqueued = enqueue(&app, &all, "shop").await;
    assert_eq!((enqueued.deliveries.len(), enqueued.skipped.len()), (1, 3));
    let many = vec![quiet; CHANNELS_OF_MESSAGE_MAX + 1];
    let refused = app.state.notify.enqueue(&many, message("shop", TimestampUs(0))).await;
    assert!(matches!(refused, Err(Error::TooManyChannels)));
    app.state.notify.step().await;
    receiver.next().await;
    assert!(receiver.arrived().is_none());
}

#[tokio::test]
async fn what_was_enqueued_is_delivered_after_a_restart_together_with_its_callers_state() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let id = add(&app, webhook("ch_1", &receiver.url("/"))).await;
    let mark = CatalogPut {
        kind: insights_engine::append::CatalogKind::Setting,
        key: b"alert/state/acme/rule-1".to_vec(),
        value: Some(b"told".to_vec()),
    };
    let told = message("shop", app.state.clock.now());
    let enqueued = app.state.notify.enqueue_with(&[id], told, vec![mark.clone()]).await.unwrap();
    // The server ends in the middle of the first attempt: it is under way in memory alone.
    assert_eq!(app.state.notify.due().len(), 1);
    let kept = app.state.store.catalog_get(mark.kind, &mark.key);
    assert_eq!(kept.as_deref(), Some(&b"told"[..]));
    let notify = Notify::new(
        app.state.store.clone(),
        &app.state.config.notify,
        Arc::clone(&app.state.clock),
        Arc::clone(&app.state.entropy),
    );
    assert_eq!(notify.step().await, 1);
    assert_eq!(receiver.next().await.headers["webhook-id"], enqueued.deliveries[0].as_str());
    let again = Notify::new(
        app.state.store.clone(),
        &app.state.config.notify,
        Arc::clone(&app.state.clock),
        Arc::clone(&app.state.entropy),
    );
    assert_eq!(again.step().await, 0, "what arrived is not sent a second time");
}

/// A channel and an outbox over a data directory, without a server around them.
fn open(dir: &std::path::Path) -> (Arc<insights_engine::Engine>, Notify) {
    let disk = Arc::new(insights_engine::disk::OsDisk::open(dir).unwrap());
    let clock = insights_engine::clock::ManualClock::new(crate::testing::NOW);
    let config = config();
    let engine = insights_engine::Engine::open(config.engine.clone(), disk, clock.clone(), [7; 32]).unwrap();
    let store = Store::new(Arc::clone(&engine), config.limits.queries);
    let entropy = Arc::new(Entropy::from_seed([9; 32]));
    (engine, Notify::new(store, &config.notify, clock, entropy))
}

#[tokio::test]
async fn a_killed_server_delivers_after_its_next_start_what_it_had_taken() {
    let mut receiver = Receiver::start().await;
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, notify) = open(dir.path());
    let channel = webhook("ch_1", &receiver.url("/"));
    notify.0.store.put(vec![channel.put()]).await.unwrap();
    let id = channel.id.clone();
    notify.0.channels.insert(channel);
    let enqueued = notify.enqueue(&[id], message("shop", crate::testing::NOW)).await.unwrap();
    // What a kill leaves behind: the files as they are at this moment, nothing flushed and nothing closed.
    let from = dir.path().join(".");
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(killed.path()).status().unwrap();
    assert!(copied.success());
    engine.close().unwrap();
    let (engine, notify) = open(killed.path());
    assert_eq!(notify.step().await, 1);
    assert_eq!(receiver.next().await.headers["webhook-id"], enqueued.deliveries[0].as_str());
    engine.close().unwrap();
}

#[tokio::test]
async fn an_answer_without_end_costs_little_and_says_enough() {
    let app = TestApp::with(config());
    let receiver = Receiver::answering(|n| match n {
        // A body far over the limit; the status has decided.
        0 => format!("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n{}", "x".repeat(300_000)),
        // A head without end.
        1 => format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(20_000)),
        // No HTTP.
        _ => "220 mail.example ESMTP\r\n".to_owned(),
    })
    .await;
    let id = add(&app, webhook("ch_1", &receiver.url("/"))).await;
    let mut errors = Vec::new();
    for group in ["a", "b", "c"] {
        enqueue(&app, std::slice::from_ref(&id), group).await;
        app.state.notify.step().await;
        errors.push(deliveries(&app)[0].last.clone().unwrap().error);
    }
    assert_eq!(errors[0], None);
    assert!(errors[1].is_some() && errors[2].is_some(), "{errors:?}");
    let shown = json!(errors).to_string();
    assert!(!shown.contains("mail.example"), "nothing of a foreign answer is repeated: {shown}");
}

/// Mails of which the relay takes only some, up to what people see of it.
#[cfg(feature = "mail")]
#[tokio::test]
async fn a_mail_reaches_whom_the_relay_takes_and_the_others_are_named_and_tried_again() {
    use axum::http::{Method, StatusCode};

    use super::testing::relay;
    use crate::config::notify::{SmtpConfig, SmtpUrl};

    let refuses = |_: &str, said: &str| match said {
        "RCPT TO:<bob@example.com>" => Some("452 4.2.2 full"),
        "RCPT TO:<eve@example.com>" => Some("550 5.1.1 who?"),
        _ => None,
    };
    let (port, talk) = relay(refuses).await;
    let mut config = config();
    let url = SmtpUrl::parse(&format!("smtp://127.0.0.1:{port}")).unwrap();
    config.notify.smtp =
        Some(SmtpConfig { url, from: "insights@corp.example".to_owned(), unsubscribe: None });
    let app = TestApp::with(config);
    let to = ["ann@example.com", "bob@example.com", "eve@example.com"].map(str::to_owned).to_vec();
    let mail = Channel { target: Target::Email { to }, ..webhook("ch_1", "https://x.example/") };
    let id = add(&app, mail).await;
    let key = app.key("acme", &["admin"]).await;
    enqueue(&app, std::slice::from_ref(&id), "shop").await;
    assert_eq!(app.state.notify.step().await, 1);
    assert!(talk.await.unwrap().1.contains("To: ann@example.com, bob@example.com, eve@example.com"));
    let show = async || {
        let path = "/api/insights/alerts/deliveries/?state=delivered";
        let answer = app.call(Method::GET, path, &key, &serde_json::Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.json()["results"][0].clone()
    };
    let shown = show().await;
    let recipients = json!([
        {"address": "ann@example.com", "state": "taken", "status": null, "error": null},
        {"address": "bob@example.com", "state": "deferred", "status": 452,
            "error": "the relay refused it for now (4.2.2: the mailbox is full)"},
        {"address": "eve@example.com", "state": "refused", "status": 550,
            "error": "the relay refused it (5.1.1: there is no such mailbox)"},
    ]);
    assert_eq!(shown["recipients"], recipients);
    assert_eq!(shown["last_attempt"]["error"], "the relay refused 2 of 3 recipients");
    assert!(shown["next_attempt_at"].is_string(), "{shown}");
    // The next attempt is for one of them alone, and its relay is away.
    pass(&app);
    assert_eq!(app.state.notify.step().await, 1);
    let shown = show().await;
    assert_eq!((&shown["attempts"], &shown["recipients"]), (&json!(2), &recipients));
    // The next message of the group goes to everybody, and ends that.
    enqueue(&app, &[id], "shop").await;
    let delivery = deliveries(&app).pop().unwrap();
    assert_eq!((delivery.state, delivery.due), (DeliveryState::Delivered, None));
    assert_eq!(app.state.notify.standing().counts.recipients_refused, 1);
}
