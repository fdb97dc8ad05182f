use chrono::TimeDelta;
use longshore::job::{JobId, ProcessId, Standing, State};
use longshore::store::{Claim, ClaimRequest};

use super::world::{
    LONG, World, at_once, ids, job_after, new_job, new_jobs, patiently, retry, succeed,
};

fn request(id: JobId, dispatch: i32) -> ClaimRequest {
    ClaimRequest {
        id,
        dispatch,
        over_epoch: None,
    }
}

fn over(id: JobId, dispatch: i32, epoch: i32) -> ClaimRequest {
    ClaimRequest {
        over_epoch: Some(epoch),
        ..request(id, dispatch)
    }
}

fn is_won(claim: &Claim) -> bool {
    matches!(claim, Claim::Won(_))
}

async fn claim_one(world: &World, process: ProcessId, request: ClaimRequest) -> Claim {
    let mut claims = world.store.claim(process, &[request]).await.unwrap();
    claims.remove(0)
}

pub(crate) async fn a_claim_tells_all_about_the_run(world: &World) {
    let job = new_job();
    let before = world.store.now().await.unwrap();
    world.accept(std::slice::from_ref(&job)).await;
    let claimed = world.won(job.id, 1).await;
    assert_eq!(claimed.owner, world.process);
    assert_eq!(claimed.epoch, 1);
    assert_eq!((claimed.failures, claimed.crashes), (0, 0));
    assert_eq!(claimed.max_attempts, None);
    assert_eq!(claimed.postponed_for, None);
    assert!(before <= claimed.created_at);
    assert_eq!(claimed.created_at, claimed.queued_at);
    assert!(claimed.queued_at <= claimed.started_at);
    assert!(claimed.started_at < before + TimeDelta::hours(1));
    let view = world.view(job.id).await;
    assert_eq!(view.state, State::Running);
    assert_eq!(view.created_at, claimed.created_at);
    assert_eq!(view.started_at, Some(claimed.started_at));
}

pub(crate) async fn one_of_many_claimers_wins(world: &World) {
    let id = world.queued().await;
    let mut processes = vec![world.process];
    for n in 2..=5 {
        processes.push(world.register(&format!("host/{n}")).await);
    }
    let claims = at_once(world, 50, |store, n| {
        let process = processes[n % processes.len()];
        async move {
            let requests = [request(id, 1)];
            patiently(|| store.claim(process, &requests))
                .await
                .remove(0)
        }
    })
    .await;
    let won: Vec<_> = claims
        .iter()
        .filter_map(|claim| match claim {
            Claim::Won(claimed) => Some(claimed.clone()),
            Claim::Lost(_) => None,
        })
        .collect();
    assert_eq!(won.len(), 1, "{won:?}");
    let standing = world.lost(id, 1).await;
    assert_eq!((standing.owner, standing.epoch), (Some(won[0].owner), 1));
}

pub(crate) async fn another_dispatch_loses(world: &World) {
    let id = world.ended(new_job(), retry(LONG)).await;
    let retrying = Standing {
        state: State::Retrying,
        dispatch: 1,
        epoch: 1,
        owner: None,
    };
    assert_eq!(world.lost(id, 1).await, retrying);
    let queued = world.queued().await;
    let standing = Standing {
        state: State::Queued,
        dispatch: 1,
        epoch: 0,
        owner: None,
    };
    for dispatch in [0, 2, -1, i32::MAX] {
        assert_eq!(world.lost(queued, dispatch).await, standing);
    }
    world.won(queued, 1).await;
}

pub(crate) async fn an_unknown_job_is_lost_to_nobody(world: &World) {
    let claim = world.claim(world.process, JobId::new(), 1).await;
    assert_eq!(claim, Claim::Lost(None));
}

pub(crate) async fn a_running_job_is_lost_to_its_owner(world: &World) {
    let (id, claimed) = world.running().await;
    let standing = Standing {
        state: State::Running,
        dispatch: 1,
        epoch: claimed.epoch,
        owner: Some(world.process),
    };
    assert_eq!(world.lost(id, 1).await, standing);
    let other = world.register("host/2").await;
    assert_eq!(world.claim(other, id, 1).await, Claim::Lost(Some(standing)));
    assert!(world.record(id, &claimed, succeed()).await);
    assert_eq!(
        world.lost(id, 1).await.owner,
        None,
        "owned only while it runs"
    );
}

pub(crate) async fn the_second_of_two_equal_requests_loses(world: &World) {
    let id = world.queued().await;
    let twice = [request(id, 1), request(id, 1)];
    let claims = world.store.claim(world.process, &twice).await.unwrap();
    assert!(is_won(&claims[0]));
    let Claim::Lost(Some(standing)) = &claims[1] else {
        panic!("{claims:?}");
    };
    assert_eq!((standing.state, standing.epoch), (State::Running, 1));
    assert_eq!(world.store.owned(world.process).await.unwrap(), [(id, 1)]);
}

pub(crate) async fn answers_come_in_the_order_of_the_requests(world: &World) {
    let jobs = new_jobs(30);
    world.accept(&jobs).await;
    let requests: Vec<ClaimRequest> = (0..30)
        .rev()
        .map(|n| match n % 3 {
            0 => request(jobs[n].id, 1),
            1 => request(jobs[n].id, 2),
            _ => request(JobId::new(), 1),
        })
        .collect();
    let claims = world.store.claim(world.process, &requests).await.unwrap();
    assert_eq!(claims.len(), 30);
    for (claim, n) in claims.iter().zip((0..30).rev()) {
        match n % 3 {
            0 => assert!(is_won(claim), "{n}: {claim:?}"),
            1 => assert!(matches!(claim, Claim::Lost(Some(_))), "{n}: {claim:?}"),
            _ => assert_eq!(*claim, Claim::Lost(None), "{n}"),
        }
    }
}

pub(crate) async fn a_lost_reply_is_claimed_over(world: &World) {
    let (id, first) = world.running().await;
    let claim = claim_one(world, world.process, over(id, 1, first.epoch)).await;
    let Claim::Won(second) = claim else {
        panic!("{claim:?}");
    };
    assert_eq!(second.epoch, first.epoch + 1);
    assert!(second.started_at >= first.started_at);
    assert!(
        !world.record(id, &first, succeed()).await,
        "the first is fenced off"
    );
    assert!(world.record(id, &second, succeed()).await);
    let queued = world.queued().await;
    let claim = claim_one(world, world.process, over(queued, 1, 7)).await;
    assert!(is_won(&claim), "a queued row is won all the same");
}

pub(crate) async fn nobody_else_claims_over_an_epoch(world: &World) {
    let (id, claimed) = world.running().await;
    let other = world.register("host/2").await;
    for (process, request) in [
        (other, over(id, 1, claimed.epoch)),
        (world.process, over(id, 1, claimed.epoch + 1)),
        (world.process, over(id, 1, claimed.epoch - 1)),
        (world.process, over(id, 2, claimed.epoch)),
    ] {
        let claim = claim_one(world, process, request).await;
        assert!(!is_won(&claim), "{request:?}");
    }
    assert!(world.record(id, &claimed, succeed()).await);
    let claim = claim_one(world, world.process, over(id, 1, claimed.epoch)).await;
    assert!(!is_won(&claim), "it has ended");
}

pub(crate) async fn a_dead_process_wins_nothing(world: &World) {
    let id = world.queued().await;
    let retired = world.register("host/2").await;
    world.store.retire(retired).await.unwrap();
    let buried = world.register("host/3").await;
    let counter = world.counter(buried).await;
    world.store.bury(buried, counter).await.unwrap().unwrap();
    for dead in [retired, buried] {
        let Claim::Lost(Some(standing)) = world.claim(dead, id, 1).await else {
            panic!("a dead process won");
        };
        assert_eq!((standing.state, standing.dispatch), (State::Queued, 1));
        assert_eq!(world.claim(dead, JobId::new(), 1).await, Claim::Lost(None));
    }
    world.won(id, 1).await;
}

pub(crate) async fn a_process_that_never_was_wins_nothing(world: &World) {
    let id = world.queued().await;
    let claim = world.claim(ProcessId(world.process.0 + 1000), id, 1).await;
    assert!(matches!(claim, Claim::Lost(Some(_))), "{claim:?}");
}

pub(crate) async fn owned_says_what_runs(world: &World) {
    let other = world.register("host/2").await;
    let jobs = new_jobs(4);
    world.accept(&jobs).await;
    world.accept(&[job_after(LONG)]).await;
    for (n, job) in jobs[..3].iter().enumerate() {
        let process = if n == 1 { other } else { world.process };
        assert!(is_won(&world.claim(process, job.id, 1).await));
    }
    let mut mine = world.store.owned(world.process).await.unwrap();
    mine.sort();
    assert_eq!(mine, [(jobs[0].id, 1), (jobs[2].id, 1)]);
    assert_eq!(world.store.owned(other).await.unwrap(), [(jobs[1].id, 1)]);
    assert_eq!(ids(&jobs).len(), 4);
    assert!(world.store.owned(ProcessId(0)).await.unwrap().is_empty());
}
