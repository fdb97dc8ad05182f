use std::sync::Arc;
use std::time::Duration;

use longshore::job::ErrorClass::{Retryable, Unavailable, Waiting};
use longshore::job::JobId;
use tokio::time::Instant;

use crate::email::Limits;
use crate::scripted::{Act, Heard, Point, Server};
use crate::{accepted_at, ends_as, failure, hello, mailer, send};

/// No probe in between: a dead connection is found out only by using it.
fn unprobed() -> Limits {
    Limits {
        probe_after: Duration::from_secs(3600),
        ..Limits::default()
    }
}

fn second_mail_of_first_connection(heard: &Heard) -> bool {
    heard.connection == 0 && heard.point == Point::Mail && heard.before == 1
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_mail() {
    let server = Server::acting(Point::Other, Act::Usual).await;
    let mailer = mailer(&server.url(), Limits::default());
    for _ in 0..3 {
        send(&mailer, &hello()).await.unwrap();
    }
    assert_eq!(
        (server.count(Point::Greeting), server.count(Point::Content)),
        (1, 3)
    );
}

#[tokio::test]
async fn a_refused_mail_costs_no_connection() {
    for point in [Point::Mail, Point::Rcpt, Point::Data, Point::Content] {
        let server = Server::start(move |heard| match (heard.point == point, heard.before) {
            (true, 0) => Act::Say(b"550 no\r\n"),
            _ => Act::Usual,
        })
        .await;
        let mailer = mailer(&server.url(), Limits::default());
        failure(&mailer, &hello()).await;
        send(&mailer, &hello()).await.unwrap();
        assert_eq!(server.count(Point::Greeting), 1, "{point:?}");
        assert!(server.lines().contains(&"RSET".to_owned()), "{point:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_died_fails_no_mail() {
    for act in [
        Act::Cut,
        Act::SayAndClose(b"421 4.4.2 idle too long\r\n"),
        Act::Hang,
    ] {
        let server = Server::start(move |heard| match second_mail_of_first_connection(heard) {
            true => act,
            false => Act::Usual,
        })
        .await;
        let limits = match act {
            Act::Hang => Limits {
                reply: Duration::from_secs(5),
                ..unprobed()
            },
            _ => unprobed(),
        };
        let mailer = mailer(&server.url(), limits);
        for _ in 0..2 {
            send(&mailer, &hello()).await.unwrap();
        }
        assert_eq!(
            (server.count(Point::Greeting), server.count(Point::Content)),
            (2, 2),
            "{act:?}"
        );
    }
}

#[tokio::test]
async fn a_restarted_server_fails_no_mail_though_every_connection_died() {
    const KEPT: usize = 4;
    let server = Server::start(|heard| match (heard.point, heard.before) {
        (Point::Mail, 1) if heard.connection < KEPT => Act::Cut,
        _ => Act::Usual,
    })
    .await;
    let mailer = Arc::new(mailer(
        &server.url(),
        Limits {
            connections: KEPT,
            ..unprobed()
        },
    ));
    let mut mails = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let mailer = mailer.clone();
        mails.spawn(async move { send(&mailer, &hello()).await });
    }
    for sent in mails.join_all().await {
        sent.unwrap();
    }
    assert_eq!(server.count(Point::Content), 40);
    assert!(server.count(Point::Greeting) > 1);
}

#[tokio::test]
async fn a_new_connections_answer_counts() {
    let server = Server::start(
        |heard| match (heard.connection, heard.point, heard.before) {
            (0, Point::Mail, 1) => Act::Cut,
            (1, Point::Mail, _) => Act::Say(b"451 4.3.0 not now\r\n"),
            _ => Act::Usual,
        },
    )
    .await;
    let mailer = mailer(&server.url(), unprobed());
    send(&mailer, &hello()).await.unwrap();
    let failure = failure(&mailer, &hello()).await;
    assert_eq!(ends_as(&failure), (Retryable, "smtp_451"));
}

#[tokio::test]
async fn an_idle_connection_is_probed_first() {
    let server = Server::start(|heard| match (heard.connection, heard.line.as_str()) {
        (0, "NOOP") => Act::Cut,
        _ => Act::Usual,
    })
    .await;
    let limits = Limits {
        probe_after: Duration::from_millis(50),
        ..Limits::default()
    };
    let mailer = mailer(&server.url(), limits);
    send(&mailer, &hello()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    send(&mailer, &hello()).await.unwrap();
    assert_eq!(server.count(Point::Greeting), 2);
    assert_eq!(
        server
            .heard()
            .iter()
            .filter(|h| h.connection == 0 && h.point == Point::Mail)
            .count(),
        1
    );
}

#[tokio::test]
async fn a_connection_is_given_up_after_enough_mails() {
    let server = Server::acting(Point::Other, Act::Usual).await;
    let mailer = mailer(
        &server.url(),
        Limits {
            max_mails: 2,
            ..Limits::default()
        },
    );
    for _ in 0..5 {
        send(&mailer, &hello()).await.unwrap();
    }
    assert_eq!(server.count(Point::Greeting), 3);
    assert_eq!(
        server.lines().iter().filter(|line| *line == "QUIT").count(),
        2
    );
}

#[tokio::test]
async fn a_delivery_that_was_dropped_leaves_no_half_mail_to_the_next() {
    let server = Server::start(|heard| match (heard.connection, heard.point) {
        (0, Point::Rcpt) => Act::Hang,
        _ => Act::Usual,
    })
    .await;
    let mailer = Arc::new(mailer(&server.url(), Limits::default()));
    let cut_off = tokio::spawn({
        let mailer = mailer.clone();
        async move { send(&mailer, &hello()).await }
    });
    server.until(Point::Rcpt, 1).await;
    cut_off.abort();
    assert!(cut_off.await.unwrap_err().is_cancelled());
    send(&mailer, &hello()).await.unwrap();
    assert_eq!(server.count(Point::Greeting), 2);
}

#[tokio::test]
async fn a_server_that_keeps_every_connection_busy_is_not_down() {
    let server = Server::acting(Point::Rcpt, Act::Hang).await;
    let limits = Limits {
        connections: 1,
        wait: Duration::from_millis(200),
        ..Limits::default()
    };
    let mailer = Arc::new(mailer(&server.url(), limits));
    let first = tokio::spawn({
        let mailer = mailer.clone();
        async move { send(&mailer, &hello()).await }
    });
    server.until(Point::Rcpt, 1).await;
    let second = failure(&mailer, &hello()).await;
    assert_eq!(ends_as(&second), (Waiting, "smtp_busy"));
    first.abort();
}

#[tokio::test]
async fn a_server_that_dawdles_is_an_outage_before_the_handler_times_out() {
    // The limit on a single answer is far away: the limit on all of them decides.
    let server = Server::acting(Point::Rcpt, Act::Hang).await;
    let limits = Limits {
        before_data: Duration::from_millis(500),
        ..Limits::default()
    };
    let failure = failure(&mailer(&server.url(), limits), &hello()).await;
    assert_eq!(ends_as(&failure), (Unavailable, "smtp_timeout"));
}

/// The queue's timeout is shorter than every limit, and the run is cut off at its end.
#[tokio::test]
async fn a_silent_server_is_an_outage_however_short_the_timeout_is() {
    for point in [Point::Greeting, Point::Auth, Point::Rcpt] {
        let server = Server::acting(point, Act::Hang).await;
        let mailer = mailer(&server.url(), Limits::default());
        let deadline = Instant::now() + Duration::from_secs(6);
        let (mail, id) = (hello(), JobId::new());
        let sending = mailer.send(&mail, id, accepted_at(), deadline);
        let cut_off = tokio::time::timeout_at(deadline, sending).await;
        let failure = cut_off.expect("must end before it is cut off").unwrap_err();
        assert_eq!(
            ends_as(&failure),
            (Unavailable, "smtp_timeout"),
            "{point:?}"
        );
    }
}
