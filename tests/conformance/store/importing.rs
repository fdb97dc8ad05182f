//! Dead letters that come back from a file, and errors that are found by a pattern.

use chrono::{TimeDelta, Utc};
use longshore::job::{AttemptView, JobError, JobId, Priority, State};
use longshore::store::{
    Action, AuditFilter, Deed, JobFilter, NewLetter, NewOperation, Operated, OperationState,
};

use super::world::{
    World, ZERO, die, failure, in_state, new_job, new_operation, queue, retry, step_by,
};
use longshore::job::{ErrorClass, Transition};

pub(crate) fn letter(id: JobId) -> NewLetter {
    let long_ago = Utc::now() - TimeDelta::days(300);
    let attempt = |number| AttemptView {
        number,
        worker: Some("host/7".to_owned()),
        started_at: None,
        finished_at: long_ago,
        outcome: "failed".to_owned(),
        error: Some(failure("flaky")),
    };
    NewLetter {
        id,
        kind: "email.send".parse().unwrap(),
        queue: queue("email"),
        payload: br#"{"to":["a@example.org"]}"#.to_vec(),
        original_payload: None,
        priority: Priority::High,
        tags: vec!["n7".to_owned()],
        max_attempts: Some(5),
        created_at: long_ago,
        error: JobError::new(ErrorClass::Permanent, "smtp_550", "no such user"),
        attempts: vec![attempt(4), attempt(9)],
    }
}

async fn import(world: &World, letters: &[NewLetter]) -> Vec<bool> {
    let imported = world.store.import(letters, "ada", "letters.jsonl").await;
    imported.unwrap()
}

pub(crate) async fn an_imported_letter_is_a_dead_job_again(world: &World) {
    let id = JobId::new();
    assert_eq!(import(world, &[letter(id)]).await, [true]);
    let job = world.view(id).await;
    assert_eq!(
        (job.state, job.attempt, job.max_attempts),
        (State::Dead, 2, Some(5))
    );
    assert_eq!(
        (job.priority, &job.tags[..]),
        (Priority::High, &["n7".to_owned()][..])
    );
    assert_eq!(job.payload.get(), r#"{"to":["a@example.org"]}"#);
    let numbers: Vec<u32> = job.attempts().iter().map(|run| run.number).collect();
    assert_eq!(numbers, [1, 2], "numbered anew");
    let now = world.store.now().await.unwrap();
    let kept = now - job.finished_at.unwrap();
    assert!(kept < TimeDelta::hours(1), "its retention begins anew");
    let tagged = JobFilter {
        tags: vec!["n7".to_owned()],
        ..JobFilter::default()
    };
    assert_eq!(world.list(tagged).await, [id]);
    assert_eq!(world.store.tally().await.unwrap().accepted, 1);
    world.balanced().await;
    assert_eq!(
        world.store.requeue(id, None, "ada").await.unwrap(),
        Operated::Done
    );
    let claimed = world.won(id, 1).await;
    assert_eq!(claimed.failures, 0);
    assert!(world.record(id, &claimed, retry(ZERO)).await);
    assert_eq!(world.view(id).await.attempts().len(), 3);
}

pub(crate) async fn what_is_there_is_left_alone(world: &World) {
    let (live, _) = world.running().await;
    let done = world.ended(new_job(), super::world::succeed()).await;
    let new = JobId::new();
    let batch = [letter(done), letter(new), letter(live), letter(new)];
    let answers = import(world, &batch).await;
    assert_eq!(answers, [false, true, false, false]);
    assert_eq!(import(world, &batch).await, [false; 4]);
    assert_eq!(world.view(live).await.state, State::Running);
    assert_eq!(world.view(done).await.state, State::Succeeded);
    assert_eq!(world.store.tally().await.unwrap().accepted, 3);
    let entries = world.store.audit(&AuditFilter::default(), 10, None).await;
    let entries = entries.unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(
        (entries[0].deed, &entries[0].target[..]),
        (Deed::Import, "letters.jsonl")
    );
    assert_eq!(entries[0].detail["imported"], 1);
}

/// A message from before the purge must not pass for one of the imported job.
pub(crate) async fn a_purged_job_comes_back_beyond_its_dispatches(world: &World) {
    let id = world.ended(new_job(), die("smtp_550")).await;
    let by = step_by(10);
    world
        .store
        .begin(&new_operation(Action::Purge))
        .await
        .unwrap();
    world.store.advance(&by, None).await.unwrap().unwrap();
    assert_eq!(import(world, &[letter(id)]).await, [true]);
    let tally = world.store.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.pruned, tally.dead), (2, 1, 1));
    world.store.requeue(id, None, "ada").await.unwrap();
    assert_eq!(world.lost(id, 1).await.dispatch, 2);
    world.won(id, 2).await;
}

pub(crate) async fn a_pattern_selects_by_the_whole_error(world: &World) {
    let mut dead = Vec::new();
    for n in 0..6 {
        let error = JobError::new(
            ErrorClass::Permanent,
            "smtp_550",
            &format!("user {n} unknown"),
        );
        dead.push(world.ended(new_job(), Transition::Die { error }).await);
    }
    world.ended(new_job(), super::world::succeed()).await;
    let by = |pattern: &str| JobFilter {
        error_pattern: Some(pattern.to_owned()),
        ..JobFilter::default()
    };
    let even = by("^smtp_550: user [024] ");
    assert_eq!(world.list(even.clone()).await, [dead[4], dead[2], dead[0]]);
    assert_eq!(world.store.count_dead(&even).await.unwrap(), 3);
    assert_eq!(world.store.count_dead(&by("nobody")).await.unwrap(), 0);
    assert!(
        world.store.count_dead(&by("(")).await.is_err(),
        "nothing is widened"
    );
    let operation = NewOperation {
        filter: even,
        limit: Some(2),
        ..new_operation(Action::Requeue)
    };
    let begun = world.store.begin(&operation).await.unwrap();
    assert_eq!(begun.matched, 2);
    let steps = step_by(1);
    let mut stands = begun;
    while stands.state == OperationState::Running {
        let advance = world.store.advance(&steps, None).await.unwrap();
        stands = advance.expect("it goes on").operation;
    }
    assert_eq!((stands.done, stands.skipped), (2, 0));
    let left = world.list(in_state(State::Dead)).await;
    assert_eq!(left, [dead[5], dead[4], dead[3], dead[1]]);
}
