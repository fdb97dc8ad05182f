//! The program of docs/guide.md, which quotes it.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "as short as in the guide"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

use std::process::ExitCode;

use longshore::job::{Done, Failure, JobResult};
use longshore::store::{Connection, Migration};
use longshore::worker::{Attempt, Invalid, Job, NextJob};

/// Books points for a customer.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct AwardPoints {
    customer: String,
    points: i64,
}

/// What the job works with; there is one for the process. A client, a pool, configuration.
struct Rules {
    closed: bool,
}

impl Job for AwardPoints {
    const KIND: &'static str = "points.award"; // for ever: accepted jobs carry it
    type Context = Rules;

    /// What the type alone cannot say; whoever submits is told at once.
    fn validate(&self) -> Result<(), Vec<Invalid>> {
        if self.points > 0 {
            return Ok(());
        }
        Err(vec![Invalid::new("/points", "must be more than 0")])
    }

    async fn run(self, rules: &Rules, attempt: &Attempt) -> JobResult {
        if rules.closed {
            // Nothing is counted; it is tried again until the shop is open.
            return Err(Failure::unavailable("closed", "the books are closed"));
        }
        let mut tx = attempt.transaction().await?;
        let booked = match tx.connection() {
            Connection::Postgres(db) => sqlx::query("INSERT INTO points VALUES ($1, $2)")
                .bind(&self.customer)
                .bind(self.points)
                .execute(db)
                .await
                .map(|_| ()),
            Connection::Sqlite(db) => sqlx::query("INSERT INTO points VALUES (?1, ?2)")
                .bind(&self.customer)
                .bind(self.points)
                .execute(db)
                .await
                .map(|_| ()),
            _ => Ok(()),
        };
        booked.map_err(|error| tx.failure(error))?;
        tx.submit(NextJob::new(&Congratulate {
            customer: self.customer,
        })?)?;
        tx.succeed(self.points).await // the row, the next job and this success: one commit
    }
}

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Congratulate {
    customer: String,
}

impl Job for Congratulate {
    const KIND: &'static str = "points.congratulate";
    type Context = ();

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        if attempt.number() == 1 {
            return Err(Failure::retry("shy", "not at the first attempt")); // as `?` does
        }
        println!("Well done, {}!", self.customer);
        Ok(Done)
    }
}

const TABLES: Migration = Migration {
    name: "points 1",
    postgres: "CREATE TABLE points (customer text NOT NULL, points bigint NOT NULL)",
    sqlite: "CREATE TABLE points (customer TEXT NOT NULL, points INTEGER NOT NULL)",
};

fn app() -> longshore::App {
    longshore::App::new()
        .job::<AwardPoints>("points", Rules { closed: false })
        .job::<Congratulate>("points", ())
        .migration(TABLES)
}

fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore::job::{ErrorClass, State};
    use longshore::testing::{Harness, RunOnce};

    use super::*;

    #[tokio::test]
    async fn closed_books_count_no_attempt() {
        let award = AwardPoints {
            customer: "Ada".into(),
            points: 50,
        };
        let run = RunOnce::new(award).migration(TABLES);
        let outcome = run.run(&Rules { closed: true }).await.unwrap();
        assert_eq!(outcome.error().unwrap().class, ErrorClass::Unavailable);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn points_are_booked_once_and_ada_is_congratulated() {
        let harness = Harness::start(app()).await.unwrap();
        let award = AwardPoints {
            customer: "Ada".into(),
            points: 50,
        };
        let id = harness.submit(&award).await.unwrap();
        harness.rest().await.unwrap();
        assert_eq!(harness.job(id).await.unwrap().state, State::Succeeded);

        // What it started has failed once, and waits for its second attempt.
        let congratulation = &harness.jobs("points.congratulate").await.unwrap()[0];
        assert_eq!(congratulation.state, State::Retrying);
        harness.advance(Duration::from_secs(1)).await.unwrap();
        let congratulation = harness.job(congratulation.id).await.unwrap();
        assert_eq!(congratulation.state, State::Succeeded);
        assert_eq!(congratulation.attempts().len(), 2);

        let refused = AwardPoints {
            customer: "Ada".into(),
            points: 0,
        };
        assert!(harness.submit(&refused).await.is_err());
        harness.stop().await.unwrap();
    }
}
