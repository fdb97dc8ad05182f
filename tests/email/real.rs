use std::sync::Arc;

use longshore::job::ErrorClass::Unavailable;
use longshore::job::JobId;
use rustls::RootCertStore;
use serde_json::json;

use crate::aiosmtpd::{RealServer, header};
use crate::email::Limits;
use crate::{accepted_at, ends_as, failure, hello, mailer, payload, send, trusting_mailer};

struct Certificate {
    folder: tempfile::TempDir,
    roots: RootCertStore,
}

impl Certificate {
    fn self_signed() -> Self {
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cert.pem"), signed.cert.pem()).unwrap();
        std::fs::write(
            folder.path().join("key.pem"),
            signed.signing_key.serialize_pem(),
        )
        .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(signed.cert.der().clone()).unwrap();
        Self { folder, roots }
    }

    async fn server(&self, tls: &str, more: &[&str]) -> RealServer {
        let path = |name| self.folder.path().join(name).display().to_string();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        let mut arguments = vec!["--tls", tls, "--certificate", &certificate, "--key", &key];
        arguments.extend(more);
        RealServer::start(&arguments).await
    }
}

#[tokio::test]
async fn everything_in_a_mail_arrives_intact() {
    let mut server = RealServer::start(&[]).await;
    let mailer = mailer(&server.url("", "none"), Limits::default());
    let text = format!(
        "Grüße ✉\n.\n..two\r\nFrom here\n{}\n\n",
        "lang ".repeat(500)
    );
    let html = "<p>Grüße <b>✉</b> & \"x\" = y</p>";
    let subject = "Ваш заказ № 123 готов — größer, länger, schöner und noch viel mehr davon ✉ end";
    let mail = payload(json!({
        "to": ["Zoë Müller <zoe@müller.example>", "\"Lovelace, Ada\" <ada@example.com>"],
        "cc": ["李小龍 <li@example.com>"], "bcc": ["hidden@example.com"],
        "from": "\"Café \\\"Nord\\\"\" <cafe@example.com>", "reply_to": "help@example.com",
        "subject": subject, "text": text, "html": html,
        "headers": {
            "List-Unsubscribe": "<https://example.com/u?id=1&x=%20y>, <mailto:u@example.com>",
            "X-Note": "größer als – alles",
        },
        "attachments": [
            {"filename": "Rechnung № 7 – größer.pdf", "content_type": "application/pdf", "content": "AAEC/w0KLg0KAA=="},
            {"filename": "a \"b\".txt", "content_type": "text/plain; charset=utf-8", "content": "bGluZQpsaW5lDQouCg=="},
            {"filename": "empty", "content": ""},
        ],
    }));
    let id = JobId::new();
    mailer
        .send(&mail, id, accepted_at(), crate::in_an_hour())
        .await
        .unwrap();

    let mail = server.next("mail").await;
    assert_eq!(mail["sender"], "cafe@example.com");
    assert_eq!(
        mail["recipients"],
        json!([
            "zoe@xn--mller-kva.example",
            "ada@example.com",
            "li@example.com",
            "hidden@example.com"
        ])
    );
    assert_eq!(
        mail["names"],
        json!([
            ["Café \"Nord\"", "cafe@example.com"],
            ["Zoë Müller", "zoe@xn--mller-kva.example"],
            ["Lovelace, Ada", "ada@example.com"],
            ["李小龍", "li@example.com"],
            ["", "help@example.com"],
        ])
    );
    assert_eq!(header(&mail, "subject"), [subject]);
    assert_eq!(header(&mail, "message-id"), [format!("<{id}@example.com>")]);
    assert_eq!(header(&mail, "date"), ["Fri, 02 Jan 2026 03:04:05 +0000"]);
    assert_eq!(header(&mail, "x-note"), ["größer als – alles"]);
    assert_eq!(
        header(&mail, "list-unsubscribe"),
        ["<https://example.com/u?id=1&x=%20y>, <mailto:u@example.com>"]
    );
    assert_eq!(header(&mail, "bcc"), Vec::<&str>::new());
    assert!(!mail["raw"].as_str().unwrap().contains("hidden@"));
    assert_eq!(mail["kind"], "multipart/mixed");
    let as_written = |field: &str| mail[field].as_str().unwrap().replace("\r\n", "\n");
    assert_eq!(
        as_written("text").trim_end(),
        text.replace("\r\n", "\n").trim_end()
    );
    assert_eq!(as_written("html").trim_end(), html);
    assert_eq!(
        mail["attachments"],
        json!([
            [
                "Rechnung № 7 – größer.pdf",
                "application/pdf",
                "AAEC/w0KLg0KAA=="
            ],
            ["a \"b\".txt", "text/plain", "bGluZQpsaW5lDQouCg=="],
            ["empty", "application/octet-stream", ""],
        ])
    );
    assert_eq!(mail["defects"], json!([]));
    assert!(mail["longest_line"].as_u64().unwrap() <= 998);
}

/// A hundred addresses are no line, and what looks encoded is not decoded on the way.
#[tokio::test]
async fn long_lists_and_odd_words_arrive() {
    let mut server = RealServer::start(&[]).await;
    let mailer = mailer(&server.url("", "none"), Limits::default());
    // What has a name is folded there: a list without any is the one that must be.
    let address = |list: &str, n: usize| match if list == "cc" { 0 } else { n % 3 } {
        0 => format!("customer{n:03}@{list}.shop.example"),
        1 => format!("Zoë Müller {n} <customer{n:03}@{list}.shop.example>"),
        _ => format!("\"Lovelace, Ada {n}\" <customer{n:03}@{list}.shop.example>"),
    };
    let list = |name: &str, count| (0..count).map(|n| address(name, n)).collect::<Vec<_>>();
    let subject = format!("=?utf-8?q?Hello?= there {}", "=?x?= größer ".repeat(20));
    let note = format!("a{}b =?utf-8?q?c?=", " ".repeat(20));
    let mail = payload(json!({
        "to": list("to", 60), "cc": list("cc", 40), "subject": subject.trim_end(), "text": "x",
        "from": "\"=?utf-8?q?Boss?=\" <boss@example.com>",
        "headers": {"X-Note": note, "X-Spaces": format!("{}{}end", "a".repeat(900), " ".repeat(20))},
    }));
    send(&mailer, &mail).await.unwrap();
    let arrived = server.next("mail").await;
    assert_eq!(arrived["recipients"].as_array().unwrap().len(), 100);
    let names = arrived["names"].as_array().unwrap();
    assert_eq!(names.len(), 101);
    assert_eq!(names[0], json!(["=?utf-8?q?Boss?=", "boss@example.com"]));
    for (n, name) in names[1..61].iter().enumerate() {
        let expected = match n % 3 {
            0 => String::new(),
            1 => format!("Zoë Müller {n}"),
            _ => format!("Lovelace, Ada {n}"),
        };
        assert_eq!(
            *name,
            json!([expected, format!("customer{n:03}@to.shop.example")])
        );
    }
    assert_eq!(header(&arrived, "subject"), [subject.trim_end()]);
    assert_eq!(header(&arrived, "x-note"), [note]);
    assert_eq!(arrived["defects"], json!([]));
    assert!(
        arrived["longest_line"].as_u64().unwrap() <= 998,
        "{arrived}"
    );
}

#[tokio::test]
async fn bodies_of_every_shape_arrive() {
    let mut server = RealServer::start(&[]).await;
    let mailer = mailer(&server.url("", "none"), Limits::default());
    let long = "x".repeat(5000);
    for (body, kind) in [
        (json!({"text": "plain"}), "text/plain"),
        (json!({"html": "<p>only</p>"}), "text/html"),
        (
            json!({"text": "both", "html": "<p>both</p>"}),
            "multipart/alternative",
        ),
        (json!({"text": ""}), "text/plain"),
        (json!({"text": long}), "text/plain"),
        (json!({"text": "a\u{0}b\u{7}c\u{b}"}), "text/plain"),
        (json!({"text": ".\n.\n"}), "text/plain"),
        (json!({"text": "a\rb\r\r\nc"}), "text/plain"),
    ] {
        let mut mail = json!({"to": ["ada@example.com"], "subject": ""});
        mail.as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        send(&mailer, &payload(mail)).await.unwrap();
        let arrived = server.next("mail").await;
        assert_eq!(arrived["kind"], kind, "{body}");
        for field in ["text", "html"] {
            let lines = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n");
            let sent = body[field]
                .as_str()
                .map(|text| lines(text).trim_end_matches('\n').to_owned());
            let got = arrived[field]
                .as_str()
                .map(|text| lines(text).trim_end_matches('\n').to_owned());
            assert_eq!(got, sent, "{}", arrived["raw"]);
        }
        assert_eq!(arrived["defects"], json!([]), "{body}");
        assert!(arrived["longest_line"].as_u64().unwrap() <= 998, "{body}");
    }
}

#[tokio::test]
async fn addresses_outside_ascii_arrive() {
    let mut server = RealServer::start(&[]).await;
    let mailer = mailer(&server.url("", "none"), Limits::default());
    let mail = json!({"to": ["Zoë <zoë@müller.example>"], "subject": "ü", "text": "ü"});
    send(&mailer, &payload(mail)).await.unwrap();
    let arrived = server.next("mail").await;
    assert_eq!(arrived["recipients"], json!(["zoë@xn--mller-kva.example"]));
    assert_eq!(header(&arrived, "subject"), ["ü"]);
    let options = arrived["options"].as_array().unwrap();
    assert!(options.contains(&json!("SMTPUTF8")), "{options:?}");
}

#[tokio::test]
async fn a_repeat_is_the_same_mail() {
    let mut server = RealServer::start(&[]).await;
    let mailer = mailer(&server.url("", "none"), Limits::default());
    let (id, mail) = (
        JobId::new(),
        payload(json!({
            "to": ["ada@example.com"], "subject": "x", "text": "t", "html": "h",
            "attachments": [{"filename": "a", "content": "TWFu"}],
        })),
    );
    let mut raw = Vec::new();
    for _ in 0..2 {
        mailer
            .send(&mail, id, accepted_at(), crate::in_an_hour())
            .await
            .unwrap();
        raw.push(server.next("mail").await["raw"].clone());
    }
    assert_eq!(raw[0], raw[1]);
}

#[tokio::test]
async fn many_mails_share_few_connections() {
    const MAILS: usize = 200;
    let mut server = RealServer::start(&[]).await;
    let limits = Limits {
        connections: 4,
        max_mails: MAILS,
        ..Limits::default()
    };
    let mailer = Arc::new(mailer(&server.url("", "none"), limits));
    let mut mails = tokio::task::JoinSet::new();
    for _ in 0..MAILS {
        let mailer = mailer.clone();
        mails.spawn(async move { send(&mailer, &hello()).await.unwrap() });
    }
    mails.join_all().await;
    let (mut ids, mut connections) = (std::collections::HashSet::new(), 0);
    while ids.len() < MAILS {
        let event = server.any().await;
        match event["event"].as_str().unwrap() {
            "connection" => connections = event["total"].as_u64().unwrap(),
            _ => assert!(
                ids.insert(header(&event, "message-id")[0].to_owned()),
                "sent twice"
            ),
        }
    }
    assert!((1..=4).contains(&connections), "{connections} connections");
}

#[tokio::test]
async fn starttls_and_login() {
    let certificate = Certificate::self_signed();
    let login = ["--user", "ada@example.com", "--password", "p/ä:@?#"];
    let mut server = certificate.server("starttls", &login).await;
    for tls in ["required", "opportunistic"] {
        let url = server.url("ada%40example.com:p%2F%C3%A4%3A%40%3F%23@", tls);
        let mailer = trusting_mailer(&url, Limits::default(), certificate.roots.clone());
        send(&mailer, &hello()).await.unwrap();
        let mail = server.next("mail").await;
        assert_eq!(
            (&mail["encrypted"], &mail["user"]),
            (&json!(true), &json!("ada@example.com"))
        );
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_outage() {
    let certificate = Certificate::self_signed();
    let server = certificate
        .server("starttls", &["--user", "ada", "--password", "right"])
        .await;
    let url = server.url("ada:hunter2@", "required");
    let mailer = trusting_mailer(&url, Limits::default(), certificate.roots.clone());
    let failure = failure(&mailer, &hello()).await;
    assert_eq!(
        ends_as(&failure),
        (Unavailable, "smtp_auth"),
        "{}",
        failure.error()
    );
    assert!(
        failure.error().message.contains("535"),
        "{}",
        failure.error()
    );
}

#[tokio::test]
async fn implicit_tls() {
    let certificate = Certificate::self_signed();
    let mut server = certificate.server("implicit", &[]).await;
    let url = format!("smtps://localhost:{}", server.port);
    let mailer = trusting_mailer(&url, Limits::default(), certificate.roots.clone());
    send(&mailer, &hello()).await.unwrap();
    assert_eq!(
        server.next("mail").await["recipients"],
        json!(["ada@example.com"])
    );
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_an_outage() {
    let certificate = Certificate::self_signed();
    let other = Certificate::self_signed();
    let (starttls, implicit) = (
        certificate.server("starttls", &[]).await,
        certificate.server("implicit", &[]).await,
    );
    for url in [
        starttls.url("", "required"),
        starttls.url("", "opportunistic"),
        format!("smtps://localhost:{}", implicit.port),
        // The right certificate for another name.
        starttls
            .url("", "required")
            .replace("localhost", "127.0.0.1"),
    ] {
        let roots = if url.contains("127.0.0.1") {
            &certificate.roots
        } else {
            &other.roots
        };
        let mailer = trusting_mailer(&url, Limits::default(), roots.clone());
        let failure = failure(&mailer, &hello()).await;
        assert_eq!(
            ends_as(&failure),
            (Unavailable, "smtp_tls"),
            "{url}: {}",
            failure.error()
        );
    }
}

#[tokio::test]
async fn a_server_that_wants_tls_first_is_an_outage_for_one_that_has_none() {
    let certificate = Certificate::self_signed();
    let server = certificate.server("starttls", &[]).await;
    let failure = failure(
        &mailer(&server.url("", "none"), Limits::default()),
        &hello(),
    )
    .await;
    assert_eq!(
        ends_as(&failure),
        (Unavailable, "smtp_530"),
        "{}",
        failure.error()
    );
}
