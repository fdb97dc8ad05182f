use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use longshore::job::{
    JobId, JobView, NewJob, ProcessId, Publication, QueueName, State as JobState,
};
use longshore::store::{
    Beat, Claim, ClaimRequest, Control, Counts, DeadLetter, Depth, HandedBack, Inserted, Insertion,
    JobFilter, NewProcess, OutboxEntry, OutboxId, Page, Pause, Place, ProcessBeat, ProcessRow,
    Record, Report, Reported, Retention, ReusedKeys, RunningJob, Schema, Store, StoreResult, Tally,
};

use super::SimulatedStore;
use super::db::{Process, micros, moment, span};
use super::unused;
use crate::world::{Bug, SECOND, State};

impl SimulatedStore {
    fn locked<'a>(ids: impl Fn(&State) -> Vec<JobId> + 'a) -> impl Fn(&mut State) -> bool + 'a {
        move |state| {
            let now = state.now;
            let ids = ids(state);
            ids.into_iter().any(|id| state.db.is_locked(now, id))
        }
    }

    fn owned_by(process: ProcessId) -> impl Fn(&State) -> Vec<JobId> {
        move |state| {
            state
                .db
                .owned(process)
                .into_iter()
                .map(|(id, _)| id)
                .collect()
        }
    }

    async fn insert_jobs(
        &self,
        what: &'static str,
        jobs: &[NewJob],
        lease: Duration,
    ) -> StoreResult<Insertion> {
        self.call(what, |state| {
            if state.bug == Some(Bug::PublishFirst) {
                let first = jobs.iter().map(NewJob::first_dispatch).collect::<Vec<_>>();
                first
                    .iter()
                    .for_each(|publication| state.enqueue(publication));
            }
            let (jobs, outbox) = state.db.insert(state.now, jobs, lease);
            Insertion { jobs, outbox }
        })
        .await
    }
}

#[async_trait]
impl Store for SimulatedStore {
    async fn version(&self) -> StoreResult<String> {
        unused()
    }

    async fn processes(&self) -> StoreResult<Vec<ProcessRow>> {
        unused()
    }

    async fn job(&self, _: JobId) -> StoreResult<Option<JobView>> {
        unused()
    }

    async fn finished(&self, _: &[JobId]) -> StoreResult<Vec<JobId>> {
        unused()
    }

    async fn list(&self, _: &JobFilter, _: Page) -> StoreResult<Vec<JobView>> {
        unused()
    }

    async fn counts(&self) -> StoreResult<Vec<Counts>> {
        unused()
    }

    async fn migrate(&self) -> StoreResult<usize> {
        unused()
    }

    async fn schema(&self) -> StoreResult<Schema> {
        Ok(Schema::Current)
    }

    async fn now(&self) -> StoreResult<DateTime<Utc>> {
        self.call("now", |state| moment(state.now)).await
    }

    async fn ping(&self) -> StoreResult<()> {
        self.look("ping", |_| ()).await
    }

    async fn register(&self, _: &NewProcess) -> StoreResult<ProcessId> {
        let (host, incarnation) = (self.port.host, self.port.incarnation);
        self.call("register", |state| {
            state.db.next.process += 1;
            let process = Process {
                host,
                incarnation,
                counter: 0,
                beat: state.now,
                alive: true,
            };
            state.db.processes.insert(state.db.next.process, process);
            ProcessId(state.db.next.process)
        })
        .await
    }

    async fn beat(&self, process: ProcessId) -> StoreResult<Beat> {
        self.call("beat", |state| {
            let now = state.now;
            match state.db.processes.get_mut(&process.0) {
                Some(row) if row.alive => {
                    row.counter += 1;
                    row.beat = now;
                    Beat::Counted
                }
                _ => Beat::Dead,
            }
        })
        .await
    }

    async fn beats(&self) -> StoreResult<Vec<ProcessBeat>> {
        self.call("beats", |state| {
            let alive = state.db.processes.iter().filter(|(_, row)| row.alive);
            alive
                .map(|(id, row)| ProcessBeat {
                    process: ProcessId(*id),
                    counter: row.counter,
                })
                .collect()
        })
        .await
    }

    async fn bury(&self, process: ProcessId, counter: i64) -> StoreResult<Option<u64>> {
        let locked = Self::locked(Self::owned_by(process));
        self.call_unlocked("bury", false, locked, |state| {
            let recently = state.now.saturating_sub(12 * SECOND);
            let forgot = state.forgotten.is_some_and(|(_, until)| until > recently);
            match state
                .db
                .bury(state.now, process.0, counter, forgot, state.bug)
            {
                Ok(rescued) => rescued,
                Err(what) => {
                    state.violated(what);
                    None
                }
            }
        })
        .await
    }

    async fn retire(&self, process: ProcessId) -> StoreResult<u64> {
        let locked = Self::locked(Self::owned_by(process));
        self.call_unlocked("retire", false, locked, |state| {
            state.db.retire(state.now, process.0)
        })
        .await
    }

    async fn insert(
        &self,
        _: ProcessId,
        jobs: &[NewJob],
        lease: Duration,
    ) -> StoreResult<Insertion> {
        self.insert_jobs("insert", jobs, lease).await
    }

    async fn insert_all(
        &self,
        _: ProcessId,
        jobs: &[NewJob],
        lease: Duration,
    ) -> StoreResult<Result<Insertion, ReusedKeys>> {
        let insertion = self.insert_jobs("insert all", jobs, lease).await?;
        let reused = |inserted: &Inserted| matches!(inserted, Inserted::KeyReused { .. });
        assert!(
            !insertion.jobs.iter().any(reused),
            "no simulated client reuses a key"
        );
        Ok(Ok(insertion))
    }

    async fn insert_dead(&self, _: ProcessId, letters: &[DeadLetter]) -> StoreResult<()> {
        self.call("insert dead", |state| {
            for letter in letters {
                state.db.insert_dead(state.now, letter);
            }
        })
        .await
    }

    async fn restore(&self, _: ProcessId, lost: &Publication) -> StoreResult<bool> {
        self.call("restore", |state| state.db.restore(state.now, lost))
            .await
    }

    async fn lease_outbox(&self, limit: u32, lease: Duration) -> StoreResult<Vec<OutboxEntry>> {
        self.look("lease", |state| {
            let leased = state.db.lease_outbox(state.now, limit, lease, state.bug);
            for entry in &leased {
                let now = state.now;
                state
                    .trace
                    .note(now, || format!("leases outbox entry {}", entry.id.0));
            }
            leased
        })
        .await
    }

    async fn settle_outbox(&self, entries: &[OutboxId]) -> StoreResult<()> {
        self.call("settle outbox", |state| {
            for entry in entries {
                state.db.outbox.remove(&entry.0);
            }
        })
        .await
    }

    async fn outbox_age(&self) -> StoreResult<Option<Duration>> {
        self.look("outbox age", |state| state.db.outbox_age(state.now))
            .await
    }

    async fn promote_due(&self, limit: u32, lease: Duration) -> StoreResult<Option<OutboxEntry>> {
        self.look("promote", |state| {
            let now = state.now;
            let entry = state.db.promote_due(now, limit, lease);
            if let Some(entry) = &entry {
                let jobs = entry.publications.len();
                state.trace.note(now, || format!("promotes {jobs} jobs"));
            }
            entry
        })
        .await
    }

    async fn republish(
        &self,
        queue: &QueueName,
        older_than: Duration,
        before: Option<DateTime<Utc>>,
        limit: u32,
        lease: Duration,
    ) -> StoreResult<Option<OutboxEntry>> {
        self.call("republish", |state| {
            if state.bug == Some(Bug::NoRepublish) {
                return None;
            }
            let horizon = state.now.saturating_sub(span(older_than));
            let horizon = before.map_or(horizon, |before| horizon.min(micros(before)));
            state.db.republish(state.now, queue, horizon, limit, lease)
        })
        .await
    }

    async fn publication(&self, id: JobId, dispatch: i32) -> StoreResult<Option<Publication>> {
        self.call("publication", |state| {
            let row = state.db.jobs.get(&id)?;
            let waits = row.state == JobState::Queued && row.dispatch == dispatch;
            waits.then(|| row.publication(id))
        })
        .await
    }

    async fn claim(
        &self,
        process: ProcessId,
        requests: &[ClaimRequest],
    ) -> StoreResult<Vec<Claim>> {
        let locked = Self::locked(|_| requests.iter().map(|request| request.id).collect());
        self.call_unlocked("claim", false, locked, |state| {
            let claims = state.db.claim(state.now, process, requests, state.bug);
            for (request, claim) in requests.iter().zip(&claims) {
                let won = matches!(claim, Claim::Won(_));
                let now = state.now;
                state.trace.note(now, || {
                    let verb = if won { "claims" } else { "may not have" };
                    format!(
                        "process {process} {verb} {} at {}",
                        request.id, request.dispatch
                    )
                });
            }
            claims
        })
        .await
    }

    async fn record(&self, records: &[Record]) -> StoreResult<Vec<bool>> {
        let locked = Self::locked(|_| records.iter().map(|record| record.id).collect());
        self.call_unlocked("record", false, locked, |state| {
            let kept = state.db.record(state.now, records, state.bug);
            for (record, kept) in records.iter().zip(&kept) {
                let now = state.now;
                state.trace.note(now, || {
                    let target = record.transition.target();
                    format!(
                        "process {}: {} is {target}: {kept}",
                        record.owner, record.id
                    )
                });
            }
            kept
        })
        .await
    }

    async fn owned(&self, process: ProcessId) -> StoreResult<Vec<(JobId, i32)>> {
        self.call("owned", |state| state.db.owned(process)).await
    }

    async fn prune(&self, _: &[Retention], _: &Retention) -> StoreResult<u64> {
        Ok(0)
    }

    async fn tally(&self) -> StoreResult<Tally> {
        self.look("tally", |_| Tally::default()).await
    }

    async fn close(&self) {}
}

#[async_trait]
impl Control for SimulatedStore {
    async fn reports(&self) -> StoreResult<Vec<Reported>> {
        unused()
    }

    async fn depths(&self) -> StoreResult<Vec<Depth>> {
        unused()
    }

    async fn running(&self, _: u32) -> StoreResult<Vec<RunningJob>> {
        unused()
    }

    async fn silence(&self, _: JobId) -> StoreResult<Option<Duration>> {
        unused()
    }

    async fn place(&self, _: JobId, _: u32) -> StoreResult<Option<Place>> {
        unused()
    }

    async fn pause(&self, _: &QueueName, _: &str) -> StoreResult<bool> {
        unused()
    }

    async fn resume(&self, _: &QueueName, _: &str) -> StoreResult<bool> {
        unused()
    }

    async fn paused(&self) -> StoreResult<Vec<Pause>> {
        self.look("paused", |state| {
            let pause = |queue: &String| Pause {
                queue: queue.clone(),
                since: moment(state.now),
                by: "the simulation".to_owned(),
            };
            state.db.paused.iter().map(pause).collect()
        })
        .await
    }

    async fn hand_back(&self, dispatches: &[(JobId, i32)]) -> StoreResult<Vec<HandedBack>> {
        self.call("hand back", |state| {
            state.db.hand_back(state.now, dispatches)
        })
        .await
    }

    async fn report(&self, _: ProcessId, _: &[Report]) -> StoreResult<()> {
        Ok(())
    }
}
