use longshore::job::{JobId, State};
use longshore::store::{Action, Edit, Operated};

use super::world::{LONG, World, die, new_job, published, retry, succeed};

async fn requeue(world: &World, id: JobId, payload: Option<&str>) -> Operated {
    let edit = payload.map(|payload| Edit {
        payload: payload.as_bytes().to_vec(),
    });
    let store = &world.store;
    store.requeue(id, edit.as_ref(), "cli:ada").await.unwrap()
}

pub(crate) async fn the_dead_and_the_cancelled_are_sent_back(world: &World) {
    let dead = world.ended(new_job(), die("smtp_550")).await;
    let cancelled = world.queued().await;
    world.store.cancel(cancelled, "somebody").await.unwrap();
    for id in [dead, cancelled] {
        assert_eq!(requeue(world, id, None).await, Operated::Done);
        let view = world.view(id).await;
        assert_eq!((view.state, view.finished_at), (State::Queued, None));
        assert_eq!((view.fingerprint, view.cancel_requested), (None, false));
        let entries = world.leased().await;
        assert_eq!(entries.len(), 1, "due at once");
        assert_eq!(published(&entries[0].publications), [(id, 2)]);
        let again = world.won(id, 2).await;
        assert_eq!((again.failures, again.crashes), (0, 0));
        assert!(world.record(id, &again, succeed()).await);
    }
    assert_eq!(world.view(dead).await.attempt, 2, "numbered on");
    let done = world.store.operations(10, None).await.unwrap();
    let actions: Vec<Action> = done.iter().map(|operation| operation.action).collect();
    assert_eq!(actions, [Action::Requeue, Action::Requeue, Action::Cancel]);
    assert_eq!(done[0].created_by, "cli:ada");
}

pub(crate) async fn an_edited_payload_is_kept_beside_the_first(world: &World) {
    let id = world.ended(new_job(), die("smtp_550")).await;
    let first = world.view(id).await.payload.get().to_owned();
    assert!(world.view(id).await.original_payload.is_none());
    for payload in [r#"{"to":["b@example.org"]}"#, r#"{"to":[  "\u0000"]}"#] {
        assert_eq!(requeue(world, id, Some(payload)).await, Operated::Done);
        let view = world.view(id).await;
        assert_eq!(view.payload.get(), payload);
        assert_eq!(view.original_payload.as_ref().unwrap().get(), first);
        assert_eq!(view.edited_by.as_deref(), Some("cli:ada"));
        assert!(view.edited_at.is_some());
        let entry = world.leased().await.pop().unwrap();
        let publication = &entry.publications[0];
        assert_eq!(&publication.payload[..], payload.as_bytes());
        let claimed = world.won(id, publication.dispatch).await;
        assert!(world.record(id, &claimed, die("again")).await);
    }
    assert_eq!(requeue(world, id, None).await, Operated::Done);
    let view = world.view(id).await;
    assert!(view.edited_at.is_some(), "an edit stays on record");
}

pub(crate) async fn only_what_is_dead_or_cancelled_is_sent_back(world: &World) {
    for (id, state) in [
        (world.ended(new_job(), succeed()).await, State::Succeeded),
        (world.ended(new_job(), retry(LONG)).await, State::Retrying),
        (world.running().await.0, State::Running),
        (world.queued().await, State::Queued),
    ] {
        let before = world.view(id).await.payload.get().to_owned();
        let answer = requeue(world, id, Some("{}")).await;
        assert_eq!(answer, Operated::Refused(state));
        assert_eq!(world.view(id).await.state, state);
        assert_eq!(world.view(id).await.payload.get(), before);
    }
    assert_eq!(requeue(world, JobId::new(), None).await, Operated::Unknown);
}
