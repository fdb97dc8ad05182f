//! Every way a database or broker can be wrong has a finding and a fix.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use url::Url;

use crate::dev::Dev;
use crate::support::program::{free_port, longshore};
use crate::support::rabbit::Rabbit;
use crate::support::shared::{self, Database};
use crate::support::wait::PATIENCE;

/// What doctor finds with these services: one text a finding. No secret is ever in it.
pub async fn findings(database: &str, broker: &str) -> Vec<String> {
    let mut doctor = longshore(["doctor", "--json"])
        .env("DATABASE_URL", database)
        .env("AMQP_URL", broker)
        .start();
    doctor.wait_exit(PATIENCE).await;
    let (out, err) = (doctor.stdout(), doctor.stderr());
    assert!(
        !out.contains("hunter2") && !err.contains("hunter2"),
        "{out}{err}"
    );
    let finding = |line: &str| {
        let finding: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        format!(
            "{} {}: {} -> {}",
            text("status"),
            text("check"),
            text("detail"),
            text("fix")
        )
    };
    out.lines().map(finding).collect()
}

pub fn tells(findings: &[String], texts: &[&str]) {
    let all = |finding: &&String| texts.iter().all(|text| finding.contains(text));
    assert!(
        findings.iter().any(|finding| all(&finding)),
        "{texts:?}: {findings:#?}"
    );
}

pub async fn sql(url: &str, statements: String) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let statements = AssertSqlSafe(statements);
    sqlx::raw_sql(statements)
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

pub async fn migrate(url: &str) {
    let mut migrate = longshore(["migrate"]).env("DATABASE_URL", url).start();
    let status = migrate.wait_exit(PATIENCE).await;
    assert!(status.success(), "{}", migrate.output_so_far());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_database_comes_with_its_fix() {
    let amqp = shared::amqp_url();
    let database = Database::create().await;
    let url = |change: &dyn Fn(&mut Url)| {
        let mut url = Url::parse(database.url()).unwrap();
        change(&mut url);
        String::from(url)
    };
    let closed = free_port();
    let unreachable = url(&|url| {
        url.set_port(Some(closed)).unwrap();
        url.set_password(Some("hunter2")).unwrap();
    });
    let found = findings(&unreachable, &amqp).await;
    tells(&found, &["problem store", "host and port in DATABASE_URL"]);
    let missing = url(&|url| url.set_path("nowhere"));
    let found = findings(&missing, &amqp).await;
    tells(&found, &["problem store", "does not exist", "createdb"]);
    let stranger = url(&|url| url.set_username("a_stranger").unwrap());
    let found = findings(&stranger, &amqp).await;
    tells(&found, &["problem store", "correct the user"]);

    let role = format!("r_{}", uuid::Uuid::now_v7().simple());
    sql(
        database.url(),
        format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 5"),
    )
    .await;
    let limited = url(&|url| url.set_username(&role).unwrap());
    let found = findings(&limited, &amqp).await;
    tells(
        &found,
        &["warning store", "may not create a schema", "GRANT CREATE"],
    );
    tells(
        &found,
        &["problem connections", "at most 5", "CONNECTION LIMIT"],
    );
    tells(&found, &["problem schema", "longshore migrate"]);
    sql(database.url(), format!("DROP ROLE {role}")).await;

    migrate(database.url()).await;
    tells(
        &findings(database.url(), &amqp).await,
        &["ok schema", "up to date"],
    );
    let newer = "INSERT INTO longshore.migration SELECT (m).* FROM (
                     SELECT jsonb_populate_record(m, '{\"version\": 999}') AS m
                     FROM longshore.migration m ORDER BY version DESC LIMIT 1) n";
    sql(database.url(), newer.to_owned()).await;
    let found = findings(database.url(), &amqp).await;
    tells(&found, &["problem schema", "999", "update this program"]);
    let name = Url::parse(database.url()).unwrap().path()[1..].to_owned();
    let statement = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    sql(database.url(), statement).await;
    let found = findings(database.url(), &amqp).await;
    tells(
        &found,
        &["problem store", "nothing can be written", "DATABASE_URL"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_file_comes_with_its_fix() {
    let dev = Dev::start().await;
    let (code, out, _) = dev.run(&["doctor"]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("MiB free"), "{out}");
    let file = dev.dir.join("a-file");
    std::fs::write(&file, "").unwrap();
    let within = format!("sqlite://{}/longshore.db", file.display());
    let found = findings(&within, "").await;
    tells(&found, &["problem", "DATABASE_URL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_broker_comes_with_its_fix() {
    let rabbit = Rabbit::start().await;
    let database = Database::create().await;
    migrate(database.url()).await;
    let (port, url) = (rabbit.port(), database.url());
    let found = findings(url, &rabbit.url()).await;
    tells(&found, &["ok broker", "RabbitMQ"]);
    tells(&found, &["warning topology", "missing", "--apply"]);
    let mut apply = longshore(["topology", "--apply"])
        .env("DATABASE_URL", url)
        .env("AMQP_URL", rabbit.url())
        .start();
    assert!(apply.wait_exit(PATIENCE).await.success());
    let found = findings(url, &rabbit.url()).await;
    tells(&found, &["ok publishing", "there and back"]);

    let closed = format!("amqp://guest:hunter2@127.0.0.1:{}", free_port());
    tells(
        &findings(url, &closed).await,
        &["problem broker", "host and port in AMQP_URL"],
    );
    let password = format!("amqp://guest:hunter2@127.0.0.1:{port}/%2f");
    tells(
        &findings(url, &password).await,
        &["problem broker", "user and password"],
    );
    let vhost = format!("amqp://guest:guest@127.0.0.1:{port}/nowhere");
    tells(
        &findings(url, &vhost).await,
        &["problem broker", "add_vhost"],
    );
    rabbit.ctl(&["add_user", "ada", "hunter2"]).await;
    let ada = format!("amqp://ada:hunter2@127.0.0.1:{port}/%2f");
    tells(
        &findings(url, &ada).await,
        &["problem broker", "into the vhost"],
    );
    for (permissions, told) in [
        ([".*", ".*", "^$"], "read"),
        ([".*", "^$", ".*"], "write"),
        (["^$", ".*", ".*"], "configure"),
    ] {
        let [configure, write, read] = permissions;
        rabbit
            .ctl(&["set_permissions", "ada", configure, write, read])
            .await;
        let found = findings(url, &ada).await;
        tells(
            &found,
            &["problem", "ACCESS_REFUSED", told, "set_permissions"],
        );
    }
    rabbit
        .ctl(&["set_vm_memory_high_watermark", "absolute", "1"])
        .await;
    tells(
        &findings(url, &rabbit.url()).await,
        &["problem publishing", "alarm"],
    );
}
