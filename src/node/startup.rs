use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::NodeError;
use crate::broker::{Broker, BrokerError};
use crate::config::{BENCH_KIND, BENCH_QUEUE, Queues, Secret};
use crate::intake::{Gate, GateError};
use crate::job::{Kind, QueueName};
use crate::liveness::Liveness;
use crate::store::{Migration, NewProcess, Schema, Store, StoreResult};
use crate::worker::Registry;

/// How often something that does not answer at the start is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What keeps this program from working with the store, if anything.
async fn look(store: &dyn Store, tables: &[Migration]) -> StoreResult<Option<(String, Schema)>> {
    let schema = store.schema().await?;
    if schema != Schema::Current {
        return Ok(Some((schema.advice(), schema)));
    }
    let missing = store.missing(tables).await?;
    let behind = Schema::Behind {
        applied: tables.len() - missing.len(),
        known: tables.len(),
    };
    let names = missing.join(", ");
    let advice = format!("the database lacks the tables of {names}: run `longshore migrate`");
    Ok((!missing.is_empty()).then_some((advice, behind)))
}

/// Waits for a store that answers and checks that its schema, and that of the jobs' tables, are
/// this program's.
pub(super) async fn wait_for_schema(
    store: &dyn Store,
    tables: &[Migration],
    migrate: bool,
    stop: &CancellationToken,
) -> Result<(), NodeError> {
    let mut told = false;
    loop {
        let answer = stop
            .run_until_cancelled(look(store, tables))
            .await
            .ok_or(NodeError::Stopped)?;
        match answer {
            Ok(None) => return Ok(()),
            Ok(Some((_, Schema::Behind { .. }))) if migrate => {
                store.migrate().await?;
                store.extend(tables).await?;
                return Ok(());
            }
            Ok(Some((advice, _))) => return Err(NodeError::Schema(advice)),
            Err(error) if error.is_transient() => {
                if !told {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "waiting for the database");
                    told = true;
                }
            }
            Err(error) => return Err(error.into()),
        }
        let nap = tokio::time::sleep(RETRY);
        stop.run_until_cancelled(nap)
            .await
            .ok_or(NodeError::Stopped)?;
    }
}

/// Reads the API keys, as soon as the store answers.
pub(super) async fn open_gate(
    store: &Arc<dyn Store>,
    admin: Option<Secret>,
    address: SocketAddr,
    stop: &CancellationToken,
) -> Result<Gate, NodeError> {
    loop {
        match Gate::open(store.clone(), admin.as_ref(), address).await {
            Ok(gate) => return Ok(gate),
            Err(GateError::Store(error)) if error.is_transient() => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "waiting for the database");
            }
            Err(error) => return Err(error.into()),
        }
        let nap = tokio::time::sleep(RETRY);
        stop.run_until_cancelled(nap)
            .await
            .ok_or(NodeError::Stopped)?;
    }
}

/// Enters this process in the register, as soon as the store answers.
pub(super) async fn register(
    store: Arc<dyn Store>,
    profile: NewProcess,
    stop: &CancellationToken,
) -> Result<Arc<Liveness>, NodeError> {
    let mut told = false;
    loop {
        match Liveness::register(store.clone(), profile.clone()).await {
            Ok(liveness) => return Ok(liveness),
            Err(error) if error.is_transient() => {
                if !told {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "waiting for the database");
                    told = true;
                }
            }
            Err(error) => return Err(error.into()),
        }
        let nap = tokio::time::sleep(RETRY);
        stop.run_until_cancelled(nap)
            .await
            .ok_or(NodeError::Stopped)?;
    }
}

/// Tells the store which kinds there are and where they wait, as soon as it answers.
pub(super) async fn announce(
    store: &dyn Store,
    registry: &Registry,
    queues: &Queues,
    stop: &CancellationToken,
) -> Result<(), NodeError> {
    let kinds: Vec<(Kind, QueueName)> = registry
        .iter()
        .map(|(kind, entry)| (kind, queues.of_kind(kind).unwrap_or(&entry.queue)))
        .filter(|(kind, queue)| {
            queue.as_str() != BENCH_QUEUE && !kind.as_str().starts_with(BENCH_KIND)
        })
        .map(|(kind, queue)| (kind.clone(), queue.clone()))
        .collect();
    while let Err(error) = store.announce_kinds(&kinds).await {
        if !error.is_transient() {
            return Err(error.into());
        }
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "waiting for the database");
        let nap = tokio::time::sleep(RETRY);
        stop.run_until_cancelled(nap)
            .await
            .ok_or(NodeError::Stopped)?;
    }
    Ok(())
}

/// Declares the topology as soon as the broker answers. Objects that exist with other
/// arguments are for a person to mend: the process stops and says so.
pub(super) async fn declare(
    broker: Arc<dyn Broker>,
    report: mpsc::Sender<BrokerError>,
    stop: CancellationToken,
) {
    let mut told = false;
    while let Some(answer) = stop.run_until_cancelled(broker.declare()).await {
        match answer {
            Ok(()) => return,
            Err(error @ BrokerError::Different(_)) => {
                let _ = report.send(error).await;
                stop.cancel();
                return;
            }
            Err(error) => {
                if !told {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "waiting for the broker");
                    told = true;
                }
            }
        }
        let nap = tokio::time::sleep(RETRY);
        if stop.run_until_cancelled(nap).await.is_none() {
            return;
        }
    }
}
