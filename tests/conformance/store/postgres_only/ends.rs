//! How a job's end is kept: in as few indexes as can be, and pruned whatever its id says.

use longshore::job::{JobId, NewJob, State, fingerprint};
use longshore::store::{JobFilter, Page, Retention};
use uuid::Uuid;

use super::super::world::{LONG, World, ZERO, job_in, new_job, queue, succeed};
use super::{execute, world};

/// What every success is entered in, at a cost for each job. Whatever else is asked of `done`
/// has to do with these, or with an index of what is rare.
const FOR_EVERY_SUCCESS: [&str; 2] = ["done_lane", "done_pkey"];

#[tokio::test]
async fn a_prompt_success_is_entered_in_two_indexes() {
    let (world, mut connection) = world().await;
    let indexes: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT c.relname::text, pg_get_expr(i.indpred, i.indrelid)
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         WHERE i.indrelid = 'longshore.done'::regclass ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let rare = ["(state = 5)", "(state = 6)", "(NOT prompt)"];
    let is_rare = |predicate: &Option<String>| {
        predicate
            .as_deref()
            .is_some_and(|text| rare.contains(&text))
    };
    let all: Vec<&str> = indexes
        .iter()
        .filter(|(_, predicate)| !is_rare(predicate))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(all, FOR_EVERY_SUCCESS, "{indexes:?}");
    world.close().await;
}

/// An id as the clock of another machine would make it.
fn id_of(seconds_ahead: i64) -> JobId {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let seconds = now.as_secs().checked_add_signed(seconds_ahead).unwrap();
    let stamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, now.subsec_nanos());
    JobId::from(Uuid::new_v7(stamp))
}

async fn prune_after(world: &World, age: std::time::Duration) -> u64 {
    let all = Retention {
        queue: None,
        finished: age,
        dead: age,
    };
    world.store.prune(&[], &all).await.unwrap()
}

async fn end_of(world: &World, id: JobId) {
    world.ended(NewJob { id, ..new_job() }, succeed()).await;
}

#[tokio::test]
async fn a_success_is_pruned_whatever_clock_its_id_was_made_by() {
    let (world, mut connection) = world().await;
    let (late, ahead) = (id_of(-3600), id_of(3600));
    for id in [late, ahead] {
        end_of(&world, id).await;
    }
    let prompt = "SELECT count(*) FROM longshore.done WHERE prompt";
    let prompt: i64 = sqlx::query_scalar(prompt)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(prompt, 0, "their ids do not tell when they ended");
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(prune_after(&world, hour).await, 0);
    assert_eq!(prune_after(&world, ZERO).await, 2);
    world.close().await;
}

#[tokio::test]
async fn a_prompt_success_is_pruned_by_its_id() {
    let (world, mut connection) = world().await;
    let id = world.ended(new_job(), succeed()).await;
    // Made so, should this machine have stood still for 10 s.
    let prompt = format!(
        "UPDATE longshore.done SET prompt = true WHERE id = '{}'",
        id.uuid()
    );
    execute(&mut connection, prompt).await;
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(prune_after(&world, hour).await, 0);
    assert_eq!(prune_after(&world, ZERO).await, 1);
    world.close().await;
}

/// Dead letters of two queues, two of the second.
async fn bury(connection: &mut sqlx::PgConnection) {
    let print = fingerprint("common.kind", "x", "y");
    let statement = format!(
        "CREATE TEMPORARY TABLE made AS
         SELECT n, CASE WHEN n <= 2 THEN 'rare' ELSE 'common' END AS name,
                (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 5000 + n), 12, '0')
                 || '70008000' || lpad(to_hex(n), 12, '0'))::uuid AS id
         FROM generate_series(1, 5000) n;
         INSERT INTO longshore.job (id, kind, queue, payload, high, tags, created_at)
         SELECT id, name || '.kind', name, '{{}}', false, '{{}}', now() FROM made;
         INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded,
                                     finished_at, error_code, error_message, error_class,
                                     fingerprint)
         SELECT id, name || '.kind', name, 5, 1, 1, 0, 0, now(), 'x', 'y', 'permanent', '{print}'
         FROM made;
         INSERT INTO longshore.tally (process, slot, accepted) VALUES (0, 99, 5000);
         ANALYZE"
    );
    execute(connection, statement).await;
}

#[tokio::test]
async fn the_few_dead_of_a_queue_or_kind_are_found_among_the_many() {
    let (world, mut connection) = world().await;
    bury(&mut connection).await;
    let of_queue = JobFilter {
        queues: vec![queue("rare")],
        ..JobFilter::default()
    };
    let of_kind = JobFilter {
        kinds: vec!["rare.kind".parse().unwrap()],
        ..JobFilter::default()
    };
    for filter in [of_queue, of_kind] {
        let before = super::plans::rows_read(&mut connection).await;
        let store = world.elsewhere().await;
        assert_eq!(store.count_dead(&filter).await.unwrap(), 2);
        let dead = JobFilter {
            states: vec![State::Dead],
            ..filter
        };
        let page = Page {
            limit: 50,
            before: None,
        };
        assert_eq!(store.list(&dead, page).await.unwrap().len(), 2);
        store.close().await;
        let read = super::plans::rows_read_since(&mut connection, before).await;
        assert!(read <= 100, "{read} rows for two");
    }
    world.close().await;
}

#[tokio::test]
async fn pruning_one_queue_does_not_read_the_prompt_of_another() {
    let (world, mut connection) = world().await;
    bury(&mut connection).await;
    let prompt = "UPDATE longshore.done SET state = 4, fingerprint = NULL, prompt = true; ANALYZE longshore.done";
    execute(&mut connection, prompt.to_owned()).await;
    let id = world.ended(job_in("a.b", "short"), succeed()).await;
    let prompt = format!(
        "UPDATE longshore.done SET prompt = true WHERE id = '{}'",
        id.uuid()
    );
    execute(&mut connection, prompt).await;
    let keep = |name: Option<&str>, finished| Retention {
        queue: name.map(queue),
        finished,
        dead: LONG,
    };
    let before = super::plans::rows_read(&mut connection).await;
    let store = world.elsewhere().await;
    let pruned = store
        .prune(&[keep(Some("short"), ZERO)], &keep(None, LONG))
        .await;
    store.close().await;
    assert_eq!(pruned.unwrap(), 1);
    let read = super::plans::rows_read_since(&mut connection, before).await;
    assert!(read <= 2500, "{read} rows read for one");
    world.close().await;
}
