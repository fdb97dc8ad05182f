use std::time::Duration;

/// Why a call of the gateway did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct GatewayError {
    /// `card_declined`, `gateway_timeout`.
    pub(crate) code: String,
    /// For people.
    pub(crate) message: String,
    pub(crate) advice: Advice,
    /// The status of the answer; `None` if none was read.
    pub(crate) status: Option<u16>,
    /// How long the gateway asks to be left alone.
    pub(crate) after: Option<Duration>,
    /// True if the gateway says that this is its first answer to the idempotency key, once more.
    pub(crate) replayed: bool,
}

/// What an error says about trying again. It says nothing about whether the money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// The card was declined.
    Declined,
    /// Try again; it counts.
    Retry,
    /// The gateway is down, or does not let us in.
    Unavailable,
    /// It would be the same again.
    Permanent,
}

impl GatewayError {
    /// An answer that was not read: whether the call took is not known.
    pub(crate) fn unanswered(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            advice: Advice::Unavailable,
            status: None,
            after: None,
            replayed: false,
        }
    }

    /// True if the gateway has spent the idempotency key on this: it would answer the same for a
    /// day, whatever has become of the reason, or it knows the key from another request.
    ///
    /// Only then may another key be used: the request of the first has come to its end. A 5xx
    /// alone may be that of something in between, behind which the gateway is still at work.
    pub(crate) fn spent_the_key(&self) -> bool {
        let failed = self.status.is_some_and(|status| status >= 500);
        (failed && self.replayed) || self.code == "idempotency_error"
    }

    /// True if the gateway knows no such object.
    pub(crate) fn is_missing(&self) -> bool {
        self.status == Some(404)
    }
}
