//! E-mails, and what a relay on a real socket receives.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::config::notify::{SmtpProtection, SmtpUrl};
use crate::notify::channel::Target;
use crate::notify::channel::tests::webhook;
use crate::notify::message::Lang;
use crate::notify::message::tests::message;

/// A relay that talks with one client: every command it was given, and the mail as one text.
async fn relay(
    replies: impl Fn(&str) -> Option<&'static str> + Send + 'static,
) -> (u16, JoinHandle<(Vec<String>, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let talk = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 relay.example ESMTP\r\n").await.unwrap();
        let (mut commands, mut mail, mut in_mail) = (Vec::new(), String::new(), false);
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
            let said = std::mem::take(&mut line);
            if in_mail && said != ".\r\n" {
                mail.push_str(&said);
                continue;
            }
            let verb = said.split_whitespace().next().unwrap_or_default().to_owned();
            let default = match verb.as_str() {
                "EHLO" => "250-relay.example\r\n250 AUTH PLAIN",
                "AUTH" => "235 welcome",
                "DATA" => "354 go on",
                "QUIT" => "221 bye",
                _ => "250 fine",
            };
            in_mail = verb == "DATA";
            commands.push(said.trim_end().to_owned());
            let reply = replies(&verb).unwrap_or(default);
            stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
            if verb == "QUIT" {
                break;
            }
        }
        (commands, mail)
    });
    (port, talk)
}

fn mailer(url: &str) -> Mailer {
    let url = SmtpUrl::parse(url).unwrap();
    Mailer::new(&SmtpConfig { url, from: "Insights <insights@corp.example>".to_owned() }).unwrap()
}

fn channel() -> Channel {
    let to = vec!["ann@example.com".to_owned(), "Bob <bob@example.com>".to_owned()];
    Channel { target: Target::Email { to }, lang: Lang::Fr, ..webhook("ch_1", "https://x.example/") }
}

async fn send(mailer: &Mailer, channel: &Channel, message: &Message) -> Outcome {
    let Target::Email { to } = &channel.target else { panic!("{channel:?}") };
    let id = DeliveryId::parse("msg_1").unwrap();
    mailer.send(channel, to, &id, message, TimestampUs(1_700_000_000_000_000)).await
}

/// The header of a mail, folded lines put together.
fn header(mail: &str, name: &str) -> Option<String> {
    let head = mail.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    let of = head.split("\r\n").find_map(|line| line.strip_prefix(&format!("{name}: ")))?;
    Some(of.to_owned())
}

#[tokio::test]
async fn a_mail_reaches_everybody_as_text_and_html_in_their_language() {
    let (port, talk) = relay(|_| None).await;
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
        let id = DeliveryId::parse(id).unwrap();
        let to = ["ann@example.com".to_owned()];
        let mail = mailer.write(&channel(), &to, &id, &message, TimestampUs(0)).unwrap();
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
    let to = ["ann@example.com".to_owned()];
    let id = DeliveryId::parse("msg_1").unwrap();
    let mail = mailer.write(&channel(), &to, &id, &hostile, TimestampUs(0)).unwrap();
    let text = String::from_utf8(mail.formatted()).unwrap();
    assert_eq!(header(&text, "Bcc"), None, "{text}");
    assert_eq!(mail.envelope().to().len(), 1);
    let page = html(&channel(), &hostile);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("a\"b"), "{page}");
    let nobody = ["ann@example.com>\r\nRCPT TO:<evil@example.com".to_owned()];
    assert!(mailer.write(&channel(), &nobody, &id, &hostile, TimestampUs(0)).is_err());
}

#[tokio::test]
async fn only_a_recipient_that_is_refused_for_good_is_not_tried_again() {
    for (refused, reply, status, is_final) in [
        ("RCPT", "550 no such user", 550, true),
        ("RCPT", "451 try again later", 451, false),
        ("RCPT", "421 busy", 421, false),
        ("EHLO", "554 not now", 554, false),
        ("AUTH", "535 the password has changed", 535, false),
        ("MAIL", "550 you are not known here", 550, false),
        ("DATA", "554 no", 554, false),
    ] {
        let (port, _talk) = relay(move |verb| (verb == refused).then_some(reply)).await;
        let url = format!("smtp://ann:hush@127.0.0.1:{port}");
        let outcome = send(&mailer(&url), &channel(), &message("a", TimestampUs(0))).await;
        let Outcome::Failed { status: told, error, is_final: last, .. } = outcome else { panic!("{reply}") };
        assert_eq!((told, last), (Some(status), is_final), "{refused}: {reply}");
        assert!(error.starts_with("the relay refused"), "{error}");
    }
}

#[tokio::test]
async fn nothing_is_sent_unprotected_to_a_relay_elsewhere() {
    let (port, talk) = relay(|_| None).await;
    // As if it were elsewhere: STARTTLS is needed, and this relay does not offer it.
    let mut url = SmtpUrl::parse(&format!("smtp://ann:hush@127.0.0.1:{port}")).unwrap();
    url.protection = SmtpProtection::StartTls;
    let config = SmtpConfig { url, from: "insights@corp.example".to_owned() };
    let outcome = send(&Mailer::new(&config).unwrap(), &channel(), &message("a", TimestampUs(0))).await;
    assert!(matches!(outcome, Outcome::Failed { is_final: false, .. }), "{outcome:?}");
    let (commands, mail) = talk.await.unwrap();
    assert!(commands.iter().all(|command| !command.starts_with("AUTH") && !command.starts_with("MAIL")));
    assert_eq!(mail, "");
}
