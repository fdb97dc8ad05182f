//! As `doctor.rs`, for what takes a server of one's own to be wrong.

use serde_json::Value;
use url::Url;

use crate::doctor::{findings, migrate, sql, tells};
use crate::support::dir::TestDir;
use crate::support::postgres::Postgres;
use crate::support::program::longshore;
use crate::support::rabbit::Rabbit;
use crate::support::shared::{self, Database};
use crate::support::wait::{PATIENCE, until};

fn with(url: &str, change: impl Fn(&mut Url)) -> String {
    let mut url = Url::parse(url).unwrap();
    change(&mut url);
    url.into()
}

fn by(url: &str, user: &str, password: &str) -> String {
    with(url, |url| {
        url.set_username(user).unwrap();
        url.set_password(Some(password)).unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_standby_are_told_with_their_fix() {
    let amqp = shared::amqp_url();
    let primary = Postgres::start().await;
    let database = primary.create_database("longshore").await;
    migrate(&database).await;
    let standby = primary.standby().await;
    let follows = standby.url("longshore");
    until("the standby has the schema", PATIENCE, async || {
        let count = "SELECT count(*) FROM pg_namespace WHERE nspname = 'longshore'";
        let there = standby.psql_in("longshore", count).await;
        (there == "1").then_some(())
    })
    .await;
    let found = findings(&follows, &amqp).await;
    tells(
        &found,
        &["problem store", "this server is a standby", "DATABASE_URL"],
    );

    primary
        .psql("CREATE ROLE ada LOGIN PASSWORD 'right-one'")
        .await;
    let file = primary.psql("SHOW hba_file").await;
    let rules = std::fs::read_to_string(&file).unwrap();
    let strict = "host all ada 127.0.0.1/32 scram-sha-256\nhost all bob 127.0.0.1/32 reject\n";
    std::fs::write(&file, format!("{strict}{rules}")).unwrap();
    primary.psql("SELECT pg_reload_conf()").await;
    let wrong = by(&database, "ada", "hunter2");
    let found = findings(&wrong, &amqp).await;
    tells(
        &found,
        &["problem store", "correct the password in DATABASE_URL"],
    );
    let shut_out = by(&database, "bob", "hunter2");
    let found = findings(&shut_out, &amqp).await;
    tells(
        &found,
        &["problem store", "correct the user", "pg_hba.conf"],
    );
    // Let in, she may not read what is there.
    let found = findings(&by(&database, "ada", "right-one"), &amqp).await;
    tells(
        &found,
        &["problem store", "may not use the schema", "GRANT"],
    );
    tells(&found, &["problem schema", "permission denied", "GRANT"]);
    assert!(!format!("{found:?}").contains("right-one"), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_in_part_are_told_with_their_fix() {
    let amqp = shared::amqp_url();
    let database = Database::create().await;
    migrate(database.url()).await;
    let role = format!("r_{}", uuid::Uuid::now_v7().simple());
    let reads = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA longshore TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA longshore TO {role}"
    );
    sql(database.url(), reads).await;
    let url = with(database.url(), |url| url.set_username(&role).unwrap());
    let found = findings(&url, &amqp).await;
    tells(&found, &["problem store", "may not write", "live", "GRANT"]);
    let writes = format!("GRANT ALL ON ALL TABLES IN SCHEMA longshore TO {role}");
    sql(database.url(), writes).await;
    let found = findings(&url, &amqp).await;
    tells(&found, &["problem store", "does not own", "GRANT"]);
    // A member of the owner may all that the owner may.
    let member = format!("GRANT longshore TO {role}");
    sql(database.url(), member).await;
    let found = findings(&url, &amqp).await;
    tells(&found, &["ok schema", "up to date"]);
    assert!(!found.iter().any(|one| one.starts_with("problem store")));
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sql(database.url(), drop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_apart_are_told() {
    let amqp = shared::amqp_url();
    let database = Database::create().await;
    // A clock that goes wrong for who connects to this database.
    let name = Url::parse(database.url()).unwrap().path()[1..].to_owned();
    let wrong = format!(
        "CREATE SCHEMA wrong;
         CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql
             RETURN pg_catalog.clock_timestamp() - interval '90 s';
         ALTER DATABASE {name} SET search_path = wrong, pg_catalog, public"
    );
    sql(database.url(), wrong).await;
    let found = findings(database.url(), &amqp).await;
    let behind = found.iter().find(|finding| finding.contains("clock"));
    let behind = behind.unwrap_or_else(|| panic!("{found:#?}"));
    assert!(
        behind.starts_with("warning clock: the database's is 9") && behind.contains("NTP"),
        "{behind}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_told_with_its_fix() {
    // Nobody may, not even root.
    let found = findings("sqlite:///proc/longshore/longshore.db", "").await;
    tells(
        &found,
        &["problem store", "/proc/longshore", "DATABASE_URL"],
    );
    let dir = TestDir::new("junk");
    let file = dir.join("longshore.db");
    std::fs::write(
        &file,
        "no database, and longer than a page of one".repeat(200),
    )
    .unwrap();
    let found = findings(&format!("sqlite://{}", file.display()), "").await;
    tells(&found, &["problem store", "not an SQLite database"]);
}

async fn topology(broker: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["topology"], arguments].concat();
    let mut topology = longshore(arguments).env("AMQP_URL", broker).start();
    let code = topology.wait_exit(PATIENCE).await.code();
    (code, topology.stdout())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_missing_or_of_another_kind_are_told_with_their_fix() {
    let rabbit = Rabbit::start().await;
    let database = Database::create().await;
    migrate(database.url()).await;
    let broker = rabbit.url();
    assert_eq!(topology(&broker, &["--apply"]).await.0, Some(0));
    rabbit.ctl(&["delete_queue", "longshore.email.dead"]).await;
    rabbit.ctl(&["delete_queue", "longshore.payment"]).await;
    let classic = "rabbit_amqqueue:declare(
        rabbit_misc:r(<<\"/\">>, queue, <<\"longshore.payment\">>),
        true, false, [], none, <<\"test\">>).";
    rabbit.ctl(&["eval", classic]).await;

    let found = findings(database.url(), &broker).await;
    tells(
        &found,
        &[
            "warning topology",
            "longshore.email.dead",
            "missing",
            "--apply",
        ],
    );
    tells(
        &found,
        &["problem topology", "longshore.payment", "quorum", "delete"],
    );
    let (code, out) = topology(&broker, &["--json"]).await;
    assert_eq!(code, Some(1), "{out}");
    let status = |out: &str, name: &str| {
        let mut objects = out.lines().map(|line| serde_json::from_str(line).unwrap());
        let found = objects.find(|object: &Value| object["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {out}"))["status"].clone()
    };
    assert_eq!(status(&out, "longshore.email.dead"), "missing");
    assert_eq!(status(&out, "longshore.payment"), "different");
    // What is missing is declared in spite of what differs, which is told again.
    let (code, out) = topology(&broker, &["--apply", "--json"]).await;
    assert_eq!(code, Some(1), "{out}");
    assert_eq!(status(&out, "longshore.email.dead"), "declared", "{out}");
    assert_eq!(status(&out, "longshore.payment"), "different");
    rabbit.ctl(&["delete_queue", "longshore.payment"]).await;
    let (code, out) = topology(&broker, &["--apply"]).await;
    assert_eq!(code, Some(0), "{out}");
    let found = findings(database.url(), &broker).await;
    tells(&found, &["ok topology", "objects declared"]);
}
