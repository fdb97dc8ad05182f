use longshore::job::{Claimed, JobId, JobView, RunProgress};
use longshore::store::{Fence, JobFilter, Page, ProgressNote};

use super::world::{LONG, World, ZERO, new_job, retry, succeed};

fn note(id: JobId, claimed: &Claimed, fraction: f64, message: &str) -> ProgressNote {
    ProgressNote {
        fence: Fence {
            id,
            owner: claimed.owner,
            epoch: claimed.epoch,
        },
        progress: RunProgress::new(fraction, message),
    }
}

async fn said(world: &World, notes: &[ProgressNote]) {
    world.store.note_progress(notes).await.unwrap();
}

fn shown(view: &JobView) -> Option<(f64, String)> {
    let progress = view.progress.as_ref()?;
    Some((progress.fraction, progress.message.clone()))
}

pub(crate) async fn the_last_word_of_a_run_is_shown(world: &World) {
    said(world, &[]).await;
    let (first, one) = world.running().await;
    let (second, two) = world.running().await;
    let (silent, _) = world.running().await;
    assert_eq!(shown(&world.view(first).await), None);
    said(
        world,
        &[note(first, &one, 0.1, "begun"), note(second, &two, 1.0, "")],
    )
    .await;
    said(world, &[note(first, &one, 0.4, "page 4 \u{1f40c}")]).await;
    let page = Some((0.4, "page 4 \u{1f40c}".to_owned()));
    let view = world.view(first).await;
    assert_eq!(shown(&view), page);
    assert!(view.progress.unwrap().at <= world.store.now().await.unwrap());
    let all = Page {
        limit: 10,
        before: None,
    };
    let listed = world.store.list(&JobFilter::default(), all).await.unwrap();
    assert_eq!(listed.len(), 3);
    for listed in listed {
        let expected = match listed.id {
            id if id == first => page.clone(),
            id if id == second => Some((1.0, String::new())),
            id => {
                assert_eq!(id, silent);
                None
            }
        };
        assert_eq!(shown(&listed), expected);
    }
}

pub(crate) async fn it_is_gone_with_the_run_and_belongs_to_no_other(world: &World) {
    let (id, run) = world.running().await;
    said(world, &[note(id, &run, 0.5, "half")]).await;
    assert!(world.record(id, &run, retry(ZERO)).await);
    assert_eq!(shown(&world.view(id).await), None);
    world.store.promote_due(10, LONG).await.unwrap();
    let next = world.won(id, 2).await;
    assert_eq!(shown(&world.view(id).await), None, "it begins anew");
    said(world, &[note(id, &next, 0.2, "again")]).await;
    said(world, &[note(id, &run, 0.9, "a zombie")]).await;
    let again = Some((0.2, "again".to_owned()));
    assert_eq!(shown(&world.view(id).await), again);
    assert!(world.record(id, &next, succeed()).await);
    said(world, &[note(id, &next, 1.0, "late")]).await;
    assert_eq!(shown(&world.view(id).await), None);
}

pub(crate) async fn what_ended_runs_said_is_pruned_and_nothing_else(world: &World) {
    let (running, run) = world.running().await;
    said(world, &[note(running, &run, 0.3, "under way")]).await;
    let ended = world.ended(new_job(), succeed()).await;
    world.prune_all().await;
    assert!(world.store.job(ended).await.unwrap().is_none());
    let view = world.view(running).await;
    assert_eq!(shown(&view), Some((0.3, "under way".to_owned())));
}
