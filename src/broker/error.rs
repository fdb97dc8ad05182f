/// Why a broker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// It cannot be reached, or the connection was lost.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
    /// An object exists with other arguments than `queues.toml` asks for.
    #[error("{0}")]
    Different(String),
    /// A setting is no URL of a broker. Never shows the URL, which may hold a password.
    #[error("{0}")]
    Url(String),
    /// The user may not do that here.
    #[error("{0}")]
    Refused(String),
    /// The broker takes no messages: an alarm blocks whoever publishes.
    #[error("{0}")]
    Blocked(String),
    /// The queue does not exist.
    #[error("the broker has no queue `{0}`")]
    NoQueue(String),
}

impl BrokerError {
    /// What an operator can do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Unavailable(why) | Self::Refused(why) => {
                // RabbitMQ's own words, in the texts of its refusals.
                if why.contains("ACCESS_REFUSED") && why.contains("Login") {
                    "correct user and password in AMQP_URL (`guest` may log in from the broker's \
                     own machine only)"
                } else if why.contains("vhost") && why.contains("not found") {
                    "create the vhost (`rabbitmqctl add_vhost`), or correct it in AMQP_URL"
                } else if why.contains("access to vhost") {
                    "let the user into the vhost: rabbitmqctl set_permissions -p VHOST USER \
                     '^longshore[.]' '^longshore[.]' '^longshore[.]'"
                } else if why.contains("ACCESS_REFUSED") || matches!(self, Self::Refused(_)) {
                    "grant the user configure, write and read: rabbitmqctl set_permissions -p \
                     VHOST USER '^longshore[.]' '^longshore[.]' '^longshore[.]'"
                } else {
                    "start it, or correct host and port in AMQP_URL (and see the firewall between)"
                }
            }
            Self::Blocked(_) => {
                "free memory or disk on the broker (`rabbitmq-diagnostics alarms`); jobs are safe \
                 in the store meanwhile"
            }
            Self::Different(_) => "delete what differs, then longshore topology --apply",
            Self::Url(_) => "correct AMQP_URL",
            Self::NoQueue(_) => "longshore topology --apply, or start a process",
        }
    }
}

/// Why a publish is not known to have succeeded. The message may be on the broker all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No connection, or it was lost before the confirm.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
    /// The broker answered that it did not take the message.
    #[error("the broker refused the message")]
    Refused,
    /// No queue took it, even after declaring it again.
    #[error("no queue took the message")]
    Unroutable,
    /// The broker has no such queue, and neither has the configuration of this process.
    #[error("nobody has such a queue")]
    UnknownQueue,
    /// No confirm in time.
    #[error("the broker did not confirm in time")]
    Timeout,
}
