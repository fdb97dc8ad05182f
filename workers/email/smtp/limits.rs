use std::time::Duration;

/// How long the parts of a delivery may take, and how connections are kept.
///
/// **Invariant:** a server that hangs is noticed (`before_data`) within the queue's `timeout`,
/// whatever that is. So an outage ends as "unavailable", which counts no attempt, and not as a
/// handler's timeout, which does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections of this process to the server.
    pub(crate) connections: usize,
    /// Waiting for one of them.
    pub(crate) wait: Duration,
    /// Resolving the name and connecting; and again for the TLS handshake.
    pub(crate) connect: Duration,
    /// Each answer before DATA.
    pub(crate) reply: Duration,
    /// Everything up to DATA, the waiting and second tries included; less where the run has less
    /// time left.
    pub(crate) before_data: Duration,
    /// Sending the content and waiting for its answer. RFC 5321, section 4.5.3.2.6, asks for ten
    /// minutes, because giving up early repeats mails; the queue's `timeout` is shorter.
    pub(crate) content: Duration,
    /// A connection idle for longer is asked whether it lives (NOOP) before it is used.
    pub(crate) probe_after: Duration,
    /// A connection older than this is not used again.
    pub(crate) max_age: Duration,
    /// Mails over one connection; servers have limits of their own and answer beyond them with
    /// temporary errors.
    pub(crate) max_mails: usize,
}

/// What is kept of a run's time to tell how it ended; of a short one, a quarter.
const TO_TELL: Duration = Duration::from_secs(3);

impl Limits {
    /// Everything up to DATA, of a run that has so much time left.
    pub(super) fn before_data(&self, left: Duration) -> Duration {
        self.before_data.min(left - TO_TELL.min(left / 4))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16,
            wait: Duration::from_secs(20),
            connect: Duration::from_secs(10),
            reply: Duration::from_secs(20),
            before_data: Duration::from_secs(45),
            content: Duration::from_secs(600),
            probe_after: Duration::from_secs(5),
            max_age: Duration::from_secs(300),
            max_mails: 100,
        }
    }
}
