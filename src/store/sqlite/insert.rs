use std::time::Duration;

use serde::Serialize;
use sqlx::{Sqlite, Transaction};

use super::keys::{self, Known};
use super::{SqliteStore, clock, outbox, rows};
use crate::job::{JobId, Kind, NewJob, ProcessId, Start, State, UniqueKey, fingerprint};
use crate::store::{DeadLetter, Inserted, Insertion, OutboxId, ReusedKeys};

pub(super) async fn insert(
    store: &SqliteStore,
    process: ProcessId,
    jobs: &[NewJob],
    lease: Duration,
) -> sqlx::Result<Insertion> {
    let any = |_: &[Inserted]| true;
    let (jobs, outbox) = insert_if(store, process, jobs, lease, any).await?;
    Ok(Insertion { jobs, outbox })
}

pub(super) async fn insert_all(
    store: &SqliteStore,
    process: ProcessId,
    jobs: &[NewJob],
    lease: Duration,
) -> sqlx::Result<Result<Insertion, ReusedKeys>> {
    let free = |answers: &[Inserted]| answers.iter().all(|answer| answer.reused_key().is_none());
    let (jobs, outbox) = insert_if(store, process, jobs, lease, free).await?;
    let reused: ReusedKeys = jobs
        .iter()
        .enumerate()
        .filter_map(|(at, answer)| Some((at, answer.reused_key()?)))
        .collect();
    Ok(if reused.is_empty() {
        Ok(Insertion { jobs, outbox })
    } else {
        Err(reused)
    })
}

/// Inserts what is new if `agreed` to all the answers; else nothing.
async fn insert_if(
    store: &SqliteStore,
    process: ProcessId,
    jobs: &[NewJob],
    lease: Duration,
    agreed: impl FnOnce(&[Inserted]) -> bool,
) -> sqlx::Result<(Vec<Inserted>, Option<OutboxId>)> {
    if jobs.is_empty() {
        return Ok((Vec::new(), None));
    }
    let (mut tx, now) = store.write().await?;
    let (answers, batch) = answers(&mut tx, now, jobs).await?;
    if !agreed(&answers) {
        return Ok((answers, None));
    }
    let outbox = batch.write(&mut tx, process, now, lease).await?;
    tx.commit().await?;
    Ok((answers, outbox))
}

/// Inserts what is new inside a transaction.
pub(super) async fn write(
    tx: &mut Transaction<'static, Sqlite>,
    now: i64,
    process: ProcessId,
    jobs: &[NewJob],
    lease: Duration,
) -> sqlx::Result<()> {
    let (_, batch) = answers(tx, now, jobs).await?;
    batch.write(tx, process, now, lease).await?;
    Ok(())
}

/// What becomes of each job, and those that are new.
async fn answers<'a>(
    tx: &mut Transaction<'static, Sqlite>,
    now: i64,
    jobs: &'a [NewJob],
) -> sqlx::Result<(Vec<Inserted>, Batch<'a>)> {
    let mut known = Known::load(tx, jobs).await?;
    let mut batch = Batch::default();
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        answers.push(match known.earlier(job) {
            Some(earlier) => earlier,
            None => Inserted::Accepted {
                created_at: clock::moment(now)?,
                state: batch.add(job, now)?,
            },
        });
    }
    Ok((answers, batch))
}

/// A new row; its payload is a slice of the batch's bytes.
#[derive(Serialize)]
struct NewRow<'a> {
    id: String,
    state: i16,
    dispatch: i32,
    queued: Option<i64>,
    due: Option<i64>,
    kind: &'a str,
    queue: &'a str,
    high: bool,
    limit: Option<u32>,
    tags: String,
    trace: Option<&'a str>,
    /// 1-based, as `substr` counts.
    from: usize,
    len: usize,
}

/// The jobs that are to be written.
#[derive(Default)]
struct Batch<'a> {
    rows: Vec<NewRow<'a>>,
    /// All payloads in a row. They do not travel as JSON text: their bytes are kept as they are.
    payloads: Vec<u8>,
    keys: Vec<(JobId, &'a UniqueKey)>,
    queued: Vec<(JobId, i32)>,
}

impl<'a> Batch<'a> {
    fn add(&mut self, job: &'a NewJob, now: i64) -> sqlx::Result<State> {
        let due = match job.start {
            Start::Now => None,
            Start::At(moment) => Some(moment.timestamp_micros()),
            Start::After(delay) => Some(clock::after(now, delay)),
        }
        .filter(|due| *due > now);
        let state = match due {
            Some(_) => State::Scheduled,
            None => State::Queued,
        };
        let dispatch = i32::from(due.is_none());
        if due.is_none() {
            self.queued.push((job.id, dispatch));
        }
        self.keys.extend(job.unique.iter().map(|key| (job.id, key)));
        self.rows.push(NewRow {
            id: rows::hex(job.id),
            state: state.code(),
            dispatch,
            queued: due.is_none().then_some(now),
            due,
            kind: job.kind.as_str(),
            queue: job.queue.as_str(),
            high: job.priority.is_high(),
            limit: job.max_attempts,
            tags: rows::batch(&job.tags)?,
            trace: job.traceparent.as_deref(),
            from: self.payloads.len() + 1,
            len: job.payload.len(),
        });
        self.payloads.extend_from_slice(&job.payload);
        Ok(state)
    }

    async fn write(
        self,
        tx: &mut Transaction<'static, Sqlite>,
        process: ProcessId,
        now: i64,
        lease: Duration,
    ) -> sqlx::Result<Option<OutboxId>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        sqlx::query(
            "INSERT INTO job (id, state, dispatch, created_at, queued_at, due, kind, queue, high,
                              max_attempts, tags, traceparent, payload)
             SELECT unhex(r.value ->> 'id'), r.value ->> 'state', r.value ->> 'dispatch', ?3,
                    r.value ->> 'queued', r.value ->> 'due', r.value ->> 'kind',
                    r.value ->> 'queue', r.value ->> 'high', r.value ->> 'limit',
                    r.value ->> 'tags', r.value ->> 'trace',
                    substr(?2, r.value ->> 'from', r.value ->> 'len')
             FROM json_each(?1) AS r",
        )
        .bind(rows::batch(&self.rows)?)
        .bind(self.payloads)
        .bind(now)
        .execute(&mut **tx)
        .await?;
        keys::take(tx, &self.keys, now).await?;
        count_accepted(tx, process, self.rows.len()).await?;
        if self.queued.is_empty() {
            return Ok(None);
        }
        outbox::enter(tx, now, lease, false, &self.queued)
            .await
            .map(Some)
    }
}

/// The kind of a dead letter whose own is no kind; its error says what stood there.
const UNKNOWN: &str = "unknown";

pub(super) async fn insert_dead(
    store: &SqliteStore,
    process: ProcessId,
    letters: &[DeadLetter],
) -> sqlx::Result<()> {
    if letters.is_empty() {
        return Ok(());
    }
    let (mut tx, now) = store.write().await?;
    let mut inserted = 0;
    for letter in letters {
        let kind = letter.kind.parse::<Kind>();
        let kind = kind.as_ref().map_or(UNKNOWN, Kind::as_str);
        let error = &letter.error;
        if let Some(unique) = &letter.unique
            && !keys::take_free(&mut tx, letter.id, unique, now).await?
        {
            continue;
        }
        let written = sqlx::query(
            "INSERT INTO job (id, state, dispatch, created_at, finished_at, kind, queue, high,
                              error_code, error_message, error_class, payload, fingerprint)
             VALUES (?1, 5, 0, ?2, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING",
        )
        .bind(letter.id.uuid())
        .bind(now)
        .bind(kind)
        .bind(letter.queue.as_str())
        .bind(&error.code)
        .bind(&error.message)
        .bind(error.class.as_str())
        .bind(&letter.payload)
        .bind(fingerprint(kind, &error.code, &error.message))
        .execute(&mut *tx)
        .await?;
        inserted += written.rows_affected();
    }
    count_accepted(&mut tx, process, usize::try_from(inserted).unwrap_or(0)).await?;
    tx.commit().await
}

/// Counts inside the transaction that inserts, and apart from the rows: a row that vanishes
/// later leaves the balance sheet one short.
pub(super) async fn count_accepted(
    tx: &mut Transaction<'static, Sqlite>,
    process: ProcessId,
    jobs: usize,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO tally (process, accepted) VALUES (?1, ?2)
         ON CONFLICT (process) DO UPDATE SET accepted = accepted + excluded.accepted",
    )
    .bind(process.0)
    .bind(i64::try_from(jobs).unwrap_or(i64::MAX))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
