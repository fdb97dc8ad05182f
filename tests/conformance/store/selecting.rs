use chrono::TimeDelta;
use longshore::job::{ErrorClass, JobError, JobId, NewJob, State, Transition, fingerprint};
use longshore::store::{JobFilter, Page};

use super::world::{LONG, World, die, ids, job_in, new_job, queue, retry, succeed};

fn any() -> JobFilter {
    JobFilter::default()
}

fn tagged(tags: &[&str]) -> NewJob {
    NewJob {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..new_job()
    }
}

fn with_tags(tags: &[&str]) -> JobFilter {
    JobFilter {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..any()
    }
}

/// One job in every state, in that order.
async fn one_in_each_state(world: &World, job: impl Fn() -> NewJob) -> Vec<JobId> {
    let scheduled = NewJob {
        start: longshore::job::Start::After(LONG),
        ..job()
    };
    let (queued, running, cancelled) = (job(), job(), job());
    let all = [scheduled, queued, running, cancelled];
    world.accept(&all).await;
    let [scheduled, queued, running, cancelled] = all;
    world.won(running.id, 1).await;
    world.store.cancel(cancelled.id, "x").await.unwrap();
    vec![
        scheduled.id,
        queued.id,
        running.id,
        world.ended(job(), retry(LONG)).await,
        world.ended(job(), succeed()).await,
        world.ended(job(), die("smtp_550")).await,
        cancelled.id,
    ]
}

pub(crate) async fn tags_are_found_in_every_state(world: &World) {
    let odd = r#"a"b\c,{}"#;
    let marked = one_in_each_state(world, || tagged(&["red", odd, "red"])).await;
    let plain = one_in_each_state(world, || tagged(&["blue"])).await;
    let mut expected = marked.clone();
    expected.sort();
    expected.reverse();
    for tags in [&["red"][..], &[odd], &["red", odd]] {
        assert_eq!(world.list(with_tags(tags)).await, expected, "{tags:?}");
    }
    for tags in [&["re"][..], &["red", "blue"], &["RED"]] {
        assert_eq!(world.list(with_tags(tags)).await, [], "{tags:?}");
    }
    for (id, state) in marked.iter().zip(State::ALL) {
        let states = vec![state];
        let filter = JobFilter {
            states,
            ..with_tags(&["red"])
        };
        assert_eq!(world.list(filter).await, [*id], "{state}");
    }
    assert_eq!(world.list(with_tags(&["blue"])).await.len(), plain.len());
    assert_eq!(world.prune_all().await, 6);
    assert_eq!(world.list(with_tags(&["red"])).await.len(), 4);
}

pub(crate) async fn several_kinds_and_queues_are_any_of_them(world: &World) {
    let mut all = one_in_each_state(world, || job_in("payment.charge", "payment")).await;
    all.extend(one_in_each_state(world, || job_in("payment.refund", "payment")).await);
    one_in_each_state(world, new_job).await;
    all.sort();
    all.reverse();
    let kind = |name: &str| name.parse().unwrap();
    let kinds = || {
        vec![
            kind("payment.refund"),
            kind("payment.charge"),
            kind("payment.charge"),
        ]
    };
    let by_kinds = JobFilter {
        kinds: kinds(),
        ..any()
    };
    assert_eq!(world.list(by_kinds.clone()).await, all);
    let by_queues = JobFilter {
        queues: vec![queue("payment"), queue("nowhere")],
        ..any()
    };
    assert_eq!(world.list(by_queues.clone()).await, all);
    let both = JobFilter {
        queues: vec![queue("email")],
        ..by_kinds.clone()
    };
    assert_eq!(world.list(both).await, []);
    // Pages are cut from the whole, not from each of its parts.
    for filter in [by_kinds, by_queues] {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = Page { limit: 3, before };
            let views = world.store.list(&filter, page).await.unwrap();
            found.extend(views.iter().map(|view| view.id));
            before = found.last().copied();
            if views.len() < 3 {
                break;
            }
        }
        assert_eq!(found, all);
    }
}

pub(crate) async fn times_are_those_of_acceptance(world: &World) {
    let jobs = [new_job(), new_job(), new_job()];
    for job in &jobs {
        world.accept(std::slice::from_ref(job)).await;
    }
    let [first, second, third] = ids(&jobs)[..] else {
        panic!("three")
    };
    let at = world.view(second).await.created_at;
    let since = JobFilter {
        since: Some(at),
        ..any()
    };
    assert_eq!(world.list(since.clone()).await, [third, second]);
    let until = JobFilter {
        until: Some(at),
        ..any()
    };
    assert_eq!(world.list(until).await, [first]);
    let both = JobFilter {
        until: Some(world.view(third).await.created_at),
        ..since
    };
    assert_eq!(world.list(both).await, [second]);
    let later = JobFilter {
        since: Some(at + TimeDelta::days(30)),
        ..any()
    };
    assert_eq!(world.list(later).await, []);
    let ever = JobFilter {
        since: "0000-01-01T00:00:00Z".parse().ok(),
        until: "9999-12-31T23:59:59Z".parse().ok(),
        ..any()
    };
    assert_eq!(world.list(ever).await.len(), 3);
}

fn died(code: &str, message: &str) -> Transition {
    Transition::Die {
        error: JobError::new(ErrorClass::Permanent, code, message),
    }
}

pub(crate) async fn errors_are_found_by_their_text(world: &World) {
    let full = world
        .ended(new_job(), died("smtp_552", "Mailbox 100% FULL_"))
        .await;
    let gone = world.ended(new_job(), died("smtp_550", "no mailbox")).await;
    world.ended(new_job(), succeed()).await;
    let by = |text: &str| JobFilter {
        error: Some(text.to_owned()),
        ..any()
    };
    for (text, expected) in [
        ("MAILBOX", vec![gone, full]),
        ("552: mailbox", vec![full]),
        ("100% full_", vec![full]),
        ("100_", vec![]),
        ("%", vec![full]),
        ("é", vec![]),
    ] {
        assert_eq!(world.list(by(text)).await, expected, "{text}");
    }
}

pub(crate) async fn the_dead_are_grouped_by_their_cause(world: &World) {
    let refused = |n: usize| died("refused", &format!("order {n} refused"));
    let mut orders = Vec::new();
    for n in 0..3 {
        orders.push(world.ended(new_job(), refused(n)).await);
    }
    let charge = job_in("payment.charge", "payment");
    let other_kind = world.ended(charge, refused(9)).await;
    let other_shape = world.ended(new_job(), died("refused", "no")).await;
    world.ended(new_job(), succeed()).await;
    let groups = world.store.dead_groups(&any(), 10, 0).await.unwrap();
    let found: Vec<(u64, JobId)> = groups.iter().map(|g| (g.count, g.sample)).collect();
    assert_eq!(found, [(3, orders[2]), (1, other_shape), (1, other_kind)]);
    let group = &groups[0];
    assert_eq!(
        (&group.kind[..], &group.code[..], &group.message[..]),
        ("email.send", "refused", "order 2 refused")
    );
    assert_eq!(
        Some(group.first_at),
        world.view(orders[0]).await.finished_at
    );
    assert_eq!(Some(group.last_at), world.view(orders[2]).await.finished_at);
    let print = fingerprint("email.send", "refused", "order 17 refused");
    assert_eq!(group.fingerprint, print);
    assert_eq!(world.view(orders[0]).await.fingerprint, Some(print.clone()));
    let by_print = JobFilter {
        fingerprint: Some(print),
        ..any()
    };
    let mut newest_first = orders.clone();
    newest_first.reverse();
    assert_eq!(world.list(by_print.clone()).await, newest_first);
    assert_eq!(world.store.count_dead(&by_print).await.unwrap(), 3);
    let one = world.store.dead_groups(&by_print, 10, 0).await.unwrap();
    assert_eq!(one, &groups[..1]);
    let first = world.store.dead_groups(&any(), 2, 0).await.unwrap();
    assert_eq!(first, groups[..2]);
    let rest = world.store.dead_groups(&any(), 10, 2).await.unwrap();
    assert_eq!(rest, groups[2..]);
}

pub(crate) async fn groups_are_made_of_what_a_pattern_picks(world: &World) {
    let mut orders = Vec::new();
    for n in 0..6 {
        let error = died("refused", &format!("order {n} refused"));
        orders.push(world.ended(new_job(), error).await);
    }
    let code = world.ended(new_job(), died("order_9", "late")).await;
    world.ended(new_job(), died("refused", "no")).await;
    world.ended(new_job(), succeed()).await;
    let picked = |pattern: &str| JobFilter {
        error_pattern: Some(pattern.to_owned()),
        ..any()
    };
    // As an error is shown: `code: message`.
    let filter = picked("^refused: order [135]|^order_");
    let groups = world.store.dead_groups(&filter, 10, 0).await.unwrap();
    let found: Vec<(u64, JobId)> = groups.iter().map(|g| (g.count, g.sample)).collect();
    assert_eq!(found, [(3, orders[5]), (1, code)]);
    assert_eq!(groups[0].message, "order 5 refused");
    let ended = async |id| world.view(id).await.finished_at;
    assert_eq!(Some(groups[0].first_at), ended(orders[1]).await);
    assert_eq!(Some(groups[0].last_at), ended(orders[5]).await);
    // What picks all is no pattern at all.
    let all = world.store.dead_groups(&any(), 10, 0).await.unwrap();
    let sifted = world.store.dead_groups(&picked(""), 10, 0).await.unwrap();
    assert_eq!(sifted, all);
    let rest = world.store.dead_groups(&picked(""), 10, 1).await.unwrap();
    assert_eq!(rest, all[1..]);
    let one = world.store.dead_groups(&picked(""), 1, 1).await.unwrap();
    assert_eq!(one, all[1..2]);
    let none = world.store.dead_groups(&picked("nothing"), 10, 0).await;
    assert_eq!(none.unwrap(), []);
}
