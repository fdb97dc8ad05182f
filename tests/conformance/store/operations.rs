use std::collections::BTreeSet;
use std::time::Duration;

use longshore::job::{JobId, State, UniqueKey};
use longshore::store::{
    Action, Advance, Begun, JobFilter, NewOperation, Operated, Operation, OperationCommand,
    OperationState, StepBy,
};

use super::world::{
    World, ZERO, at_once, die, in_state, job_in, new_job, new_operation, patiently, published,
    queue, step_by, succeed,
};

async fn dead(world: &World, count: usize) -> Vec<JobId> {
    let mut dead = Vec::new();
    for _ in 0..count {
        dead.push(world.ended(new_job(), die("smtp_550")).await);
    }
    dead
}

async fn begin(world: &World, action: Action) -> Operation {
    world.store.begin(&new_operation(action)).await.unwrap()
}

async fn step(world: &World, by: &StepBy) -> Option<Advance> {
    world.store.advance(by, None).await.unwrap()
}

fn sent(advance: &Advance) -> Vec<JobId> {
    let entry = advance.entry.as_ref();
    let publications = entry.map(|entry| published(&entry.publications));
    let ids = publications.unwrap_or_default().into_iter();
    ids.map(|(id, _)| id).collect()
}

pub(crate) async fn an_operation_goes_step_by_step_oldest_first(world: &World) {
    let dead = dead(world, 5).await;
    let begun = begin(world, Action::Requeue).await;
    assert_eq!((begun.state, begun.matched), (OperationState::Running, 5));
    assert_eq!(begun.created_by, "somebody");
    let by = step_by(2);
    for (expected, done, state) in [
        (&dead[..2], 2, OperationState::Running),
        (&dead[2..4], 4, OperationState::Running),
        (&dead[4..], 5, OperationState::Done),
    ] {
        let advance = step(world, &by).await.unwrap();
        assert_eq!(sent(&advance), expected);
        assert_eq!(
            (advance.operation.done, advance.operation.state),
            (done, state)
        );
    }
    assert!(step(world, &by).await.is_none());
    let stands = world.store.operation(begun.id).await.unwrap().unwrap();
    assert_eq!((stands.done, stands.skipped, stands.failed), (5, 0, 0));
    assert!(stands.finished_at.is_some());
    assert_eq!(world.store.operations(10, None).await.unwrap(), [stands]);
    let older = world.store.operations(10, Some(begun.id)).await.unwrap();
    assert_eq!(older, []);
}

pub(crate) async fn beginning_twice_begins_once(world: &World) {
    dead(world, 2).await;
    let operation = new_operation(Action::Requeue);
    let first = world.store.begin(&operation).await.unwrap();
    let by = step_by(1);
    step(world, &by).await.unwrap();
    let again = world.store.begin(&operation).await.unwrap();
    assert_eq!((again.id, again.matched, again.done), (first.id, 2, 1));
    assert_eq!(world.store.operations(10, None).await.unwrap().len(), 1);
}

pub(crate) async fn one_executor_at_a_time_has_an_operation(world: &World) {
    dead(world, 6).await;
    begin(world, Action::Requeue).await;
    let (first, second) = (step_by(2), step_by(2));
    assert!(step(world, &first).await.is_some());
    assert!(step(world, &second).await.is_none(), "it is held");
    let brief = StepBy {
        hold: ZERO,
        ..first
    };
    assert!(step(world, &brief).await.is_some());
    assert!(step(world, &second).await.is_some(), "it was let go");
}

/// What the dead executor took last may not be on the broker: it comes first, and once.
pub(crate) async fn who_takes_over_gets_the_last_batch_again(world: &World) {
    let dead = dead(world, 4).await;
    begin(world, Action::Requeue).await;
    let gone = StepBy {
        hold: ZERO,
        ..step_by(2)
    };
    let last = step(world, &gone).await.unwrap();
    let next = step_by(2);
    let again = step(world, &next).await.unwrap();
    assert_eq!(sent(&again), sent(&last));
    assert_eq!(again.operation.done, 2, "nothing was done twice");
    world
        .store
        .settle_outbox(&[again.entry.unwrap().id])
        .await
        .unwrap();
    let rest = step(world, &next).await.unwrap();
    assert_eq!(sent(&rest), dead[2..]);
    assert!(step(world, &next).await.is_none() || rest.operation.done == 4);
}

pub(crate) async fn what_was_published_is_not_given_again(world: &World) {
    let dead = dead(world, 4).await;
    begin(world, Action::Requeue).await;
    let gone = StepBy {
        hold: ZERO,
        ..step_by(2)
    };
    let last = step(world, &gone).await.unwrap();
    world
        .store
        .settle_outbox(&[last.entry.unwrap().id])
        .await
        .unwrap();
    let rest = step(world, &step_by(10)).await.unwrap();
    assert_eq!(sent(&rest), dead[2..]);
}

pub(crate) async fn what_dies_again_is_not_sent_back_twice(world: &World) {
    let dead = dead(world, 3).await;
    begin(world, Action::Requeue).await;
    let by = step_by(2);
    step(world, &by).await.unwrap();
    for id in &dead[..2] {
        let claimed = world.won(*id, 2).await;
        assert!(world.record(*id, &claimed, die("again")).await);
    }
    let newcomer = world.ended(new_job(), die("smtp_550")).await;
    let rest = step(world, &by).await.unwrap();
    assert_eq!(sent(&rest), dead[2..]);
    assert_eq!(rest.operation.state, OperationState::Done);
    for id in [dead[0], dead[1], newcomer] {
        assert_eq!(world.view(id).await.state, State::Dead);
    }
}

pub(crate) async fn what_others_took_is_skipped(world: &World) {
    let dead = dead(world, 4).await;
    let begun = begin(world, Action::Requeue).await;
    let answer = world.store.requeue(dead[1], None, "x").await.unwrap();
    assert_eq!(answer, Operated::Done);
    let advance = step(world, &step_by(10)).await.unwrap();
    assert_eq!(sent(&advance), [dead[0], dead[2], dead[3]]);
    let stands = world.store.operation(begun.id).await.unwrap().unwrap();
    assert_eq!((stands.matched, stands.done), (4, 3));
}

pub(crate) async fn an_operation_does_what_its_filter_says(world: &World) {
    let emails = dead(world, 3).await;
    let payment = job_in("payment.charge", "payment");
    let payment = world.ended(payment, die("declined")).await;
    let operation = NewOperation {
        filter: JobFilter {
            queues: vec![queue("email")],
            states: vec![State::Succeeded],
            ..JobFilter::default()
        },
        limit: Some(2),
        ..new_operation(Action::Requeue)
    };
    let begun = world.store.begin(&operation).await.unwrap();
    assert_eq!((begun.matched, begun.limit), (2, Some(2)));
    assert_eq!(begun.filter.as_ref(), Some(&operation.filter));
    let advance = step(world, &step_by(10)).await.unwrap();
    assert_eq!(sent(&advance), emails[..2], "dead ones, whatever it says");
    assert_eq!(advance.operation.state, OperationState::Done);
    assert_eq!(world.view(payment).await.state, State::Dead);
    assert_eq!(world.view(emails[2]).await.state, State::Dead);
}

pub(crate) async fn a_rate_is_kept(world: &World) {
    dead(world, 4).await;
    let operation = NewOperation {
        rate: Some(0.001),
        ..new_operation(Action::Requeue)
    };
    world.store.begin(&operation).await.unwrap();
    let by = step_by(10);
    let first = step(world, &by).await.unwrap();
    assert_eq!(
        first.operation.done, 1,
        "a second's worth, but at least one"
    );
    assert!(
        step(world, &by).await.is_none(),
        "the next is due in 1000 s"
    );
    assert!(step(world, &step_by(10)).await.is_none());
    let quick = NewOperation {
        rate: Some(1_000_000.0),
        ..new_operation(Action::Requeue)
    };
    let quick = world.store.begin(&quick).await.unwrap();
    let advance = world.store.advance(&by, Some(quick.id)).await.unwrap();
    assert_eq!(advance.unwrap().operation.done, 3);
}

pub(crate) async fn an_operation_can_be_paused_and_cancelled(world: &World) {
    dead(world, 6).await;
    let begun = begin(world, Action::Requeue).await;
    let by = step_by(2);
    step(world, &by).await.unwrap();
    let command = async |command| {
        let stands = world.store.command(begun.id, command, "cli:ada").await;
        stands.unwrap().unwrap()
    };
    let paused = command(OperationCommand::Pause).await;
    assert_eq!(paused.state, OperationState::Paused);
    assert_eq!(paused.changed_by.as_deref(), Some("cli:ada"));
    assert!(paused.changed_at.is_some());
    assert!(step(world, &by).await.is_none());
    let resumed = command(OperationCommand::Resume).await;
    assert_eq!(resumed.state, OperationState::Running);
    assert_eq!(step(world, &by).await.unwrap().operation.done, 4);
    let cancelled = command(OperationCommand::Cancel).await;
    assert_eq!(
        (cancelled.state, cancelled.done),
        (OperationState::Cancelled, 4)
    );
    assert!(cancelled.finished_at.is_some());
    assert!(step(world, &by).await.is_none());
    assert_eq!(command(OperationCommand::Resume).await, cancelled);
    let nobody = longshore::store::OperationId::new();
    let nothing = world
        .store
        .command(nobody, OperationCommand::Pause, "x")
        .await;
    assert_eq!(nothing.unwrap(), None);
}

pub(crate) async fn the_purged_stay_in_the_balance(world: &World) {
    let dead = dead(world, 3).await;
    let kept = world.ended(new_job(), succeed()).await;
    begin(world, Action::Purge).await;
    let advance = step(world, &step_by(2)).await.unwrap();
    assert!(advance.entry.is_none());
    assert_eq!(advance.operation.done, 2);
    let tally = world.store.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.dead, tally.pruned), (4, 1, 2));
    assert!(world.store.job(dead[0]).await.unwrap().is_none());
    assert!(world.store.job(kept).await.unwrap().is_some());
    assert_eq!(world.list(JobFilter::default()).await, [kept, dead[2]]);
}

/// An old copy of a purged job's message must not pass for one whose job the store has lost.
pub(crate) async fn the_purged_are_not_adopted_again(world: &World) {
    let id = world.queued().await;
    let publication = world.store.publication(id, 1).await.unwrap().unwrap();
    let claimed = world.won(id, 1).await;
    assert!(world.record(id, &claimed, die("smtp_550")).await);
    begin(world, Action::Purge).await;
    step(world, &step_by(10)).await.unwrap();
    let standing = world.lost(id, 1).await;
    assert_eq!((standing.state, standing.dispatch), (State::Dead, 1));
    let restored = world.store.restore(world.process, &publication).await;
    assert!(!restored.unwrap());
    assert_eq!(world.prune_all().await, 0);
    assert_eq!(world.lost(id, 1).await.dispatch, 1, "still known");
    assert_eq!(world.store.tally().await.unwrap().accepted, 1);
}

pub(crate) async fn many_executors_do_each_job_once(world: &World) {
    let dead = dead(world, 40).await;
    begin(world, Action::Requeue).await;
    let steps = at_once(world, 6, |store, n| async move {
        let by = StepBy {
            hold: Duration::from_millis(n as u64),
            ..step_by(3)
        };
        let mut mine = Vec::new();
        loop {
            if let Some(advance) = patiently(|| store.advance(&by, None)).await {
                if let Some(entry) = &advance.entry {
                    mine.extend(published(&entry.publications));
                    let entries = [entry.id];
                    patiently(|| store.settle_outbox(&entries)).await;
                }
                continue;
            }
            let all = patiently(|| store.operations(1, None)).await;
            if all[0].state == OperationState::Done {
                return mine;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    // A batch that was taken over before it was settled is published by both.
    let sent: BTreeSet<(JobId, i32)> = steps.into_iter().flatten().collect();
    let expected: BTreeSet<(JobId, i32)> = dead.iter().map(|id| (*id, 2)).collect();
    assert_eq!(sent, expected, "each under one dispatch");
    let stands = &world.store.operations(1, None).await.unwrap()[0];
    assert_eq!((stands.done, stands.matched), (40, 40));
    assert!(world.leased().await.is_empty());
}

pub(crate) async fn a_key_begins_one_operation(world: &World) {
    let dead = dead(world, 2).await;
    let key = |scope: &str, print: &[u8]| UniqueKey {
        scope: scope.to_owned(),
        key: "mend-1".to_owned(),
        fingerprint: print.to_vec(),
    };
    let once = async |scope: &str, print: &[u8]| {
        let operation = new_operation(Action::Requeue);
        let begun = world.store.begin_once(&operation, &key(scope, print)).await;
        begun.unwrap()
    };
    let Begun::Now(first) = once("desk", b"x").await else {
        panic!("the key is new");
    };
    step(world, &step_by(10)).await.unwrap();
    match once("desk", b"x").await {
        Begun::Before(before) => assert_eq!((before.id, before.done), (first.id, 2)),
        other => panic!("{other:?}"),
    }
    assert_eq!(once("desk", b"y").await, Begun::KeyReused);
    assert!(matches!(once("shop", b"x").await, Begun::Now(_)));
    assert_eq!(world.store.operations(10, None).await.unwrap().len(), 2);
    let begun = at_once(world, 8, |store, _| async move {
        let key = UniqueKey {
            scope: "race".to_owned(),
            key: "one".to_owned(),
            fingerprint: Vec::new(),
        };
        let operation = new_operation(Action::Purge);
        let begun = patiently(|| store.begin_once(&operation, &key)).await;
        matches!(begun, Begun::Now(_))
    })
    .await;
    assert_eq!(begun.into_iter().filter(|now| *now).count(), 1);
    assert_eq!(dead.len(), 2);
}

/// One that this program cannot read (a newer one began it) neither selects more than it says nor
/// stands in the way of the others.
pub(crate) async fn an_operation_that_fails_lets_the_others_pass(world: &World) {
    let dead = dead(world, 2).await;
    let odd = begin(world, Action::Purge).await;
    let hex = odd.id.to_string().replace('-', "");
    let filter = r#"{"queue": ["email"], "planet": "mars"}"#;
    world
        .tamper(
            &format!("UPDATE longshore.operation SET filter = '{filter}'"),
            &format!("UPDATE operation SET filter = '{filter}' WHERE id = x'{hex}'"),
        )
        .await;
    let by = step_by(10);
    assert!(world.store.advance(&by, None).await.is_err());
    assert_eq!(world.list(in_state(State::Dead)).await.len(), 2);
    begin(world, Action::Requeue).await;
    let advance = step(world, &by).await.unwrap();
    assert_eq!(sent(&advance), dead);
    // It is seen, and whoever sees it can put an end to it.
    let all = world.store.operations(10, None).await.unwrap();
    let readable: Vec<bool> = all.iter().map(|one| one.filter.is_some()).collect();
    assert_eq!(readable, [true, false]);
    let cancel = OperationCommand::Cancel;
    let stands = world.store.command(odd.id, cancel, "somebody").await;
    let stands = stands.unwrap().unwrap();
    assert_eq!(
        (stands.state, stands.filter, stands.done),
        (OperationState::Cancelled, None, 0)
    );
}
