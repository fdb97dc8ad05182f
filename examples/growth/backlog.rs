use std::time::{Duration, Instant};

use longshore::client::Client;
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use crate::timed::{KEY, Program};
use crate::until;

/// Jobs of one request, and requests at once.
const BATCH: u64 = 500;
const TASKS: u64 = 4;
/// Points at which the pace is taken.
const PACES: u64 = 10;

/// How fast jobs are accepted while none is processed.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Pace {
    /// Those that wait by then.
    pub(crate) queued: u64,
    /// Jobs a second since the pace before.
    pub(crate) per_second: f64,
}

/// Has an intake accept and publish so many jobs of a kind whose queue nobody works.
pub(crate) async fn queue_up(
    program: &Program,
    connection: &mut PgConnection,
    jobs: u64,
) -> anyhow::Result<Vec<Pace>> {
    let (mut intake, url) = program.intake()?;
    let client = Client::new(&url)?
        .key(KEY)
        .deadline(Duration::from_secs(60));
    let payload = json!({"sku": "GROWTH", "delta": 1, "reason": "x".repeat(150)});
    // Is answered once the intake is there, which is not what is timed.
    let first = (0..BATCH).map(|_| client.submit_json("inventory.adjust", &payload));
    client.submit_all(first).await?;
    let requests = jobs.div_ceil(BATCH);
    let mut paces = Vec::new();
    for part in 0..PACES {
        let share = requests * (part + 1) / PACES - requests * part / PACES;
        let began = Instant::now();
        let one = |task: u64| {
            let (client, payload) = (&client, &payload);
            async move {
                for _ in 0..share * (task + 1) / TASKS - share * task / TASKS {
                    let job = || client.submit_json("inventory.adjust", payload);
                    client.submit_all((0..BATCH).map(|_| job())).await?;
                }
                anyhow::Ok(())
            }
        };
        futures::future::try_join_all((0..TASKS).map(one)).await?;
        paces.push(Pace {
            queued: requests * (part + 1) / PACES * BATCH,
            per_second: (share * BATCH) as f64 / began.elapsed().as_secs_f64(),
        });
    }
    until(async || {
        let waiting = "SELECT NOT EXISTS (SELECT FROM longshore.outbox)";
        Ok(sqlx::query_scalar(waiting)
            .fetch_one(&mut *connection)
            .await?)
    })
    .await?;
    intake.kill().await?;
    Ok(paces)
}
