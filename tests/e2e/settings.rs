use sqlx::Connection;

use crate::dev::Dev;
use crate::support::dir::TestDir;
use crate::support::program::{free_port, longshore};
use crate::support::shared::{self, Database};
use crate::support::wait::PATIENCE;

/// Runs a command that must fail with exit code 2; returns what it said on stderr.
async fn refused(arguments: &[&str], settings: &[(&str, &str)], dir: &TestDir) -> String {
    let mut launch = longshore(arguments).within(dir.path());
    for (name, value) in settings {
        launch = launch.env(name, *value);
    }
    let mut process = launch.start();
    let status = process.wait_exit(PATIENCE).await;
    assert_eq!(
        status.code(),
        Some(2),
        "{arguments:?}: {}",
        process.output_so_far()
    );
    assert!(
        !process.output_so_far().contains("hunter2"),
        "a secret was shown"
    );
    process.stderr()
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_malformed_settings_are_all_named_at_once() {
    let dir = TestDir::new("settings");
    let said = refused(&["intake"], &[], &dir).await;
    assert!(
        said.contains("DATABASE_URL") && said.contains("AMQP_URL"),
        "{said}"
    );
    let settings = [
        ("DATABASE_URL", "mysql://root:hunter2@localhost/x"),
        ("AMQP_URL", "http://guest:hunter2@localhost"),
        ("LONGSHORE_LISTEN", "here"),
        ("LONGSHORE_SHUTDOWN_DEADLINE", "25"),
        ("LONGSHORE_LOG_FORMAT", "xml"),
    ];
    let said = refused(&["intake"], &settings, &dir).await;
    for (name, _) in settings {
        assert!(said.contains(name), "{name} is not in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_for_email_says_that_it_needs_a_mail_server() {
    let dir = TestDir::new("settings");
    let settings = [
        ("DATABASE_URL", "postgres://postgres@127.0.0.1:1/x"),
        ("AMQP_URL", "amqp://127.0.0.1:1"),
    ];
    let said = refused(&["work", "email"], &settings, &dir).await;
    assert!(said.contains("SMTP_URL"), "{said}");
    let said = refused(&["work", "emial"], &settings, &dir).await;
    assert!(said.contains("emial") && said.contains("email"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_mail_templates_stop_whoever_needs_them_by_file_and_line() {
    let dir = TestDir::new("settings");
    let folder = dir.join("templates");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("receipt.txt"), "Hello\n{{ name").unwrap();
    std::fs::write(folder.join("receipt.subject"), "{% if %}").unwrap();
    let settings = [
        ("DATABASE_URL", "postgres://postgres@127.0.0.1:1/x"),
        ("AMQP_URL", "amqp://127.0.0.1:1"),
        ("MAIL_TEMPLATES", "templates"),
        ("SMTP_URL", "smtp://127.0.0.1:1"),
    ];
    // An intake needs them, and no mail server.
    for (arguments, settings) in [
        (&["intake"][..], &settings[..3]),
        (&["work", "email"], &settings),
        (&["dev"], &settings[2..3]),
    ] {
        let said = refused(arguments, settings, &dir).await;
        assert_eq!(said.matches("MAIL_TEMPLATES: ").count(), 2, "{said}");
        assert!(said.contains("receipt.txt:2: syntax error"), "{said}");
        assert!(said.contains("receipt.subject:1: syntax error"), "{said}");
    }
    let mut doctor = longshore(["doctor"]).within(dir.path());
    doctor = doctor.env("MAIL_TEMPLATES", "templates");
    let mut doctor = doctor.start();
    assert_eq!(doctor.wait_exit(PATIENCE).await.code(), Some(1));
    assert!(
        doctor.stdout().contains("receipt.txt:2: "),
        "{}",
        doctor.stdout()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_queue_file_is_named_by_line_and_column() {
    let dir = TestDir::new("settings");
    let file =
        "[queues.email]\nkinds = [\"email.send\"]\ntimeot = \"60s\"\nretention = \"7 parsecs\"\n";
    std::fs::write(dir.join("queues.toml"), file).unwrap();
    let said = refused(&["dev"], &[], &dir).await;
    assert!(
        said.contains("queues.toml:3:1") && said.contains("timeout"),
        "{said}"
    );
    assert!(
        said.contains("queues.toml:4:") && said.contains("retention"),
        "{said}"
    );
    let missing = [("LONGSHORE_QUEUES", "nowhere.toml")];
    let said = refused(&["dev"], &missing, &dir).await;
    assert!(
        said.contains("nowhere.toml") && said.contains("LONGSHORE_QUEUES"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_settings_file_and_arguments_is_said_at_once() {
    let dir = TestDir::new("settings");
    std::fs::write(dir.join("queues.toml"), "[queues.email]\nkindz = []\n").unwrap();
    let listen = [("LONGSHORE_LISTEN", "here")];
    let said = refused(&["intake"], &listen, &dir).await;
    for wrong in ["DATABASE_URL", "LONGSHORE_LISTEN", "queues.toml:2:1"] {
        assert!(said.contains(wrong), "{wrong} is not in: {said}");
    }
    std::fs::remove_file(dir.join("queues.toml")).unwrap();
    let said = refused(&["work", "emial"], &listen, &dir).await;
    for wrong in ["DATABASE_URL", "LONGSHORE_LISTEN", "emial"] {
        assert!(said.contains(wrong), "{wrong} is not in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_cannot_be_used_is_named() {
    let dir = TestDir::new("settings");
    std::fs::write(dir.join("file"), "").unwrap();
    let folder = [("LONGSHORE_DATA_DIR", "file/data")];
    let said = refused(&["dev"], &folder, &dir).await;
    assert!(
        said.contains("file/data") && said.contains("LONGSHORE_DATA_DIR"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_told_with_the_cause() {
    let url = format!("postgres://u:hunter2@127.0.0.1:{}/x", free_port());
    let mut list = longshore(["jobs", "list"])
        .env("DATABASE_URL", &url)
        .start();
    assert_eq!(list.wait_exit(PATIENCE).await.code(), Some(1));
    let said = list.stderr();
    assert!(said.contains("refused"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_dev_in_the_same_folder_is_refused() {
    let first = Dev::start().await;
    let listen = format!("127.0.0.1:{}", free_port());
    let settings = [("LONGSHORE_LISTEN", listen.as_str())];
    let said = refused(&["dev"], &settings, &first.dir).await;
    assert!(said.contains("LONGSHORE_DATA_DIR"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_migrated_or_newer_is_refused() {
    let dir = TestDir::new("settings");
    let database = Database::create().await;
    let broker = shared::amqp_url();
    let listen = format!("127.0.0.1:{}", free_port());
    let settings = [
        ("DATABASE_URL", database.url()),
        ("AMQP_URL", broker.as_str()),
        ("LONGSHORE_LISTEN", listen.as_str()),
    ];
    let said = refused(&["intake"], &settings, &dir).await;
    assert!(said.contains("longshore migrate"), "{said}");
    let said = refused(&["jobs", "list"], &settings, &dir).await;
    assert!(said.contains("longshore migrate"), "{said}");
    let mut migrate = longshore(["migrate"])
        .env("DATABASE_URL", database.url())
        .start();
    assert!(
        migrate.wait_exit(PATIENCE).await.success(),
        "{}",
        migrate.output_so_far()
    );
    let mut connection = sqlx::PgConnection::connect(database.url()).await.unwrap();
    sqlx::query("INSERT INTO longshore.migration VALUES (99999, 'from the future', now())")
        .execute(&mut connection)
        .await
        .unwrap();
    let said = refused(&["intake"], &settings, &dir).await;
    assert!(said.contains("newer"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let dir = TestDir::new("settings");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(&["dev"], &[("LONGSHORE_LISTEN", &address)], &dir).await;
    assert!(
        said.contains(&address) && said.contains("LONGSHORE_LISTEN"),
        "{said}"
    );
}
