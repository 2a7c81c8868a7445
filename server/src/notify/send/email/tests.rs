//! E-mails, and what a relay on a real socket receives.

use super::*;
use crate::config::notify::{SmtpProtection, SmtpUrl};
use crate::notify::channel::Target;
use crate::notify::channel::tests::webhook;
use crate::notify::message::Lang;
use crate::notify::message::tests::message;
use crate::notify::testing::relay;

fn mailer(url: &str) -> Mailer {
    let url = SmtpUrl::parse(url).unwrap();
    let unsubscribe = Some("mailto:ops@corp.example".to_owned());
    let from = "Insights <insights@corp.example>".to_owned();
    Mailer::new(&SmtpConfig { url, from, unsubscribe }, &Authorities::default()).unwrap()
}

fn channel() -> Channel {
    let to = vec!["ann@example.com".to_owned(), "Bob <bob@example.com>".to_owned()];
    Channel { target: Target::Email { to }, lang: Lang::Fr, ..webhook("ch_1", "https://x.example/") }
}

async fn send(mailer: &Mailer, channel: &Channel, message: &Message) -> Outcome {
    send_again(mailer, channel, &[], message).await
}

async fn send_again(mailer: &Mailer, channel: &Channel, before: &[Recipient], message: &Message) -> Outcome {
    let Target::Email { to } = &channel.target else { panic!("{channel:?}") };
    let id = DeliveryId::parse("msg_1").unwrap();
    mailer.send(channel, to, before, &id, message, TimestampUs(1_700_000_000_000_000)).await
}

/// A mail to one person.
fn written(mailer: &Mailer, id: &str, message: &Message) -> Mail {
    let to: Vec<Mailbox> = vec!["ann@example.com".parse().unwrap()];
    let envelope = mailer.envelope(&to, &[]).unwrap();
    mailer
        .write(&channel(), (to, envelope), &DeliveryId::parse(id).unwrap(), message, TimestampUs(0))
        .unwrap()
}

/// The header of a mail, folded lines put together.
fn header(mail: &str, name: &str) -> Option<String> {
    let head = mail.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    let of = head.split("\r\n").find_map(|line| line.strip_prefix(&format!("{name}: ")))?;
    Some(of.to_owned())
}

#[tokio::test]
async fn a_mail_reaches_everybody_as_text_and_html_in_their_language() {
    let (port, talk) = relay(|_, _| None).await;
    let mailer = mailer(&format!("smtp://ann:hush@127.0.0.1:{port}"));
    let outcome = send(&mailer, &channel(), &message("shop", TimestampUs(0))).await;
    assert_eq!(outcome, Outcome::Delivered { status: Some(250), again: false });
    let (commands, mail) = talk.await.unwrap();
    let expected = [
        "EHLO corp.example",
        "AUTH PLAIN AGFubgBodXNo",
        "MAIL FROM:<insights@corp.example>",
        "RCPT TO:<ann@example.com>",
        "RCPT TO:<bob@example.com>",
        "DATA",
    ];
    assert_eq!(commands[..6], expected);
    assert_eq!(header(&mail, "Subject").unwrap(), "[Alerte: critique] Errors of the shop");
    assert_eq!(header(&mail, "Message-ID").unwrap(), "<msg_1@corp.example>");
    assert_eq!(header(&mail, "Auto-Submitted").unwrap(), "auto-generated");
    assert_eq!(header(&mail, "List-Unsubscribe").unwrap(), "<mailto:ops@corp.example>");
    assert_eq!(header(&mail, "Date").unwrap(), "Tue, 14 Nov 2023 22:13:20 +0000");
    assert!(header(&mail, "Content-Type").unwrap().starts_with("multipart/alternative"));
    for part in ["text/plain; charset=utf-8", "text/html; charset=utf-8", "Seuil", "<html lang=3D\"fr\">"] {
        assert!(mail.contains(part), "{part} in {mail}");
    }
}

#[tokio::test]
async fn mails_of_a_group_are_one_thread_and_of_others_another() {
    let mailer = mailer("smtp://127.0.0.1");
    let head = |group: &str, organization: &str, id: &str| {
        let mut message = message(group, TimestampUs(0));
        message.organization = insights_engine::id::TenantId::new(organization).unwrap();
        let mail = written(&mailer, id, &message);
        let text = String::from_utf8(mail.formatted()).unwrap();
        let thread = header(&text, "In-Reply-To").unwrap();
        assert_eq!(header(&text, "References").unwrap(), thread);
        (thread, header(&text, "Message-ID").unwrap())
    };
    let (first, second) = (head("a", "acme", "msg_1"), head("a", "acme", "msg_2"));
    assert_eq!(first.0, second.0);
    assert_ne!(first.1, second.1);
    assert_ne!(first.0, head("b", "acme", "msg_1").0);
    assert_ne!(first.0, head("a", "beta", "msg_1").0);
}

#[tokio::test]
async fn hostile_texts_stay_texts() {
    let mailer = mailer("smtp://127.0.0.1");
    let mut hostile = message("a", TimestampUs(0));
    hostile.title = "x\r\nBcc: evil@example.com\r\n\r\nbody".to_owned();
    hostile.alerts[0].name = "<script>alert(\"1\")</script>".to_owned();
    hostile.alerts[0].labels = [("a\"b".to_owned(), "<img src=x onerror='y'>\r\n.\r\n".to_owned())].into();
    let mail = written(&mailer, "msg_1", &hostile);
    let text = String::from_utf8(mail.formatted()).unwrap();
    assert_eq!(header(&text, "Bcc"), None, "{text}");
    assert_eq!(mail.envelope().to().len(), 1);
    let page = html(&channel(), &hostile);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("a\"b"), "{page}");
    let to = vec!["ann@example.com>\r\nRCPT TO:<evil@example.com".to_owned()];
    let nobody = Channel { target: Target::Email { to }, ..channel() };
    let outcome = send(&mailer, &nobody, &hostile).await;
    assert!(matches!(outcome, Outcome::Failed { is_final: true, .. }), "{outcome:?}");
}

#[tokio::test]
async fn what_is_refused_to_this_server_is_tried_again() {
    for (refused, reply, status) in [
        ("RCPT", "421 busy", 421),
        ("EHLO", "554 not now", 554),
        ("AUTH", "535 the password has changed", 535),
        ("MAIL", "550 you are not known here", 550),
        ("DATA", "554 no", 554),
    ] {
        let (port, _talk) = relay(move |verb, _| (verb == refused).then_some(reply)).await;
        let url = format!("smtp://ann:hush@127.0.0.1:{port}");
        let outcome = send(&mailer(&url), &channel(), &message("a", TimestampUs(0))).await;
        let Outcome::Failed { status: told, error, is_final, .. } = outcome else { panic!("{reply}") };
        assert_eq!((told, is_final), (Some(status), false), "{refused}: {reply}");
        assert!(error.starts_with("the relay refused"), "{error}");
    }
}

/// The address, state, status and reason of each recipient.
fn told(outcome: &Outcome) -> Vec<(&str, RecipientState, Option<u16>, &str)> {
    let Outcome::Mailed { recipients, .. } = outcome else { panic!("{outcome:?}") };
    let mut told = Vec::new();
    for Recipient { address, state, status, error } in recipients {
        told.push((address.as_str(), *state, *status, error.as_deref().unwrap_or_default()));
    }
    told
}

#[tokio::test]
async fn whom_the_relay_refuses_is_left_out_and_the_others_get_the_mail() {
    for (reply, state, status, reason) in [
        (
            "550 5.1.1 <bob@example.com> at mx7.corp.internal: unknown",
            RecipientState::Refused,
            550,
            "the relay refused it (5.1.1: there is no such mailbox)",
        ),
        (
            "452-4.2.2 over quota\r\n452 4.2.2 really",
            RecipientState::Deferred,
            452,
            "the relay refused it for now (4.2.2: the mailbox is full)",
        ),
        ("451 4.3.5 later", RecipientState::Deferred, 451, "the relay refused it for now (4.3.5)"),
        ("553 no", RecipientState::Refused, 553, "the relay refused it"),
    ] {
        let (port, talk) = relay(move |_, said| said.contains("<bob@").then_some(reply)).await;
        let mailer = mailer(&format!("smtp://127.0.0.1:{port}"));
        let outcome = send(&mailer, &channel(), &message("a", TimestampUs(0))).await;
        let expected = [
            ("ann@example.com", RecipientState::Taken, None, ""),
            ("bob@example.com", state, Some(status), reason),
        ];
        assert_eq!(told(&outcome), expected);
        assert!(matches!(outcome, Outcome::Mailed { status: Some(250), .. }));
        let (_, mail) = talk.await.unwrap();
        assert_eq!(header(&mail, "To").unwrap(), "ann@example.com, Bob <bob@example.com>");
    }
}

#[tokio::test]
async fn whom_it_took_or_refused_for_good_is_not_asked_for_again() {
    let (port, talk) = relay(|_, _| None).await;
    let mailer = mailer(&format!("smtp://127.0.0.1:{port}"));
    let known = |address: &str, state| Recipient { state, ..Recipient::taken(address.to_owned()) };
    let before = [
        known("ann@example.com", RecipientState::Taken),
        known("bob@example.com", RecipientState::Deferred),
        known("who-left@example.com", RecipientState::Deferred),
    ];
    let outcome = send_again(&mailer, &channel(), &before, &message("a", TimestampUs(0))).await;
    let expected = [
        ("bob@example.com", RecipientState::Taken, None, ""),
        ("who-left@example.com", RecipientState::Refused, None, "no recipient of the channel any more"),
    ];
    assert_eq!(told(&outcome), expected);
    let (commands, mail) = talk.await.unwrap();
    let asked: Vec<&String> = commands.iter().filter(|command| command.starts_with("RCPT")).collect();
    assert_eq!(asked, ["RCPT TO:<bob@example.com>"]);
    assert_eq!(header(&mail, "To").unwrap(), "ann@example.com, Bob <bob@example.com>", "it is the same mail");
    // When nobody is left the relay is not even talked to.
    let before =
        ["ann@example.com", "bob@example.com"].map(|address| known(address, RecipientState::Refused));
    let outcome = send_again(&mailer, &channel(), &before, &message("a", TimestampUs(0))).await;
    assert_eq!(outcome, Outcome::Mailed { status: None, recipients: Vec::new() });
}

#[tokio::test]
async fn a_mail_that_everybody_is_refused_is_not_sent() {
    let (port, talk) = relay(|verb, _| (verb == "RCPT").then_some("550 no")).await;
    let mailer = mailer(&format!("smtp://127.0.0.1:{port}"));
    let outcome = send(&mailer, &channel(), &message("a", TimestampUs(0))).await;
    assert!(matches!(outcome, Outcome::Mailed { status: None, .. }), "{outcome:?}");
    let (commands, _) = talk.await.unwrap();
    assert!(commands.iter().all(|command| command != "DATA"), "{commands:?}");
}

#[tokio::test]
async fn nothing_is_sent_unprotected_to_a_relay_elsewhere() {
    let (port, talk) = relay(|_, _| None).await;
    // As if it were elsewhere: STARTTLS is needed, and this relay does not offer it.
    let mut url = SmtpUrl::parse(&format!("smtp://ann:hush@127.0.0.1:{port}")).unwrap();
    url.protection = SmtpProtection::StartTls;
    let config = SmtpConfig { url, from: "insights@corp.example".to_owned(), unsubscribe: None };
    let outcome = send(
        &Mailer::new(&config, &Authorities::default()).unwrap(),
        &channel(),
        &message("a", TimestampUs(0)),
    )
    .await;
    assert!(matches!(outcome, Outcome::Failed { is_final: false, .. }), "{outcome:?}");
    let (commands, mail) = talk.await.unwrap();
    assert!(commands.iter().all(|command| !command.starts_with("AUTH") && !command.starts_with("MAIL")));
    assert_eq!(mail, "");
}
