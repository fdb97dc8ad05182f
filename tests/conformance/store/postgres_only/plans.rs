//! Lists stay fast however many jobs are finished: they read about as many rows as they show,
//! also for values that are rare, and also where the planner knows nothing about the tables.

use longshore::job::{JobId, State, fingerprint};
use longshore::store::{JobFilter, Page};
use sqlx::PgConnection;

use super::super::world::{World, queue};
use super::{execute, world};

/// Finished jobs of the common sort; every thousandth of them is dead.
const JOBS: u64 = 100_000;
/// Rows that a page of 50 may read. A scan reads [`JOBS`].
const FEW: i64 = 1500;
/// Blocks of an index that a page may touch. All entries of a lane are 800.
const BLOCKS: i64 = 400;

/// Makes finished jobs, the oldest first, as the store keeps them. The very oldest have what is
/// looked for: whoever reads from the newest on reads them all.
async fn fill(connection: &mut PgConnection) {
    let rare = fingerprint("rare.kind", "rare_code", "it never will");
    let statement = format!(
        "CREATE TEMPORARY TABLE made AS
         SELECT n, n <= 3 AS rare, n <= 3 OR n % 1000 = 0 AS dead, n % 1000 = 1 AS cancelled,
                (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 100000 + n), 12, '0')
                 || '70008000' || lpad(to_hex(n), 12, '0'))::uuid AS id
         FROM generate_series(1, {JOBS}) n;
         INSERT INTO longshore.job (id, kind, queue, payload, high, tags, created_at)
         SELECT id, CASE WHEN rare THEN 'rare.kind' ELSE 'email.send' END,
                CASE WHEN rare THEN 'rare' ELSE 'email' END, '{{}}', false,
                CASE WHEN rare THEN '{{rare,common}}'::text[]
                     WHEN n % 10 = 0 THEN '{{common}}'::text[] ELSE '{{}}' END,
                now() - (100000 - n) * interval '1 millisecond'
         FROM made;
         INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded,
                                     finished_at, error_code, error_message, error_class,
                                     fingerprint, prompt)
         SELECT id, CASE WHEN rare THEN 'rare.kind' ELSE 'email.send' END,
                CASE WHEN rare THEN 'rare' ELSE 'email' END,
                CASE WHEN dead THEN 5 WHEN cancelled THEN 6 ELSE 4 END, 1, 1, 0, 0, now(),
                CASE WHEN rare THEN 'rare_code' WHEN dead THEN 'common_code' END,
                CASE WHEN dead THEN 'it never will' END, CASE WHEN dead THEN 'permanent' END,
                CASE WHEN rare THEN '{rare}' WHEN dead THEN '0000000000000000' END,
                NOT dead AND NOT cancelled AND n % 3 > 0
         FROM made;
         INSERT INTO longshore.tally (process, slot, accepted) VALUES (0, 99, {JOBS})"
    );
    execute(connection, statement).await;
}

/// Rows that all tables were read for since they were made.
pub(super) async fn rows_read(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT COALESCE(sum(seq_tup_read + COALESCE(idx_tup_fetch, 0)), 0)::bigint
         FROM pg_stat_user_tables WHERE schemaname = 'longshore'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// Blocks of the index of lanes that were touched: entries that are read and match nothing are
/// no rows.
async fn entries_read(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT COALESCE(sum(s.idx_blks_hit + s.idx_blks_read), 0)::bigint
         FROM pg_statio_user_indexes s WHERE s.indexrelname LIKE 'done%queue_kind_state%'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// How many jobs a list shows, and how many rows it reads for that. A server process reports
/// what it read when it ends, at the latest.
async fn cost(
    world: &World,
    connection: &mut PgConnection,
    filter: &JobFilter,
    before: Option<JobId>,
) -> (usize, i64) {
    let earlier = rows_read(connection).await;
    let store = world.elsewhere().await;
    let page = Page { limit: 50, before };
    let shown = store.list(filter, page).await.unwrap().len();
    store.close().await;
    (shown, rows_read_since(connection, earlier).await)
}

/// Waits until a server process that has ended has reported.
pub(super) async fn rows_read_since(connection: &mut PgConnection, earlier: i64) -> i64 {
    let mut read = rows_read(connection).await;
    for _ in 0..200 {
        if read > earlier {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        read = rows_read(connection).await;
    }
    read - earlier
}

fn cases() -> Vec<(&'static str, JobFilter, usize)> {
    let any = JobFilter::default;
    let rare = || vec!["rare.kind".parse().unwrap()];
    vec![
        ("nothing", any(), 50),
        (
            "a rare kind",
            JobFilter {
                kinds: rare(),
                ..any()
            },
            3,
        ),
        (
            "a rare queue",
            JobFilter {
                queues: vec![queue("rare")],
                ..any()
            },
            3,
        ),
        (
            "a rare queue and kind",
            JobFilter {
                queues: vec![queue("rare")],
                kinds: rare(),
                ..any()
            },
            3,
        ),
        (
            "a common queue",
            JobFilter {
                queues: vec![queue("email")],
                ..any()
            },
            50,
        ),
        (
            "a queue and a kind that do not go together",
            JobFilter {
                queues: vec![queue("email")],
                kinds: rare(),
                ..any()
            },
            0,
        ),
        (
            "a rare tag",
            JobFilter {
                tags: vec!["rare".to_owned()],
                ..any()
            },
            3,
        ),
        (
            "a common tag",
            JobFilter {
                tags: vec!["common".to_owned()],
                ..any()
            },
            50,
        ),
    ]
}

fn cases_of_errors() -> Vec<(&'static str, JobFilter, usize)> {
    let any = JobFilter::default;
    let print = fingerprint("rare.kind", "rare_code", "it never will");
    vec![
        (
            "a tag that nobody has",
            JobFilter {
                tags: vec!["none".to_owned()],
                ..any()
            },
            0,
        ),
        (
            "a rare code",
            JobFilter {
                code: Some("rare_code".to_owned()),
                ..any()
            },
            3,
        ),
        (
            "a common code",
            JobFilter {
                code: Some("common_code".to_owned()),
                ..any()
            },
            50,
        ),
        (
            "a text in the error",
            JobFilter {
                error: Some("RARE_CODE".to_owned()),
                ..any()
            },
            3,
        ),
        (
            "a fingerprint",
            JobFilter {
                fingerprint: Some(print),
                ..any()
            },
            3,
        ),
    ]
}

fn cases_of_states() -> Vec<(&'static str, JobFilter, usize)> {
    let any = JobFilter::default;
    let states = |state| vec![state];
    let rare = || vec!["rare.kind".parse().unwrap()];
    vec![
        (
            "the dead",
            JobFilter {
                states: states(State::Dead),
                ..any()
            },
            50,
        ),
        (
            "the cancelled",
            JobFilter {
                states: states(State::Cancelled),
                ..any()
            },
            50,
        ),
        (
            "the live",
            JobFilter {
                states: states(State::Queued),
                ..any()
            },
            0,
        ),
        (
            "the dead of a rare kind",
            JobFilter {
                states: states(State::Dead),
                kinds: rare(),
                ..any()
            },
            3,
        ),
        (
            "a rare kind among others",
            JobFilter {
                kinds: [rare(), vec!["no.kind".parse().unwrap()]].concat(),
                ..any()
            },
            3,
        ),
        (
            "those that succeeded of a common kind",
            JobFilter {
                states: states(State::Succeeded),
                kinds: vec!["email.send".parse().unwrap()],
                ..any()
            },
            50,
        ),
    ]
}

#[tokio::test]
async fn a_list_reads_about_as_many_rows_as_it_shows() {
    let (world, mut connection) = world().await;
    // The planner learns of the rows when it is told below, not before.
    for table in ["job_default", "done_default", "tag_default"] {
        let off = format!("ALTER TABLE longshore.{table} SET (autovacuum_enabled = false)");
        execute(&mut connection, off).await;
    }
    fill(&mut connection).await;
    let ids = "SELECT id FROM made ORDER BY id LIMIT 1 OFFSET 20000";
    let deep: uuid::Uuid = sqlx::query_scalar(ids)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    for known in [false, true] {
        if known {
            execute(&mut connection, "ANALYZE".to_owned()).await;
        }
        for (what, filter, expected) in [cases(), cases_of_errors(), cases_of_states()].concat() {
            let earlier = entries_read(&mut connection).await;
            let (shown, read) = cost(&world, &mut connection, &filter, None).await;
            let blocks = entries_read(&mut connection).await - earlier;
            if filter.tags.is_empty() && filter.code.is_none() {
                assert!(blocks <= BLOCKS, "{what}: {blocks} blocks of the index");
            }
            assert_eq!(shown, expected, "{what}");
            assert!(
                read <= FEW,
                "{what}, analysed {known}: {read} rows for {shown}"
            );
        }
        let any = JobFilter::default();
        let before = Some(JobId::from(deep));
        let (shown, read) = cost(&world, &mut connection, &any, before).await;
        assert!(
            shown == 50 && read <= FEW,
            "a deep page: {read} rows for {shown}"
        );
    }
    world.close().await;
}
