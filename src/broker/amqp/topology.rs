//! Exchanges and queues: what they must be, and declaring what is missing.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind, Queue};
use tokio::sync::Mutex;

use super::connection::answer;
use crate::broker::created::Created;
use crate::broker::{BrokerError, Lane, ObjectStatus, QueueStatus, Source};
use crate::job::QueueName;

/// Direct exchange that every job is published to.
pub(super) const JOBS: &str = "longshore.jobs";
/// Direct exchange that dead letters pass.
const DEAD: &str = "longshore.dead";
pub(super) const LANES: [Lane; 3] = [Lane::Normal, Lane::High, Lane::Dead];

/// Deliveries after which the broker dead-letters a message.
const DELIVERY_LIMIT: i64 = 100;
/// A dead-letter queue has nowhere to pass messages on to: past its limit they would be
/// dropped. "Unlimited" (-1) is refused before RabbitMQ 4.0, which on the other hand sets a
/// limit of 20 where none is given; so the limit is one that is never reached.
/// <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>
const DEAD_DELIVERY_LIMIT: i64 = i32::MAX as i64;

const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// The reply code of a broker's refusal (AMQP 0-9-1, section 1.2).
pub(super) fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => Some(refusal.get_id()),
        _ => None,
    }
}

pub(super) fn is_not_found(error: &lapin::Error) -> bool {
    reply_code(error) == Some(NOT_FOUND)
}

pub(super) fn unavailable(error: &lapin::Error) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}

/// The broker objects that the configured queues need.
#[derive(Debug)]
pub(super) struct Topology {
    queues: Vec<QueueName>,
    pub(super) created: Created,
    // One pass at a time in this process, so that two do not both find a queue missing and
    // announce it twice.
    declaring: Mutex<()>,
}

impl Topology {
    pub(super) fn new(queues: &[QueueName]) -> Self {
        Self {
            queues: queues.to_vec(),
            created: Created::new(),
            declaring: Mutex::new(()),
        }
    }

    pub(super) fn knows(&self, queue: &QueueName) -> bool {
        self.queues.contains(queue)
    }

    /// Declares everything that is missing.
    pub(super) async fn declare(&self, link: &Connection) -> Result<(), BrokerError> {
        self.declare_only(link, &self.queues).await
    }

    /// Declares what is missing of one queue; nothing if it is not configured.
    pub(super) async fn declare_queue(
        &self,
        link: &Connection,
        queue: &QueueName,
    ) -> Result<(), BrokerError> {
        if self.knows(queue) {
            self.declare_only(link, std::slice::from_ref(queue)).await
        } else {
            Ok(())
        }
    }

    async fn declare_only(
        &self,
        link: &Connection,
        queues: &[QueueName],
    ) -> Result<(), BrokerError> {
        let _one_pass = self.declaring.lock().await;
        let mut scratch = Scratch::new(link);
        // An object that differs must not keep the others from being declared.
        let mut differences = Vec::new();
        for exchange in [JOBS, DEAD] {
            note(scratch.declare_exchange(exchange).await, &mut differences)?;
        }
        for queue in queues {
            let mut created = false;
            for lane in LANES {
                let source = Source::new(queue.clone(), lane);
                let missing = scratch.look(&source).await?.is_none();
                let declared = scratch.declare_queue(&source).await;
                let declared = note(declared, &mut differences)?;
                created |= missing && declared && lane != Lane::Dead;
            }
            if created {
                tracing::info!(queue = %queue, "the broker's queue had to be created");
                self.created.announce(queue);
            }
        }
        if differences.is_empty() {
            Ok(())
        } else {
            Err(BrokerError::Different(differences.join("\n")))
        }
    }

    /// What is there, without changing anything.
    pub(super) async fn inspect(
        &self,
        link: &Connection,
    ) -> Result<Vec<ObjectStatus>, BrokerError> {
        let mut scratch = Scratch::new(link);
        let mut objects = Vec::new();
        for exchange in [JOBS, DEAD] {
            let found = scratch.look_exchange(exchange).await?;
            let declared = match found {
                true => Some(scratch.declare_exchange(exchange).await),
                false => None,
            };
            objects.push(object(
                "exchange",
                exchange.to_owned(),
                "direct, durable".to_owned(),
                declared,
            )?);
        }
        for queue in &self.queues {
            for lane in LANES {
                let source = Source::new(queue.clone(), lane);
                let declared = match scratch.look(&source).await? {
                    Some(_) => Some(scratch.check_queue(&source).await),
                    None => None,
                };
                let (name, expected) = (source.to_string(), expected(&source));
                objects.push(object("queue", name, expected, declared)?);
            }
        }
        Ok(objects)
    }
}

/// Ready messages and consumers of a queue.
pub(super) async fn status(link: &Connection, source: &Source) -> Result<QueueStatus, BrokerError> {
    match Scratch::new(link).look(source).await? {
        Some(queue) => Ok(QueueStatus {
            ready: queue.message_count().into(),
            consumers: queue.consumer_count().into(),
        }),
        None => Err(BrokerError::NoQueue(source.to_string())),
    }
}

/// Collects a difference; true if there was none.
fn note(declared: Result<(), BrokerError>, into: &mut Vec<String>) -> Result<bool, BrokerError> {
    match declared {
        Ok(()) => Ok(true),
        Err(BrokerError::Different(text)) => {
            into.push(text);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn object(
    object: &'static str,
    name: String,
    expected: String,
    declared: Option<Result<(), BrokerError>>,
) -> Result<ObjectStatus, BrokerError> {
    let (status, detail) = match declared {
        None => ("missing", None),
        Some(Ok(())) => ("declared", None),
        Some(Err(BrokerError::Different(text))) => ("different", Some(text)),
        Some(Err(error)) => return Err(error),
    };
    Ok(ObjectStatus {
        object,
        name,
        expected,
        status,
        detail,
    })
}

/// The arguments of a queue, in the order in which they are shown.
fn arguments(source: &Source) -> Vec<(&'static str, AMQPValue)> {
    let text = |value: &str| AMQPValue::LongString(value.into());
    let limit = |deliveries| ("x-delivery-limit", AMQPValue::LongLongInt(deliveries));
    let kind = ("x-queue-type", text("quorum"));
    if source.lane == Lane::Dead {
        return vec![kind, limit(DEAD_DELIVERY_LIMIT)];
    }
    vec![
        kind,
        limit(DELIVERY_LIMIT),
        ("x-dead-letter-exchange", text(DEAD)),
        ("x-dead-letter-routing-key", text(source.queue.as_str())),
        // At-least-once dead-lettering works only together with `reject-publish`.
        // <https://www.rabbitmq.com/docs/quorum-queues#dead-lettering>
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]
}

fn table(source: &Source) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments(source) {
        table.insert(name.into(), value);
    }
    table
}

/// What a queue should be, for people.
fn expected(source: &Source) -> String {
    let mut text = "durable".to_owned();
    for (name, value) in arguments(source) {
        let value = match value {
            AMQPValue::LongString(value) => value.to_string(),
            AMQPValue::LongLongInt(value) => value.to_string(),
            other => format!("{other:?}"),
        };
        text.push_str(&format!(", {name}={value}"));
    }
    text
}

/// A channel for asking. A refusal closes it, and the next question opens another.
struct Scratch<'a> {
    link: &'a Connection,
    channel: Option<Channel>,
}

impl<'a> Scratch<'a> {
    const fn new(link: &'a Connection) -> Self {
        Self {
            link,
            channel: None,
        }
    }

    async fn channel(&mut self) -> Result<Channel, BrokerError> {
        if let Some(channel) = self.channel.as_ref().filter(|c| c.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = answer(self.link.create_channel())
            .await
            .map_err(|error| unavailable(&error))?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    /// The queue as it is; `None` if it is not there.
    async fn look(&mut self, source: &Source) -> Result<Option<Queue>, BrokerError> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions::durable().passive();
        let name = source.to_string().into();
        self.found(answer(channel.queue_declare(name, options, FieldTable::default())).await)
    }

    async fn look_exchange(&mut self, name: &str) -> Result<bool, BrokerError> {
        let channel = self.channel().await?;
        let options = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let looked = answer(channel.exchange_declare(
            name.into(),
            ExchangeKind::Direct,
            options,
            FieldTable::default(),
        ))
        .await;
        Ok(self.found(looked)?.is_some())
    }

    fn found<T>(&mut self, looked: lapin::Result<T>) -> Result<Option<T>, BrokerError> {
        match looked {
            Ok(object) => Ok(Some(object)),
            Err(error) => {
                self.channel = None;
                if is_not_found(&error) {
                    Ok(None)
                } else {
                    Err(unavailable(&error))
                }
            }
        }
    }

    async fn declare_exchange(&mut self, name: &str) -> Result<(), BrokerError> {
        let channel = self.channel().await?;
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let declared = answer(channel.exchange_declare(
            name.into(),
            ExchangeKind::Direct,
            options,
            FieldTable::default(),
        ))
        .await;
        let fix = format!("delete the exchange `{name}`");
        self.agreed(declared, "exchange", name, "direct, durable", &fix)
    }

    /// Declares the queue and binds it. The binding is declared even where the queue is there:
    /// an exchange that was deleted took its bindings along.
    async fn declare_queue(&mut self, source: &Source) -> Result<(), BrokerError> {
        self.check_queue(source).await?;
        let exchange = match source.lane {
            Lane::Normal | Lane::High => JOBS,
            Lane::Dead => DEAD,
        };
        let channel = self.channel().await?;
        let bound = channel.queue_bind(
            source.to_string().into(),
            exchange.into(),
            source.routing_key().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        answer(bound).await.map_err(|error| {
            self.channel = None;
            unavailable(&error)
        })
    }

    /// Declares the queue with the arguments it should have: changes nothing if it is there.
    async fn check_queue(&mut self, source: &Source) -> Result<(), BrokerError> {
        let channel = self.channel().await?;
        let name = source.to_string();
        let options = QueueDeclareOptions::durable();
        let question = channel.queue_declare(name.as_str().into(), options, table(source));
        let declared = answer(question).await.map(|_| ());
        let fix = format!(
            "let it run empty or note that its jobs are safe in the store, then delete the queue (`rabbitmqctl -p VHOST delete_queue {name}`, with the vhost named above)"
        );
        self.agreed(declared, "queue", &name, &expected(source), &fix)
    }

    fn agreed(
        &mut self,
        declared: lapin::Result<()>,
        object: &str,
        name: &str,
        expected: &str,
        fix: &str,
    ) -> Result<(), BrokerError> {
        let Err(error) = declared else {
            return Ok(());
        };
        self.channel = None;
        match (reply_code(&error), error.kind()) {
            (Some(PRECONDITION_FAILED), ErrorKind::ProtocolError(refusal)) => {
                Err(BrokerError::Different(format!(
                    "the {object} `{name}` should be `{expected}`, but the broker says: {}. To fix it, {fix} and run `longshore topology --apply`",
                    refusal.get_message()
                )))
            }
            _ => Err(unavailable(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_declared_as_the_contract_says() {
        let queue: QueueName = "email".parse().unwrap();
        let shown = |lane| expected(&Source::new(queue.clone(), lane));
        let working = "durable, x-queue-type=quorum, x-delivery-limit=100, \
            x-dead-letter-exchange=longshore.dead, x-dead-letter-routing-key=email, \
            x-dead-letter-strategy=at-least-once, x-overflow=reject-publish";
        assert_eq!(shown(Lane::Normal), working);
        assert_eq!(shown(Lane::High), working);
        assert_eq!(
            shown(Lane::Dead),
            "durable, x-queue-type=quorum, x-delivery-limit=2147483647"
        );
    }
}
