//! Random histories against a model: several processes do whatever they may, in any order, and
//! after each step the store must agree with the model and have kept the state machine.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use longshore::job::{
    Claimed, JobId, NewJob, Priority, ProcessId, Publication, State, Transition, UniqueKey,
};
use longshore::store::{
    Beat, Claim, ClaimRequest, DeadLetter, Inserted, JobFilter, OutboxEntry, Page,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::world::{
    LONG, World, ZERO, die, failure, job_after, new_job, postpone, queue, record, retry, succeed,
};

const STEPS: usize = 150;

pub(crate) async fn random_histories_keep_the_rules(world: &World) {
    let seed: u64 = std::env::var("LONGSHORE_TEST_SEED")
        .map_or_else(|_| rand::rng().random(), |text| text.parse().unwrap());
    let mut history = History::begin(world, seed).await;
    for step in 0..STEPS {
        history.at = format!("LONGSHORE_TEST_SEED={seed}, step {step}");
        history.step().await;
        history.check().await;
    }
}

/// What the store is expected to hold.
struct History<'w> {
    world: &'w World,
    random: StdRng,
    /// Where to look when an assertion fails.
    at: String,
    alive: Vec<ProcessId>,
    dead: Vec<ProcessId>,
    jobs: BTreeMap<JobId, Model>,
    /// Every claim that was ever won, most of them stale.
    claims: Vec<(JobId, Claimed)>,
    /// Owner and epoch of every run that has not ended.
    running: HashMap<JobId, (ProcessId, i32)>,
    keys: HashMap<String, JobId>,
    accepted: u64,
    pruned: u64,
    /// Every job's state as the store showed it after the last step.
    seen: BTreeMap<JobId, State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Model {
    state: State,
    dispatch: i32,
}

impl<'w> History<'w> {
    async fn begin(world: &'w World, seed: u64) -> Self {
        let mut alive = vec![world.process];
        for n in 2..=3 {
            alive.push(world.register(&format!("host/{n}")).await);
        }
        Self {
            world,
            random: StdRng::seed_from_u64(seed),
            at: String::new(),
            alive,
            dead: Vec::new(),
            jobs: BTreeMap::new(),
            claims: Vec::new(),
            running: HashMap::new(),
            keys: HashMap::new(),
            accepted: 0,
            pruned: 0,
            seen: BTreeMap::new(),
        }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..20 => self.insert().await,
            20..45 => self.claim().await,
            45..70 => self.record().await,
            70..78 => self.promote().await,
            78..82 => self.requeue().await,
            82..86 => self.lease().await,
            86..88 => self.republish().await,
            88..91 => self.restore().await,
            91..93 => self.insert_dead().await,
            93..97 => self.end_process().await,
            97..99 => self.beat().await,
            _ => self.prune().await,
        }
    }

    fn any_process(&mut self) -> ProcessId {
        let zombie = !self.dead.is_empty() && self.random.random_ratio(1, 8);
        let processes = if zombie { &self.dead } else { &self.alive };
        *processes.choose(&mut self.random).unwrap()
    }

    /// One that exists, mostly.
    fn any_job(&mut self) -> JobId {
        let known: Vec<JobId> = self.jobs.keys().copied().collect();
        match known.choose(&mut self.random) {
            Some(id) if self.random.random_ratio(19, 20) => *id,
            _ => JobId::new(),
        }
    }

    /// The job's own dispatch, mostly.
    fn any_dispatch(&mut self, id: JobId) -> i32 {
        let dispatch = self.jobs.get(&id).map_or(1, |job| job.dispatch);
        match self.random.random_range(0..10) {
            0 => dispatch - 1,
            1 => dispatch + 1,
            _ => dispatch,
        }
    }

    async fn insert(&mut self) {
        let mut batch = Vec::new();
        for _ in 0..self.random.random_range(1..5) {
            let mut job = match self.random.random_range(0..4) {
                0 => job_after(LONG),
                1 => job_after(Duration::from_millis(3)),
                _ => new_job(),
            };
            if self.random.random_ratio(1, 3) {
                job.unique = Some(UniqueKey {
                    scope: "app".to_owned(),
                    key: self.random.random_range(0..6).to_string(),
                    fingerprint: vec![u8::from(self.random.random_ratio(1, 4))],
                });
            }
            batch.push(job);
        }
        let process = self.any_process();
        let store = &self.world.store;
        let insertion = store.insert(process, &batch, ZERO).await.unwrap();
        for (job, answer) in batch.into_iter().zip(insertion.jobs) {
            self.inserted(job, &answer);
        }
    }

    fn inserted(&mut self, job: NewJob, answer: &Inserted) {
        let key = job.unique.map(|unique| unique.key);
        let earlier = key.as_ref().and_then(|key| self.keys.get(key)).copied();
        match (answer, earlier) {
            (Inserted::Accepted { state, .. }, None) => {
                self.accepted += 1;
                let dispatch = i32::from(*state == State::Queued);
                let model = Model {
                    state: *state,
                    dispatch,
                };
                self.jobs.insert(job.id, model);
                self.keys.extend(key.map(|key| (key, job.id)));
            }
            (Inserted::Replayed { id } | Inserted::KeyReused { id }, Some(earlier)) => {
                assert_eq!(*id, earlier, "{}", self.at);
            }
            other => panic!("{other:?}, {}", self.at),
        }
    }

    async fn claim(&mut self) {
        let process = self.any_process();
        let requests: Vec<ClaimRequest> = (0..self.random.random_range(1..5))
            .map(|_| {
                let id = self.any_job();
                let over = self.running.get(&id).map(|(_, epoch)| *epoch);
                ClaimRequest {
                    id,
                    dispatch: self.any_dispatch(id),
                    over_epoch: over.filter(|_| self.random.random_ratio(1, 5)),
                }
            })
            .collect();
        let answers = self.world.store.claim(process, &requests).await.unwrap();
        let mut claimed_here = HashSet::new();
        for (request, answer) in requests.into_iter().zip(answers) {
            let job = self.jobs.get(&request.id).copied();
            let free = job.is_some_and(|job| match job.state {
                State::Queued => true,
                // A second request for what this very batch has claimed loses.
                State::Running => {
                    !claimed_here.contains(&request.id)
                        && request.over_epoch.map(|epoch| (process, epoch))
                            == self.running.get(&request.id).copied()
                }
                _ => false,
            });
            let to_be_had = free
                && job.is_some_and(|job| job.dispatch == request.dispatch)
                && self.alive.contains(&process);
            match answer {
                Claim::Won(claimed) => {
                    assert!(to_be_had, "{request:?} won {job:?}, {}", self.at);
                    claimed_here.insert(request.id);
                    self.won(request.id, claimed);
                }
                Claim::Lost(standing) => {
                    assert!(!to_be_had, "{request:?} lost {job:?}, {}", self.at);
                    assert_eq!(standing.is_some(), job.is_some(), "{}", self.at);
                }
            }
        }
    }

    fn won(&mut self, id: JobId, claimed: Claimed) {
        let fence = (claimed.owner, claimed.epoch);
        let used = |(job, other): &(JobId, Claimed)| *job == id && other.epoch >= claimed.epoch;
        assert!(!self.claims.iter().any(used), "an epoch twice, {}", self.at);
        self.running.insert(id, fence);
        self.claims.push((id, claimed));
        self.jobs
            .entry(id)
            .and_modify(|job| job.state = State::Running);
    }

    async fn record(&mut self) {
        let mut records = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            // The late ones are likelier to be running still.
            let recent = self.claims.len().saturating_sub(8);
            let from = if self.random.random_ratio(1, 4) {
                0
            } else {
                recent
            };
            if let Some((id, claimed)) = self.claims[from..].choose(&mut self.random) {
                let ends = [
                    succeed(),
                    retry(ZERO),
                    retry(LONG),
                    postpone(ZERO),
                    die("x"),
                    Transition::HandBack,
                ];
                let end = ends.choose(&mut self.random).unwrap();
                records.push(record(*id, claimed, end.clone()));
            }
        }
        let answers = self.world.store.record(&records).await.unwrap();
        for (record, written) in records.into_iter().zip(answers) {
            let fence = (record.owner, record.epoch);
            let holds = self.running.get(&record.id) == Some(&fence);
            assert_eq!(written, holds, "{record:?}, {}", self.at);
            if written {
                self.running.remove(&record.id);
                let state = record.transition.target();
                self.jobs
                    .entry(record.id)
                    .and_modify(|job| job.state = state);
            }
        }
    }

    /// A new dispatch of jobs that were in one of `from`.
    fn dispatched_anew(&mut self, entry: Option<OutboxEntry>, from: &[State]) {
        for publication in entry.into_iter().flat_map(|entry| entry.publications) {
            let job = self.jobs.get_mut(&publication.id).expect("a known job");
            assert!(from.contains(&job.state), "{job:?}, {}", self.at);
            assert_eq!(publication.dispatch, job.dispatch + 1, "{}", self.at);
            job.state = State::Queued;
            job.dispatch += 1;
        }
    }

    async fn promote(&mut self) {
        let limit = self.random.random_range(1..10);
        let entry = self.world.store.promote_due(limit, ZERO).await.unwrap();
        self.dispatched_anew(entry, &[State::Scheduled, State::Retrying]);
    }

    async fn requeue(&mut self) {
        let limit = self.random.random_range(1..4);
        let filter = JobFilter::default();
        let entry = self.world.requeue_dead(&filter, limit, ZERO).await;
        let dead = self.jobs.values().filter(|job| job.state == State::Dead);
        let expected = dead.count().min(limit as usize);
        let moved = entry.as_ref().map_or(0, |entry| entry.publications.len());
        assert_eq!(moved, expected, "{}", self.at);
        self.dispatched_anew(entry, &[State::Dead]);
    }

    /// Publications of a dispatch that stands.
    fn assert_queued(&self, publications: &[Publication]) {
        for publication in publications {
            let expected = Model {
                state: State::Queued,
                dispatch: publication.dispatch,
            };
            assert_eq!(self.jobs[&publication.id], expected, "{}", self.at);
        }
    }

    async fn lease(&mut self) {
        let limit = self.random.random_range(1..6);
        let entries = self.world.store.lease_outbox(limit, ZERO).await.unwrap();
        for entry in entries {
            self.assert_queued(&entry.publications);
            assert!(!entry.publications.is_empty(), "{}", self.at);
            if self.random.random_bool(0.5) {
                self.world.store.settle_outbox(&[entry.id]).await.unwrap();
            }
        }
    }

    async fn republish(&mut self) {
        let email = queue("email");
        let store = &self.world.store;
        let entry = store.republish(&email, ZERO, None, 5, ZERO).await.unwrap();
        self.assert_queued(&entry.map_or_else(Vec::new, |entry| entry.publications));
    }

    async fn restore(&mut self) {
        let id = self.any_job();
        let message = Publication {
            id,
            kind: "email.send".parse().unwrap(),
            queue: queue("email"),
            priority: Priority::Normal,
            dispatch: self.any_dispatch(id).max(1),
            traceparent: None,
            payload: "{}".into(),
        };
        let process = self.any_process();
        let restored = self.world.store.restore(process, &message).await.unwrap();
        let expected = self.jobs.get(&id).is_none_or(|job| {
            matches!(
                job.state,
                State::Scheduled | State::Queued | State::Retrying
            ) && job.dispatch < message.dispatch
        });
        assert_eq!(restored, expected, "{}", self.at);
        if restored {
            self.accepted += u64::from(!self.jobs.contains_key(&id));
            let model = Model {
                state: State::Queued,
                dispatch: message.dispatch,
            };
            self.jobs.insert(id, model);
        }
    }

    async fn insert_dead(&mut self) {
        let id = self.any_job();
        let letter = DeadLetter {
            id,
            kind: "email.send".to_owned(),
            queue: queue("email"),
            payload: b"{}".to_vec(),
            error: failure("orphan"),
            unique: None,
        };
        let process = self.any_process();
        self.world
            .store
            .insert_dead(process, &[letter])
            .await
            .unwrap();
        self.accepted += u64::from(!self.jobs.contains_key(&id));
        self.jobs.entry(id).or_insert(Model {
            state: State::Dead,
            dispatch: 0,
        });
    }

    async fn end_process(&mut self) {
        let process = self.any_process();
        let ran: Vec<JobId> = self
            .running
            .iter()
            .filter(|(_, (owner, _))| *owner == process)
            .map(|(id, _)| *id)
            .collect();
        let store = &self.world.store;
        let rescued = if self.random.random_ratio(1, 3) {
            store.retire(process).await.unwrap()
        } else {
            let beats = store.beats().await.unwrap();
            let beat = beats.iter().find(|beat| beat.process == process);
            let counter = beat.map_or(0, |beat| beat.counter);
            assert_eq!(store.bury(process, counter + 1).await.unwrap(), None);
            let rescued = store.bury(process, counter).await.unwrap();
            assert_eq!(rescued.is_some(), beat.is_some(), "{}", self.at);
            rescued.unwrap_or(0)
        };
        assert_eq!(rescued, ran.len() as u64, "{}", self.at);
        for id in ran {
            self.running.remove(&id);
            self.jobs
                .entry(id)
                .and_modify(|job| job.state = State::Queued);
        }
        if self.alive.contains(&process) {
            self.alive.retain(|other| *other != process);
            self.dead.push(process);
            self.alive.push(self.world.register("host/heir").await);
        }
    }

    async fn beat(&mut self) {
        let process = self.any_process();
        let expected = if self.alive.contains(&process) {
            Beat::Counted
        } else {
            Beat::Dead
        };
        let beat = self.world.store.beat(process).await.unwrap();
        assert_eq!(beat, expected, "{}", self.at);
    }

    async fn prune(&mut self) {
        let pruned = self.world.prune_all().await;
        let ended = self.jobs.values().filter(|job| job.state.is_final());
        assert_eq!(pruned, ended.count() as u64, "{}", self.at);
        self.jobs.retain(|_, job| !job.state.is_final());
        self.pruned += pruned;
    }

    async fn check(&mut self) {
        let store = &self.world.store;
        let page = Page {
            limit: 10_000,
            before: None,
        };
        let views = store.list(&JobFilter::default(), page).await.unwrap();
        let found: BTreeMap<JobId, State> =
            views.iter().map(|view| (view.id, view.state)).collect();
        assert_eq!(found.len(), views.len(), "a job twice, {}", self.at);
        let expected: BTreeMap<JobId, State> =
            self.jobs.iter().map(|(id, job)| (*id, job.state)).collect();
        assert_eq!(found, expected, "{}", self.at);
        self.check_moves(&found);
        self.seen = found;
        self.check_sums().await;
        for process in self.alive.iter().chain(&self.dead) {
            let owned: HashSet<_> = store.owned(*process).await.unwrap().into_iter().collect();
            let expected: HashSet<_> = self
                .running
                .iter()
                .filter(|(_, (owner, _))| owner == process)
                .map(|(id, (_, epoch))| (*id, *epoch))
                .collect();
            assert_eq!(owned, expected, "{}", self.at);
        }
    }

    fn check_moves(&self, found: &BTreeMap<JobId, State>) {
        for (id, before) in &self.seen {
            let legal = match found.get(id) {
                Some(after) => after == before || before.may_become(*after),
                None => before.is_final(),
            };
            assert!(legal, "{id}: {before} to {:?}, {}", found.get(id), self.at);
        }
    }

    async fn check_sums(&self) {
        let store = &self.world.store;
        let tally = store.tally().await.unwrap();
        assert_eq!(tally.missing(), 0, "{tally:?}, {}", self.at);
        assert_eq!((tally.accepted, tally.pruned), (self.accepted, self.pruned));
        let counts = store.counts().await.unwrap();
        for state in State::ALL {
            let counted: u64 = counts.iter().filter_map(|c| c.states.get(&state)).sum();
            let expected = self.jobs.values().filter(|job| job.state == state);
            assert_eq!(counted, expected.count() as u64, "{state}, {}", self.at);
        }
    }
}
