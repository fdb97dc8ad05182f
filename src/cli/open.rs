use std::sync::Arc;

use super::{CliError, Context};
use crate::admin::unknown_queue;
use crate::app::complete_queues;
use crate::broker::Broker;
use crate::broker::amqp::AmqpBroker;
use crate::broker::embedded::EmbeddedBroker;
use crate::config::{BrokerUrl, DatabaseUrl, Need, Queues, Settings};
use crate::job::QueueName;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{JobFilter, Schema, Store};

/// The store that the settings name. Nothing is connected yet.
pub(super) async fn store(settings: &Settings) -> Result<Arc<dyn Store>, CliError> {
    let database = settings.database().map_err(|error| vec![error])?;
    Ok(match database {
        DatabaseUrl::Postgres(url) => Arc::new(PostgresStore::connect(url.expose()).await?),
        DatabaseUrl::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
    })
}

/// The broker that the settings name. Nothing is connected yet.
pub(super) fn broker(settings: &Settings, queues: &Queues) -> Result<Arc<dyn Broker>, CliError> {
    let names: Vec<QueueName> = queues.names().cloned().collect();
    let broker = settings.broker().map_err(|error| vec![error])?;
    Ok(match broker {
        BrokerUrl::Amqp(urls) => {
            let urls: Vec<String> = urls.iter().map(|url| url.expose().to_owned()).collect();
            let broker = AmqpBroker::connect(&urls, &names);
            Arc::new(broker.map_err(|error| CliError::usage(error.to_string()))?)
        }
        BrokerUrl::Embedded => Arc::new(EmbeddedBroker::new(&names)),
    })
}

/// The broker for a command that looks at it from outside: none where it is embedded in
/// another process.
pub(super) fn reachable_broker(
    settings: &Settings,
    queues: &Queues,
) -> Result<Option<Arc<dyn Broker>>, CliError> {
    let sqlite = matches!(settings.database(), Ok(DatabaseUrl::Sqlite(_)));
    match settings.broker() {
        Ok(BrokerUrl::Embedded) => Ok(None),
        Err(_) if sqlite => Ok(None),
        _ => broker(settings, queues).map(Some),
    }
}

impl Context {
    /// Settings and queue file, with all that is wrong with either.
    pub(super) fn configured(&self, need: Need) -> Result<(Settings, Queues), CliError> {
        let settings = self.settings.clone().validate(need);
        let queues = self.queues();
        match (settings, queues) {
            (Ok(settings), Ok(queues)) => Ok((settings, queues)),
            (Ok(_), Err(error)) => Err(error),
            (Err(errors), Ok(_)) => Err(errors.into()),
            (Err(errors), Err(error)) => Err(CliError::from(errors).and(error)),
        }
    }

    /// The queue file, completed with the queues of kinds that it does not name.
    pub(super) fn queues(&self) -> Result<Queues, CliError> {
        let mut queues = Queues::load(self.settings.queue_file().as_deref())?;
        complete_queues(&mut queues, &self.registry);
        Ok(queues)
    }
}

/// The store, for a command: it must answer, and its schema must be this program's.
pub(super) async fn ready_store(settings: &Settings) -> Result<Arc<dyn Store>, CliError> {
    let store = store(settings).await?;
    match store.schema().await? {
        Schema::Current => Ok(store),
        schema => Err(CliError::usage(schema.advice())),
    }
}

/// Refuses queues that neither the configuration nor any job knows.
pub(super) async fn known_queues(
    filter: &JobFilter,
    queues: &Queues,
    store: &dyn Store,
) -> Result<(), CliError> {
    match unknown_queue(&filter.queues, queues, store).await? {
        Some(unknown) => Err(CliError::usage(unknown)),
        None => Ok(()),
    }
}
