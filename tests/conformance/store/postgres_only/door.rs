//! `longshore.submit`: a job in the app's own transaction.

use std::time::Duration;

use longshore::config::Queues;
use longshore::job::{JobId, State};
use longshore::store::admits;
use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use super::super::world::{LONG, World, eventually, queue, succeed};
use super::{execute, world};

const MAIL: &str = r#"'{"to": ["a@example.org"]}'"#;

pub(super) async fn door() -> (World, PgConnection) {
    let (world, connection) = world().await;
    let kinds = [
        ("email.send".parse().unwrap(), queue("email")),
        ("payment.charge".parse().unwrap(), queue("payment")),
    ];
    world.store.announce_kinds(&kinds).await.unwrap();
    (world, connection)
}

pub(super) async fn try_submit(
    connection: &mut PgConnection,
    arguments: &str,
) -> sqlx::Result<JobId> {
    let sql = format!("SELECT longshore.submit({arguments})");
    let id: uuid::Uuid = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await?;
    Ok(JobId::from(id))
}

pub(super) async fn submit(connection: &mut PgConnection, arguments: &str) -> JobId {
    try_submit(connection, arguments).await.unwrap()
}

pub(super) async fn accepted(world: &World) -> u64 {
    world.balanced().await;
    world.store.tally().await.unwrap().accepted
}

#[tokio::test]
async fn a_submission_is_a_job_like_any_other() {
    let (world, mut app) = door().await;
    let id = submit(&mut app, &format!("'email.send', {MAIL}")).await;
    let entries = eventually(async || {
        let entries = world.leased().await;
        (!entries.is_empty()).then_some(entries)
    })
    .await;
    let publication = &entries[0].publications[0];
    assert_eq!((publication.id, publication.dispatch), (id, 1));
    assert_eq!(publication.queue, queue("email"));
    assert_eq!(&publication.payload[..], br#"{"to": ["a@example.org"]}"#);
    let claimed = world.won(id, 1).await;
    assert!(world.record(id, &claimed, succeed()).await);
    assert_eq!(world.view(id).await.state, State::Succeeded);
    assert_eq!(accepted(&world).await, 1);
    world.close().await;
}

#[tokio::test]
async fn every_argument_is_kept() {
    let (world, mut app) = door().await;
    let arguments = format!(
        "kind => 'email.send', payload => {MAIL}, delay => '1 hour', priority => 'high',
         max_attempts => 3, tags => ARRAY['a', 'b c']"
    );
    let id = submit(&mut app, &arguments).await;
    let job = world.view(id).await;
    assert_eq!(job.state, State::Scheduled);
    assert_eq!(job.max_attempts, Some(3));
    assert_eq!(job.tags, ["a", "b c"]);
    assert!(job.priority.is_high());
    let wait = job.run_at.unwrap() - job.created_at;
    assert_eq!(wait.num_seconds(), 3600);
    let at = "'email.send', '{}', run_at => '2020-01-01 00:00:00+00'";
    let past = submit(&mut app, at).await;
    assert_eq!(world.view(past).await.state, State::Queued, "it has passed");
    world.close().await;
}

/// The job lives and dies with the transaction, and so does its count.
#[tokio::test]
async fn what_is_rolled_back_never_was() {
    let (world, mut app) = door().await;
    execute(&mut app, "BEGIN".to_owned()).await;
    let gone = submit(
        &mut app,
        &format!("'email.send', {MAIL}, idempotency_key => 'k'"),
    )
    .await;
    assert!(world.store.job(gone).await.unwrap().is_none());
    assert!(world.leased().await.is_empty());
    execute(&mut app, "ROLLBACK".to_owned()).await;
    assert!(world.store.job(gone).await.unwrap().is_none());
    assert_eq!(accepted(&world).await, 0);
    execute(&mut app, "BEGIN".to_owned()).await;
    let first = submit(
        &mut app,
        &format!("'email.send', {MAIL}, idempotency_key => 'k'"),
    )
    .await;
    execute(&mut app, "SAVEPOINT s".to_owned()).await;
    let undone = submit(
        &mut app,
        &format!("'email.send', {MAIL}, idempotency_key => 'l'"),
    )
    .await;
    execute(&mut app, "ROLLBACK TO s".to_owned()).await;
    let last = submit(&mut app, "'payment.charge', '{}'").await;
    execute(&mut app, "COMMIT".to_owned()).await;
    let mut published: Vec<JobId> = world
        .leased()
        .await
        .iter()
        .flat_map(|entry| &entry.publications)
        .map(|publication| publication.id)
        .collect();
    published.sort_unstable();
    assert_eq!(published, [first, last]);
    assert!(world.store.job(undone).await.unwrap().is_none());
    assert_eq!(accepted(&world).await, 2);
    world.close().await;
}

#[tokio::test]
async fn a_thousand_of_one_transaction_are_in_order_and_stay_counted() {
    let (world, mut app) = door().await;
    let sql = "SELECT longshore.submit('email.send', '{}') FROM generate_series(1, 1000)";
    let rows = sqlx::query(sql).fetch_all(&mut app).await.unwrap();
    let ids: Vec<uuid::Uuid> = rows.iter().map(|row| row.get(0)).collect();
    assert!(ids.is_sorted(), "ids sort by creation");
    assert!(ids.iter().all(|id| id.get_version_num() == 7));
    let (seconds, _) = ids[0].get_timestamp().unwrap().to_unix();
    let now = world.store.now().await.unwrap().timestamp();
    assert!(now.abs_diff(i64::try_from(seconds).unwrap()) < 60);
    assert_eq!(accepted(&world).await, 1000);
    // Folded into the tally by whoever prunes.
    world.prune_all().await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM longshore.submitted")
        .fetch_one(&mut app)
        .await
        .unwrap();
    assert_eq!(left, 0);
    assert_eq!(accepted(&world).await, 1000);
    world.close().await;
}

#[tokio::test]
async fn a_key_is_one_job_and_another_body_is_refused() {
    let (world, mut app) = door().await;
    let keyed = |rest: &str| format!("'email.send', {MAIL}, idempotency_key => 'order-1'{rest}");
    let first = submit(&mut app, &keyed("")).await;
    assert_eq!(submit(&mut app, &keyed("")).await, first);
    // The same JSON, written otherwise.
    let otherwise = "'email.send', '{ \"to\" : [\"a@example.org\"]}', idempotency_key => 'order-1'";
    assert_eq!(submit(&mut app, otherwise).await, first);
    let error = try_submit(&mut app, &keyed(", priority => 'high'"))
        .await
        .unwrap_err();
    let error = error.as_database_error().unwrap();
    assert_eq!(error.code().as_deref(), Some("23505"));
    assert!(error.message().contains("idempotency_key"), "{error}");
    assert_eq!(accepted(&world).await, 1);
    world.close().await;
}

/// The same arguments are the same whatever a pooled connection's settings are.
#[tokio::test]
async fn a_key_does_not_depend_on_the_session() {
    let (world, mut app) = door().await;
    let timed = [
        "delay => '26 hours', idempotency_key => 'delayed'",
        "run_at => '2040-07-01 12:00:00+00', idempotency_key => 'timed'",
    ];
    for timed in timed {
        let arguments = format!("'email.send', '{{}}', {timed}");
        let first = submit(&mut app, &arguments).await;
        for (zone, style) in [
            ("UTC", "iso_8601"),
            ("Asia/Kathmandu", "postgres_verbose"),
            ("America/New_York", "sql_standard"),
        ] {
            let settings = format!("SET TimeZone = '{zone}'; SET IntervalStyle = '{style}'");
            execute(&mut app, settings).await;
            assert_eq!(submit(&mut app, &arguments).await, first, "{zone}, {style}");
        }
        execute(&mut app, "RESET ALL".to_owned()).await;
        let other = arguments
            .replace("26 hours", "27 hours")
            .replace("12:00", "12:01");
        let error = try_submit(&mut app, &other).await.unwrap_err();
        let code = error.as_database_error().and_then(DatabaseError::code);
        assert_eq!(code.as_deref(), Some("23505"), "{other}");
    }
    world.close().await;
}

/// All but one wait for its transaction; its end decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_at_once_is_one_job() {
    let (world, mut first) = door().await;
    let arguments = format!("'email.send', {MAIL}, idempotency_key => 'order-1'");
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(
            PgConnection::connect(&world_url(&mut first).await)
                .await
                .unwrap(),
        );
    }
    execute(&mut first, "BEGIN".to_owned()).await;
    let undone = submit(&mut first, &arguments).await;
    let waiting = others.into_iter().map(|mut connection| {
        let arguments = arguments.clone();
        tokio::spawn(async move { submit(&mut connection, &arguments).await })
    });
    let waiting: Vec<_> = waiting.collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    execute(&mut first, "ROLLBACK".to_owned()).await;
    let mut ids = Vec::new();
    for submitted in waiting {
        ids.push(submitted.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_ne!(ids[0], undone);
    assert_eq!(accepted(&world).await, 1);
    world.close().await;
}

async fn world_url(connection: &mut PgConnection) -> String {
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(connection)
        .await
        .unwrap();
    let mut url = url::Url::parse(&std::env::var("TEST_DATABASE_URL").unwrap()).unwrap();
    url.set_path(&name);
    url.into()
}

/// A role that may do nothing but call the function, and a search path that lies in wait for it.
#[tokio::test]
async fn a_role_needs_no_more_than_the_function() {
    let (world, mut app) = door().await;
    let role = format!("app_{}", uuid::Uuid::now_v7().simple());
    let grants = format!(
        "CREATE ROLE {role};
         GRANT USAGE ON SCHEMA longshore TO {role};
         GRANT EXECUTE ON FUNCTION longshore.submit TO {role};
         CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO {role};
         CREATE FUNCTION trap.sha256(bytea) RETURNS bytea LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION ''trapped''; END';
         SET search_path = trap, pg_catalog;
         SET ROLE {role}"
    );
    execute(&mut app, grants).await;
    let id = submit(&mut app, "'email.send', '{}', idempotency_key => 'k'").await;
    for forbidden in [
        "SELECT 1 FROM longshore.job",
        "INSERT INTO longshore.submitted (accepted) VALUES (7)",
        "SELECT longshore.take_key('a', 'b', '', gen_random_uuid(), now())",
    ] {
        let error = sqlx::query(forbidden).execute(&mut app).await.unwrap_err();
        let code = error.as_database_error().and_then(DatabaseError::code);
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}");
    }
    let clean = format!("RESET ROLE; RESET search_path; DROP OWNED BY {role}; DROP ROLE {role}");
    execute(&mut app, clean).await;
    assert!(world.store.job(id).await.unwrap().is_some());
    world.close().await;
}

/// An open transaction of an app must not hold up anybody: not acceptance, not pruning, not
/// another app.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_holds_up_nobody() {
    let (world, mut first) = door().await;
    let mut second = PgConnection::connect(&world_url(&mut first).await)
        .await
        .unwrap();
    let patience = Duration::from_secs(20);
    let work = async {
        for connection in [&mut first, &mut second] {
            execute(connection, "BEGIN".to_owned()).await;
            submit(connection, "'email.send', '{}'").await;
        }
        for _ in 0..32 {
            world.queued().await;
        }
        world.prune_all().await;
        world.store.lease_outbox(1000, LONG).await.unwrap()
    };
    assert_eq!(tokio::time::timeout(patience, work).await.unwrap().len(), 0);
    for connection in [&mut first, &mut second] {
        execute(connection, "COMMIT".to_owned()).await;
    }
    assert_eq!(accepted(&world).await, 34);
    world.close().await;
}

#[tokio::test]
async fn a_kind_moves_to_the_queue_announced_last() {
    let (world, mut app) = door().await;
    let moved = [("email.send".parse().unwrap(), queue("bulk"))];
    world.store.announce_kinds(&moved).await.unwrap();
    let id = submit(&mut app, "'email.send', '{}'").await;
    assert_eq!(world.view(id).await.queue, queue("bulk"));
    submit(&mut app, "'payment.charge', '{}'").await;
    world.close().await;
}

#[tokio::test]
async fn what_the_documentation_shows_works() {
    let (world, mut app) = door().await;
    let page = include_str!("../../../../docs/doors.md");
    let example = page.split("```sql\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    execute(&mut app, example.to_owned()).await;
    assert_eq!(accepted(&world).await, 1);
    for argument in [
        "run_at",
        "delay",
        "priority",
        "max_attempts",
        "tags",
        "idempotency_key",
    ] {
        assert!(page.contains(&format!("| `{argument}` |")), "{argument}");
    }
    world.close().await;
}

/// In a rolling deploy a program meets kinds that only a newer one knows.
#[tokio::test]
async fn a_kind_is_admitted_where_some_version_has_announced_it() {
    let (world, _connection) = world().await;
    let resize = "image.resize".parse().unwrap();
    let own = Queues::built_in();
    let admitted = async |name: &str| {
        let admitted = admits(&*world.store, &own, &resize, &queue(name)).await;
        admitted.unwrap().map_err(|junk| junk.code)
    };
    assert_eq!(admitted("images").await, Err("unknown_kind"));
    let newer = [(resize.clone(), queue("images"))];
    world.store.announce_kinds(&newer).await.unwrap();
    assert_eq!(admitted("images").await, Ok(()));
    assert_eq!(admitted("email").await, Err("wrong_queue"));
    world.close().await;
}
