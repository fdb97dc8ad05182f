//! What `longshore dev --demo` shows: mails, jobs that fail on purpose, and orders.

mod orders;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use longshore::Demo;
use longshore::job::{Done, Failure, JobId, JobResult, State};
use longshore::worker::{Attempt, Job};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Counts slowly, to be seen running.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Count {
    to: u64,
}

impl Job for Count {
    const KIND: &'static str = "demo.count";
    type Context = ();

    fn example() -> Option<Self> {
        Some(Self { to: 3 })
    }

    async fn run(self, (): &(), _: &Attempt) -> JobResult {
        for _ in 0..self.to.min(20) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Done::with(json!({"counted": self.to}))
    }
}

/// Fails a number of times before it works.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Flaky {
    failures: u32,
}

impl Job for Flaky {
    const KIND: &'static str = "demo.flaky";
    type Context = ();

    fn example() -> Option<Self> {
        Some(Self { failures: 2 })
    }

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        if attempt.number() <= self.failures {
            let message = format!("failing on purpose, attempt {}", attempt.number());
            return Err(Failure::retry("demo_failure", message));
        }
        Done::with(json!({"worked_at_attempt": attempt.number()}))
    }
}

/// Dies the first time, and works once somebody sends it back.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Doomed {}

/// The jobs that have died once.
#[derive(Debug, Default)]
struct Graveyard(Mutex<HashSet<JobId>>);

impl Job for Doomed {
    const KIND: &'static str = "demo.doomed";
    type Context = Graveyard;

    fn example() -> Option<Self> {
        Some(Self {})
    }

    async fn run(self, graveyard: &Graveyard, attempt: &Attempt) -> JobResult {
        let mut dead = graveyard.0.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.insert(attempt.job_id()) {
            let message = "no use trying again; send it back and it works";
            return Err(Failure::permanent("demo_doomed", message));
        }
        Done::with(json!({"back": "from the dead"}))
    }
}

/// The stock program's demo.
pub(crate) fn tour() -> Demo {
    let mail =
        |to: &str, subject: &str, text: &str| json!({"to": [to], "subject": subject, "text": text});
    let demo = Demo::new()
        .kind::<Count>()
        .kind::<Flaky>()
        .kind::<Doomed>()
        .submit(
            "welcome mail",
            "email.send",
            mail("ada@example.com", "Welcome aboard", "Good to have you."),
            State::Succeeded,
        )
        .submit(
            "receipt mail",
            "email.send",
            mail("grace@example.com", "Your receipt", "42.00 EUR, paid."),
            State::Succeeded,
        )
        .submit(
            "mail with umlauts",
            "email.send",
            mail(
                "jurgen@example.com",
                "Grüße aus dem Hafen ⚓",
                "Schöne Grüße!",
            ),
            State::Succeeded,
        )
        .submit(
            "counts to three, slowly",
            "demo.count",
            Count { to: 3 },
            State::Succeeded,
        )
        .submit(
            "fails twice, then works",
            "demo.flaky",
            Flaky { failures: 2 },
            State::Succeeded,
        )
        .submit(
            "cannot work: ends dead",
            "demo.doomed",
            Doomed {},
            State::Dead,
        );
    orders::orders(demo)
}
