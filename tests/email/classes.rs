use std::time::Duration;

use longshore::job::ErrorClass::{self, Permanent, Retryable, Unavailable};
use longshore::job::Failure;
use serde_json::json;

use crate::email::Limits;
use crate::scripted::Point::{Auth, Content, Data, Ehlo, Greeting, Mail, Rcpt, StartTls};
use crate::scripted::{Act, Point, Server};
use crate::{ends_as, failure, hello, mailer, payload};

async fn end_of(point: Point, act: Act) -> Failure {
    let server = Server::acting(point, act).await;
    failure(&mailer(&server.url(), limits(point, act)), &hello()).await
}

/// Only the answer that does not come is waited for briefly: elsewhere a slow machine must not
/// look like a silent server.
fn limits(point: Point, act: Act) -> Limits {
    let patient = Duration::from_secs(40);
    let (reply, content) = match (act, point) {
        (Act::Hang, Content) => (patient, Duration::from_millis(500)),
        (Act::Hang, Data) => (Duration::from_secs(5), patient),
        (Act::Hang, _) => (Duration::from_millis(500), patient),
        _ => (patient, patient),
    };
    Limits {
        reply,
        content,
        ..Limits::default()
    }
}

type Row = (Point, Act, ErrorClass, &'static str);

const GARBAGE: Act = Act::Say(b"HTTP/1.1 400 Bad Request\r\n");

fn about_the_client() -> Vec<Row> {
    let mut rows = vec![(
        Auth,
        Act::Say(b"535 5.7.8 wrong\r\n"),
        Unavailable,
        "smtp_auth",
    )];
    for (point, code) in [
        (Greeting, "smtp_greeting"),
        (Ehlo, "smtp_ehlo"),
        (Auth, "smtp_auth"),
    ] {
        rows.push((point, Act::Say(b"451 4.3.0 not now\r\n"), Unavailable, code));
        rows.push((point, Act::Say(b"550 5.7.1 never\r\n"), Unavailable, code));
    }
    rows
}

fn about_the_mail() -> Vec<Row> {
    let answers = [
        (Act::Say(b"451 4.3.0 not now\r\n"), Retryable, "smtp_451"),
        (
            Act::Say(b"452-4.2.2 full\r\n452 4.2.2 full\r\n"),
            Retryable,
            "smtp_452",
        ),
        (Act::Say(b"550 5.1.1 never\r\n"), Permanent, "smtp_550"),
        (
            Act::SayAndClose(b"550 5.1.1 never\r\n"),
            Permanent,
            "smtp_550",
        ),
        // Latin-1, which is still a 554.
        (
            Act::Say(b"554 Empf\xe4nger gesperrt\r\n"),
            Permanent,
            "smtp_554",
        ),
        (
            Act::Say(b"530 5.7.0 log in first\r\n"),
            Unavailable,
            "smtp_530",
        ),
    ];
    let points = [Mail, Rcpt, Data, Content].into_iter();
    points
        .flat_map(|point| answers.map(|(act, class, code)| (point, act, class, code)))
        .collect()
}

fn about_the_connection() -> Vec<Row> {
    let mut rows = Vec::new();
    for point in [Greeting, Ehlo, Auth, Mail, Rcpt, Data, Content] {
        let cut_off = match point {
            Data | Content => Retryable,
            _ => Unavailable,
        };
        rows.extend([
            (
                point,
                Act::Say(b"421 4.3.2 closing\r\n"),
                Unavailable,
                "smtp_421",
            ),
            (
                point,
                Act::SayAndClose(b"421 4.3.2 closing\r\n"),
                Unavailable,
                "smtp_421",
            ),
            (point, Act::Cut, cut_off, "smtp_cut"),
            (
                point,
                Act::SayAndClose(b"250-half a rep"),
                cut_off,
                "smtp_cut",
            ),
            (point, Act::Hang, cut_off, "smtp_timeout"),
            (point, GARBAGE, cut_off, "smtp_protocol"),
            (
                point,
                Act::Say(b"334 VXNlcm5hbWU6\r\n"),
                cut_off,
                "smtp_protocol",
            ),
        ]);
    }
    rows
}

#[tokio::test]
async fn every_stage_and_every_way_to_fail() {
    let table = [about_the_client(), about_the_mail(), about_the_connection()].concat();
    let ends = table.iter().map(|(point, act, ..)| end_of(*point, *act));
    let failures = futures::future::join_all(ends).await;
    for (failure, (point, act, class, code)) in failures.iter().zip(&table) {
        assert_eq!(
            ends_as(failure),
            (*class, *code),
            "{point:?} {act:?}: {}",
            failure.error()
        );
    }
}

#[tokio::test]
async fn starttls_that_fails_is_an_outage() {
    for (act, code) in [
        (Act::Say(b"454 4.7.0 not now\r\n"), "smtp_tls"),
        (Act::Say(b"502 5.5.1 no\r\n"), "smtp_tls"),
        (Act::SayAndClose(b"220 go\r\n"), "smtp_tls"),
        (Act::Cut, "smtp_tls"),
        (Act::Say(b"421 4.3.2 closing\r\n"), "smtp_421"),
        (GARBAGE, "smtp_protocol"),
        // What was sent in the clear must not be read as if it came from inside TLS.
        (Act::Say(b"220 go\r\n250 injected\r\n"), "smtp_protocol"),
        (Act::Hang, "smtp_timeout"),
    ] {
        let server = Server::start(move |heard| match heard.point {
            Ehlo => Act::Say(b"250-scripted\r\n250 STARTTLS\r\n"),
            StartTls => act,
            _ => Act::Usual,
        })
        .await;
        let url = format!("smtp://127.0.0.1:{}?tls=opportunistic", server.port);
        let failure = failure(&mailer(&url, limits(StartTls, act)), &hello()).await;
        assert_eq!(
            ends_as(&failure),
            (Unavailable, code),
            "{act:?}: {}",
            failure.error()
        );
        assert_eq!(server.count(Mail), 0);
    }
}

#[tokio::test]
async fn a_message_says_what_the_server_said() {
    let act = Act::Say(b"550-5.1.1 <ada@example.com>:\r\n550 5.1.1 unknown user\r\n");
    let failure = end_of(Rcpt, act).await;
    let message = &failure.error().message;
    assert!(message.contains("RCPT TO <ada@example.com>"), "{message}");
    assert!(
        message.contains("550 5.1.1 <ada@example.com>: unknown user"),
        "{message}"
    );
    assert!(message.contains("127.0.0.1:"), "{message}");
}

#[tokio::test]
async fn greylisting_waits_a_minute() {
    for (text, waits) in [
        (&b"451 4.7.1 Try again later\r\n"[..], true),
        (b"450 4.2.0 Greylisted for 300 seconds\r\n", true),
        (b"451 4.3.0 Local error\r\n", false),
    ] {
        for point in [Mail, Rcpt, Data, Content] {
            let failure = end_of(point, Act::Say(text)).await;
            let error = failure.error();
            let retry = Failure::retry(&error.code, &error.message);
            let expected = if waits {
                retry.after(Duration::from_secs(60))
            } else {
                retry
            };
            assert_eq!(failure, expected, "{point:?}");
        }
    }
}

#[tokio::test]
async fn no_server_at_all_is_an_outage() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for host in [&format!("127.0.0.1:{port}"), "no-such-host.invalid"] {
        let mailer = mailer(&format!("smtp://{host}"), Limits::default());
        let failure = failure(&mailer, &hello()).await;
        assert_eq!(
            ends_as(&failure),
            (Unavailable, "smtp_connect"),
            "{}",
            failure.error()
        );
    }
}

#[tokio::test]
async fn tls_that_cannot_be_had_is_an_outage() {
    let server = Server::acting(Point::Other, Act::Usual).await;
    let required = mailer(
        &format!("smtp://127.0.0.1:{}?tls=required", server.port),
        Limits::default(),
    );
    let not_offered = failure(&required, &hello()).await;
    assert_eq!(ends_as(&not_offered), (Unavailable, "smtp_tls"));
    assert_eq!(server.count(Mail), 0);
    let implicit = mailer(
        &format!("smtps://127.0.0.1:{}", server.port),
        Limits::default(),
    );
    let no_handshake = failure(&implicit, &hello()).await;
    assert_eq!(ends_as(&no_handshake), (Unavailable, "smtp_tls"));
}

#[tokio::test]
async fn a_server_without_auth_cannot_be_logged_in_to() {
    let server = Server::acting(Ehlo, Act::Say(b"250-scripted\r\n250 AUTH CRAM-MD5\r\n")).await;
    let failure = failure(&mailer(&server.url(), Limits::default()), &hello()).await;
    assert_eq!(ends_as(&failure), (Unavailable, "smtp_auth"));
}

#[tokio::test]
async fn no_error_shows_the_password_even_if_the_server_does() {
    // base64 of NUL user NUL hunter2, and of hunter2.
    let echoes: [&[u8]; 3] = [
        b"535 5.7.8 bad: AUTH PLAIN AHVzZXIAaHVudGVyMg==\r\n",
        b"535 5.7.8 bad: hunter2 aHVudGVyMg==\r\n",
        b"334 AHVzZXIAaHVudGVyMg==\r\n",
    ];
    for echo in echoes {
        let failure = end_of(Auth, Act::Say(echo)).await;
        let shown = format!("{failure:?}");
        for secret in ["hunter2", "AHVzZXIAaHVudGVyMg", "aHVudGVyMg"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[tokio::test]
async fn an_address_outside_ascii_needs_a_server_that_takes_it() {
    let mail = payload(json!({"to": ["zoë@example.com"], "subject": "x", "text": "y"}));
    let server = Server::acting(Point::Other, Act::Usual).await;
    let refused = failure(&mailer(&server.url(), Limits::default()), &mail).await;
    assert_eq!(ends_as(&refused), (Permanent, "smtp_utf8"));
    assert_eq!(server.count(Mail), 0);

    let modern = Server::start(|heard| match heard.point {
        Ehlo => Act::Say(b"250-x\r\n250-8bitmime\r\n250-AUTH PLAIN\r\n250 smtputf8\r\n"),
        _ => Act::Usual,
    })
    .await;
    crate::send(&mailer(&modern.url(), Limits::default()), &mail)
        .await
        .unwrap();
    let lines = modern.lines();
    assert!(
        lines.contains(&"RCPT TO:<zoë@example.com>".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("MAIL FROM:<shop@example.com>") && l.ends_with(" SMTPUTF8")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn one_refused_recipient_is_the_whole_mail_refused() {
    let mail = payload(json!({
        "to": ["ada@example.com"], "cc": ["bob@example.com"], "bcc": ["eve@example.com"],
        "subject": "x", "text": "y",
    }));
    let server = Server::start(|heard| match heard.line.as_str() {
        "RCPT TO:<bob@example.com>" => Act::Say(b"553 5.1.3 no such mailbox\r\n"),
        _ => Act::Usual,
    })
    .await;
    let failure = failure(&mailer(&server.url(), Limits::default()), &mail).await;
    assert_eq!(ends_as(&failure), (Permanent, "smtp_553"));
    assert!(
        failure.error().message.contains("<bob@example.com>"),
        "{}",
        failure.error()
    );
    assert_eq!(server.count(Data), 0);
    assert!(server.lines().contains(&"RSET".to_owned()));
}
