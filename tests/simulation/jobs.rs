//! What the simulated jobs do, and how the outside hears of it.

use std::time::Duration;

use longshore::job::{Done, Failure, JobResult};
use longshore::worker::{Attempt, Job};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ledger::Ended;
use crate::plan::{Failing, Finally};
use crate::world::Port;

pub(crate) const KIND: &str = "sim.work";

/// The planned job of that number.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Work {
    n: usize,
}

#[derive(Debug)]
pub(crate) struct Outside(pub(crate) Port);

/// A run that the outside knows of. Dropped in the middle, it was cut off.
struct Running<'a> {
    port: &'a Port,
    n: usize,
    run: usize,
}

impl Running<'_> {
    fn ends(&self, how: Ended) {
        self.port
            .with(|state| state.run_ends(self.n, self.run, how));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Perhaps together with its process, whose clock is gone by then.
        self.port
            .world
            .lock()
            .run_ends(self.n, self.run, Ended::Cut);
    }
}

impl Job for Work {
    const KIND: &'static str = KIND;
    type Context = Outside;

    async fn run(self, outside: &Outside, attempt: &Attempt) -> JobResult {
        let (port, n) = (&outside.0, self.n);
        port.stop_if_dead().await;
        let (plan, run, unavailable) = port.with(|state| {
            let dispatch = attempt.dispatch();
            let run = state.run_begins(n, port.host, port.incarnation, dispatch);
            let entry = &state.ledger.jobs[n];
            (entry.plan, run, entry.unavailable())
        });
        let running = Running { port, n, run };
        tokio::time::sleep(Duration::from_micros(plan.takes / 2)).await;
        if unavailable < usize::try_from(plan.unavailable)? {
            running.ends(Ended::Unavailable);
            return Err(Failure::unavailable("simulated", "the dependency is down"));
        }
        if attempt.number() <= plan.failures || plan.finally == Finally::Never {
            running.ends(Ended::Failed);
            return fail(plan.failing).await;
        }
        tokio::time::sleep(Duration::from_micros(plan.takes / 2)).await;
        let result = match plan.finally {
            Finally::Permanent | Finally::Never => {
                running.ends(Ended::Failed);
                return Err(Failure::permanent("simulated", "never"));
            }
            Finally::Row => match attempt.transaction().await {
                Ok(transaction) => transaction.succeed(n).await,
                Err(failure) => Err(failure),
            },
            Finally::Mail => {
                port.call("mail", false, |state| state.mailed(n, run)).await;
                Ok(Done)
            }
        };
        running.ends(match result {
            Ok(_) => Ended::Succeeded,
            Err(_) => Ended::Unavailable,
        });
        result
    }
}

async fn fail(how: Failing) -> JobResult {
    match how {
        Failing::Retryable => {}
        // Without the hook that prints it.
        Failing::Panic => std::panic::resume_unwind(Box::new("simulated")),
        Failing::Timeout => tokio::time::sleep(Duration::from_secs(60)).await,
    }
    Err(Failure::retry("simulated", "this time"))
}
