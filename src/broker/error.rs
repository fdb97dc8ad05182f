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
    /// The queue does not exist.
    #[error("the broker has no queue `{0}`")]
    NoQueue(String),
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
    /// No confirm in time.
    #[error("the broker did not confirm in time")]
    Timeout,
}
