use std::sync::{Arc, Mutex};

use longshore::job::{Done, ErrorClass, Failure, JobId, JobResult};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fate::{Desk, Fate, Line};
use crate::memory::{Books, MemoryLedger};
use crate::payment::{ChargePayment, Gateway, PaymentState, RefundPayment, Run, Sandbox, Who};
use crate::support::dir::TestDir;

pub const REFERENCE: &str = "order-1";

/// A sandbox and a ledger, and jobs that run between them.
pub struct Bench {
    pub books: Arc<Mutex<Books>>,
    pub gateway: Arc<dyn Gateway>,
    dir: TestDir,
}

/// A job, as the platform would run it.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub id: JobId,
    /// How often it had failed when it was last sent back.
    pub earlier: i32,
    pub last: bool,
}

impl Job {
    pub fn new() -> Self {
        Self {
            id: JobId::new(),
            earlier: 0,
            last: false,
        }
    }

    pub fn on_its_last_attempt(self) -> Self {
        Self { last: true, ..self }
    }

    /// From the dead letters, by somebody who wants it tried again.
    pub fn sent_back(self) -> Self {
        Self {
            earlier: self.earlier + 1,
            ..self
        }
    }

    pub fn who(self) -> Who {
        Who {
            job: self.id,
            earlier: self.earlier,
            last: self.last,
        }
    }
}

/// What a job is to do.
#[derive(Debug, Clone)]
pub enum Work {
    Charge(ChargePayment),
    Refund(RefundPayment),
}

pub fn charge(payment_method: &str) -> Work {
    charge_of(REFERENCE, payment_method, 4200, "EUR")
}

pub fn charge_of(reference: &str, payment_method: &str, amount: u64, currency: &str) -> Work {
    let payload = json!({
        "amount": amount, "currency": currency, "payment_method": payment_method,
        "reference": reference,
    });
    Work::Charge(serde_json::from_value(payload).unwrap())
}

pub fn refund(amount: Option<u64>) -> Work {
    refund_of(REFERENCE, amount)
}

pub fn refund_of(reference: &str, amount: Option<u64>) -> Work {
    Work::Refund(RefundPayment {
        reference: reference.to_owned(),
        amount,
        reason: None,
    })
}

impl Bench {
    pub fn new() -> Self {
        let dir = TestDir::new("payment");
        Self {
            books: Arc::default(),
            gateway: Arc::new(Sandbox::in_folder(dir.path())),
            dir,
        }
    }

    /// Runs a job under a new claim, in a task that may be frozen or dropped.
    pub fn start(&self, job: Job, work: &Work, fate: &Arc<Fate>) -> JoinHandle<JobResult> {
        let desk = Desk {
            ledger: MemoryLedger::claim(&self.books, job.id),
            fate: fate.clone(),
        };
        let line = Line {
            gateway: self.gateway.clone(),
            fate: fate.clone(),
        };
        let work = work.clone();
        let cancelled = fate.cancelled.clone();
        tokio::spawn(async move {
            let run = Run {
                gateway: &line,
                ledger: &desk,
                who: job.who(),
                cancelled: &cancelled,
            };
            match &work {
                Work::Charge(charge) => run.charge(charge).await,
                Work::Refund(refund) => run.refund(refund).await,
            }
        })
    }

    /// Another job's run looks at what nobody else will ask about.
    pub async fn catch_up(&self) {
        let job = Job::new();
        let run = Run {
            gateway: &*self.gateway,
            ledger: &MemoryLedger::claim(&self.books, job.id),
            who: job.who(),
            cancelled: &CancellationToken::new(),
        };
        run.catch_up().await.unwrap();
    }

    /// The job ends, by a cancellation say, and nobody of the payments' side hears of it.
    pub fn end(&self, job: Job) {
        self.books.lock().unwrap().ended.insert(job.id);
    }

    pub fn state(&self) -> PaymentState {
        self.books.lock().unwrap().payments[REFERENCE].state
    }

    pub async fn run(&self, job: Job, work: &Work, fate: &Arc<Fate>) -> JobResult {
        // Nobody runs a job again that has succeeded.
        let result = self.books.lock().unwrap().succeeded.get(&job.id).cloned();
        if let Some(result) = result {
            return Done::with(result);
        }
        self.start(job, work, fate).await.unwrap()
    }

    /// Runs a job as often as the platform would, with nothing going wrong, to its end.
    pub async fn finish(&self, job: Job, work: &Work) -> JobResult {
        for _ in 0..40 {
            match self.run(job, work, &Fate::kind()).await {
                Err(failure) if !ends(&failure) => {
                    if failure.error().class == ErrorClass::Waiting {
                        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                    }
                }
                end => return end,
            }
        }
        panic!("does not come to an end");
    }

    /// How many intents the sandbox has charged.
    pub async fn charged(&self) -> i64 {
        self.count("SELECT count(*) FROM intent WHERE status = 'succeeded'")
            .await
    }

    /// How often a card was presented.
    pub async fn presented(&self) -> i64 {
        self.count("SELECT coalesce(sum(confirmations), 0) FROM intent")
            .await
    }

    /// How much was given back.
    pub async fn refunded(&self) -> i64 {
        self.count("SELECT coalesce(sum(amount), 0) FROM refund WHERE status <> 'failed'")
            .await
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        let path = self.dir.join("sandbox-gateway.db");
        if !path.exists() {
            return 0;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(std::time::Duration::from_secs(30));
        let mut connection = options.connect().await.unwrap();
        let count = sqlx::query_scalar(sql)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        count
    }

    /// A success is a charge, one, and a refusal is none.
    pub async fn assert_true(&self, what: &str, end: &JobResult) {
        let charged = self.charged().await;
        match end {
            Ok(_) => assert_eq!(charged, 1, "{what}: succeeded"),
            Err(failure) => {
                assert_eq!(charged, 0, "{what}: {}", failure.error());
            }
        }
    }
}

/// True if the job would be dead.
pub fn ends(failure: &Failure) -> bool {
    matches!(
        failure.error().class,
        ErrorClass::Permanent | ErrorClass::Invalid
    )
}

pub fn code(end: &JobResult) -> &str {
    match end {
        Ok(_) => "succeeded",
        Err(failure) => &failure.error().code,
    }
}
