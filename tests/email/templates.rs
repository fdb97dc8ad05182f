use std::time::Duration;

use chrono::{TimeDelta, Utc};
use longshore::job::ErrorClass::Permanent;
use longshore::job::{Failure, JobId};
use serde_json::json;

use crate::aiosmtpd::{RealServer, header};
use crate::email::Limits;
use crate::scripted::{Act, Point, Server};
use crate::{ends_as, failure, in_an_hour, mailer, payload, send, templates};

#[tokio::test]
async fn a_template_arrives_filled_in() {
    let mut server = RealServer::start(&[]).await;
    let mailer = mailer(&server.url("", "none"), Limits::default()).templates(templates(&[
        ("receipt.subject", "Ваш заказ № {{ order }} — {{ name }} ✉\n"),
        (
            "receipt.txt",
            "Grüße, {{ name }}!\n{% for item in items %}\n{{ item.count }} × {{ item.what }}\n{% endfor %}\n.\n",
        ),
        (
            "receipt.html",
            "{% extends \"_frame.html\" %}{% block body %}<p>Grüße, {{ name }}!</p>{% endblock %}",
        ),
        ("_frame.html", "<html>{% block body %}{% endblock %}</html>"),
    ]));
    let mail = json!({
        "to": ["Zoë <zoe@example.com>"], "template": "receipt",
        "data": {
            "order": 7, "name": "Zoë <李小龍>",
            "items": [{"count": 2, "what": "Tee & Kännchen"}, {"count": 1, "what": "鍋"}],
        },
        "attachments": [{"filename": "Beleg – 7.txt", "content_type": "text/plain", "content": "T0sK"}],
    });
    send(&mailer, &payload(mail)).await.unwrap();
    let mail = server.next("mail").await;
    assert_eq!(header(&mail, "subject"), ["Ваш заказ № 7 — Zoë <李小龍> ✉"]);
    let lines = |field: &str| mail[field].as_str().unwrap().replace("\r\n", "\n");
    assert_eq!(
        lines("text").trim_end(),
        "Grüße, Zoë <李小龍>!\n2 × Tee & Kännchen\n1 × 鍋\n."
    );
    assert_eq!(
        lines("html").trim_end(),
        "<html><p>Grüße, Zoë &lt;李小龍&gt;!</p></html>"
    );
    assert_eq!(
        mail["attachments"],
        json!([["Beleg – 7.txt", "text/plain", "T0sK"]])
    );
    assert_eq!(mail["defects"], json!([]));
}

#[tokio::test]
async fn a_subject_of_its_own_beats_the_templates() {
    let mut server = RealServer::start(&[]).await;
    let mailer = mailer(&server.url("", "none"), Limits::default()).templates(templates(&[
        ("note.subject", "from the template"),
        ("note.html", "<p>{{ x }}</p>"),
    ]));
    let mail = json!({
        "to": ["ada@example.com"], "template": "note", "data": {"x": 1}, "subject": "its own",
    });
    send(&mailer, &payload(mail)).await.unwrap();
    let mail = server.next("mail").await;
    assert_eq!(header(&mail, "subject"), ["its own"]);
    assert_eq!(mail["kind"], "text/html");
}

/// Templates are rolled out process by process: the door had it, this worker does not yet.
#[tokio::test]
async fn a_young_job_waits_for_a_worker_that_has_its_template() {
    let server = Server::acting(Point::Other, Act::Usual).await;
    let old = templates(&[("receipt.txt", "{{ number }}")]);
    let old = mailer(&server.url(), Limits::default()).templates(old);
    let new = templates(&[("receipt.txt", "{{ order }}"), ("welcome.txt", "hello")]);
    let new = mailer(&server.url(), Limits::default()).templates(new);
    for (template, code) in [
        ("welcome", "template_unknown"),
        ("receipt", "template_failed"),
    ] {
        let mail = payload(json!({
            "to": ["ada@example.com"], "subject": "x", "template": template, "data": {"order": 7},
        }));
        let (id, now) = (JobId::new(), Utc::now());
        for (age, waits) in [(0, true), (50, true), (61, false)] {
            let created_at = now - TimeDelta::minutes(age);
            let sent = old.send(&mail, id, created_at, in_an_hour()).await;
            let failure = sent.unwrap_err();
            let message = &failure.error().message;
            let expected = match waits {
                true => Failure::waiting(code, message, Duration::from_secs(30)),
                false => Failure::permanent(code, message),
            };
            assert_eq!(failure, expected, "{age} minutes");
        }
        new.send(&mail, id, now, in_an_hour()).await.unwrap();
    }
    assert_eq!(server.count(Point::Content), 2);
}

/// Between the door and the run a template may go, or come to need other data.
#[tokio::test]
async fn what_changed_since_the_door_is_permanent_and_nothing_is_sent() {
    let server = Server::acting(Point::Other, Act::Usual).await;
    let mailer = mailer(&server.url(), Limits::default()).templates(templates(&[
        ("receipt.txt", "{{ order }} {{ total }}"),
        ("line.subject", "{{ order }}"),
        ("line.txt", "x"),
    ]));
    for (template, data, subject, code, said) in [
        (
            "gone",
            json!({}),
            Some("x"),
            "template_unknown",
            "/template: ",
        ),
        (
            "receipt",
            json!({"order": 7}),
            Some("x"),
            "template_failed",
            "/data/total: ",
        ),
        (
            "receipt",
            json!({"order": 7, "total": 1}),
            None,
            "template_failed",
            "/subject: ",
        ),
        (
            "line",
            json!({"order": "a\r\nBcc: b@c.d"}),
            None,
            "template_failed",
            "/data: ",
        ),
    ] {
        let mut mail = json!({"to": ["ada@example.com"], "template": template, "data": data});
        if let Some(subject) = subject {
            mail["subject"] = json!(subject);
        }
        let failure = failure(&mailer, &payload(mail)).await;
        assert_eq!(ends_as(&failure), (Permanent, code));
        let message = &failure.error().message;
        assert!(message.contains(said), "{message}");
    }
    assert_eq!(server.count(Point::Greeting), 0);
}
