use std::collections::BTreeMap;

use longshore::job::{JobId, State};
use longshore::store::{JobFilter, Page};

use super::world::{
    LONG, World, ZERO, die, ids, in_state, job_after, job_in, new_job, new_jobs, postpone, queue,
    retry, succeed,
};

pub(crate) async fn an_unknown_job_is_none(world: &World) {
    assert!(world.store.job(JobId::new()).await.unwrap().is_none());
}

/// A list shows what the single view shows, but for the attempts; and the view survives JSON.
pub(crate) async fn a_job_reads_the_same_everywhere(world: &World) {
    let failed = world.ended(new_job(), die("smtp_550")).await;
    let all = [
        world.ended(new_job(), succeed()).await,
        world.ended(new_job(), retry(LONG)).await,
        world.ended(new_job(), postpone(LONG)).await,
        world.running().await.0,
        failed,
    ];
    let page = Page {
        limit: 10,
        before: None,
    };
    let listed = world.store.list(&JobFilter::default(), page).await.unwrap();
    for id in all {
        let mut view = world.view(id).await;
        let json = serde_json::to_string(&view).unwrap();
        let read: longshore::job::JobView = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        view.attempts = None;
        let in_list = listed.iter().find(|listed| listed.id == id).unwrap();
        assert_eq!(
            serde_json::to_value(in_list).unwrap(),
            serde_json::to_value(&view).unwrap()
        );
    }
    assert_eq!(world.view(failed).await.attempts().len(), 1);
}

pub(crate) async fn the_attempt_is_that_of_the_current_run(world: &World) {
    let id = world.queued().await;
    let attempt = async || world.view(id).await.attempt;
    assert_eq!(attempt().await, 0);
    let mut claimed = world.won(id, 1).await;
    for failures in 1..=2 {
        assert_eq!(attempt().await, failures);
        assert!(world.record(id, &claimed, retry(ZERO)).await);
        assert_eq!(attempt().await, failures);
        world.promoted().await;
        assert_eq!(attempt().await, failures);
        claimed = world.won(id, failures as i32 + 1).await;
        assert_eq!(claimed.failures, failures);
    }
    assert!(world.record(id, &claimed, succeed()).await);
    let view = world.view(id).await;
    assert_eq!(view.attempt, 3);
    let outcomes: Vec<(u32, &str)> = view
        .attempts()
        .iter()
        .map(|attempt| (attempt.number, attempt.outcome.as_str()))
        .collect();
    assert_eq!(outcomes, [(1, "failed"), (2, "failed"), (3, "succeeded")]);
    let success = &view.attempts()[2];
    assert_eq!(success.worker.as_deref(), Some("host/1"));
    assert_eq!(success.started_at, Some(claimed.started_at));
    assert_eq!(Some(success.finished_at), view.finished_at);
    assert_eq!(success.error, None);
}

pub(crate) async fn finished_names_the_ended_and_the_unknown(world: &World) {
    let unknown = JobId::new();
    let succeeded = world.ended(new_job(), succeed()).await;
    let dead = world.ended(new_job(), die("x")).await;
    let scheduled = job_after(LONG);
    world.accept(std::slice::from_ref(&scheduled)).await;
    let live = [
        world.ended(new_job(), retry(LONG)).await,
        world.running().await.0,
        world.queued().await,
        scheduled.id,
    ];
    let asked = [&[unknown, succeeded], &live[..], &[dead]].concat();
    let mut finished = world.store.finished(&asked).await.unwrap();
    finished.sort();
    let mut expected = [unknown, succeeded, dead];
    expected.sort();
    assert_eq!(finished, expected);
}

pub(crate) async fn a_list_is_newest_first_in_pages(world: &World) {
    let jobs = new_jobs(7);
    world.accept(&jobs[3..]).await;
    world.accept(&jobs[..3]).await;
    let mut expected = ids(&jobs);
    expected.reverse();
    let mut found = Vec::new();
    let mut before = None;
    for size in [3, 3, 1, 0] {
        let page = Page { limit: 3, before };
        let views = world.store.list(&JobFilter::default(), page).await.unwrap();
        assert_eq!(views.len(), size);
        found.extend(views.iter().map(|view| view.id));
        before = found.last().copied();
    }
    assert_eq!(found, expected);
}

pub(crate) async fn every_part_of_a_filter_must_match(world: &World) {
    let email = world.queued().await;
    let payment = job_in("payment.charge", "payment");
    world.accept(std::slice::from_ref(&payment)).await;
    let refund = world
        .ended(job_in("payment.refund", "payment"), die("declined"))
        .await;
    let bounced = world.ended(new_job(), die("smtp_550")).await;
    let flaky = world.ended(new_job(), retry(LONG)).await;
    let any = JobFilter::default;
    let listed = |filter| world.list(filter);
    let in_queue = |name: &str| JobFilter {
        queues: vec![queue(name)],
        ..any()
    };
    assert_eq!(listed(any()).await.len(), 5);
    assert_eq!(listed(in_state(State::Queued)).await, [payment.id, email]);
    assert_eq!(listed(in_state(State::Cancelled)).await, []);
    let states = vec![State::Dead, State::Retrying];
    assert_eq!(
        listed(JobFilter { states, ..any() }).await,
        [flaky, bounced, refund]
    );
    assert_eq!(listed(in_queue("payment")).await, [refund, payment.id]);
    assert_eq!(listed(in_queue("nowhere")).await, []);
    let queues = vec![queue("payment"), queue("email")];
    assert_eq!(listed(JobFilter { queues, ..any() }).await.len(), 5);
    let kinds = vec!["payment.refund".parse().unwrap()];
    assert_eq!(listed(JobFilter { kinds, ..any() }).await, [refund]);
    let code = Some("smtp_550".to_owned());
    assert_eq!(listed(JobFilter { code, ..any() }).await, [bounced]);
    let wanted = vec![email, refund, JobId::new()];
    assert_eq!(
        listed(JobFilter {
            ids: wanted.clone(),
            ..any()
        })
        .await,
        [refund, email]
    );
    let all_parts = JobFilter {
        states: vec![State::Dead],
        queues: vec![queue("payment")],
        kinds: vec!["payment.refund".parse().unwrap()],
        code: Some("declined".to_owned()),
        ids: wanted,
        ..any()
    };
    assert_eq!(listed(all_parts.clone()).await, [refund]);
    let one_wrong = JobFilter {
        code: Some("smtp_550".to_owned()),
        ..all_parts
    };
    assert_eq!(listed(one_wrong).await, []);
}

pub(crate) async fn counts_are_by_queue_and_state(world: &World) {
    assert!(world.store.counts().await.unwrap().is_empty());
    world.accept(&new_jobs(2)).await;
    world
        .accept(&[job_after(LONG), job_in("payment.charge", "payment")])
        .await;
    world
        .ended(job_in("payment.charge", "payment"), succeed())
        .await;
    world
        .ended(job_in("payment.charge", "payment"), die("x"))
        .await;
    world.running().await;
    let counts = world.store.counts().await.unwrap();
    let counts: BTreeMap<String, BTreeMap<State, u64>> = counts
        .into_iter()
        .map(|counts| (counts.queue, counts.states))
        .collect();
    let email = [
        (State::Queued, 2),
        (State::Scheduled, 1),
        (State::Running, 1),
    ];
    let payment = [(State::Queued, 1), (State::Succeeded, 1), (State::Dead, 1)];
    let expected = BTreeMap::from([
        ("email".to_owned(), BTreeMap::from(email)),
        ("payment".to_owned(), BTreeMap::from(payment)),
    ]);
    assert_eq!(counts, expected);
}

pub(crate) async fn the_database_says_what_it_is(world: &World) {
    let version = world.store.version().await.unwrap();
    assert!(version.chars().any(|c| c.is_ascii_digit()), "{version}");
    assert!(!version.contains("://"), "{version}");
}

pub(crate) async fn the_clock_goes_forward(world: &World) {
    let first = world.store.now().await.unwrap();
    let view = world.view(world.queued().await).await;
    assert!(first <= view.created_at);
    assert!(view.created_at <= world.store.now().await.unwrap());
}
