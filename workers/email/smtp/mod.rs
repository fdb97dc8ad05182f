//! SMTP, stage by stage, so that each failure is known for what it is.

mod connector;
mod dialogue;
mod limits;
mod reply;
mod session;
mod trouble;

use std::fmt;

use deadpool::Runtime;
use deadpool::managed::{Object, Pool, PoolError, QueueMode};
use longshore::job::Failure;
use rustls::RootCertStore;
use tokio::time::{Instant, timeout};

use super::compose::Mail;
use super::settings::SmtpServer;
use connector::Connector;
pub(crate) use limits::Limits;
pub(crate) use reply::Reply;
use trouble::{Fault, Stage, Trouble};

/// Delivers mails to one server, over connections that are kept and shared.
pub(crate) struct SmtpTransport {
    pool: Pool<Connector>,
    limits: Limits,
    /// `host:port`, for messages.
    server: String,
}

impl fmt::Debug for SmtpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpTransport")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl SmtpTransport {
    /// Connects to nothing yet. Trusts servers whose certificates lead to `roots`.
    ///
    /// # Errors
    /// What does not work here, for people.
    pub(crate) fn new(
        server: SmtpServer,
        limits: Limits,
        roots: RootCertStore,
    ) -> Result<Self, String> {
        let name = match server.host.contains(':') {
            true => format!("[{}]:{}", server.host, server.port),
            false => format!("{}:{}", server.host, server.port),
        };
        let connector = Connector::new(server, limits.clone(), roots).map_err(|e| e.to_string())?;
        let pool = Pool::builder(connector)
            .max_size(limits.connections)
            .wait_timeout(Some(limits.wait))
            // The busiest are the freshest, and what is not needed grows old and goes.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            pool,
            limits,
            server: name,
        })
    }

    /// Hands the mail to the server; its last reply, if it took it. A server that keeps it waiting
    /// is given up before `deadline`, when the run is cut off.
    ///
    /// # Errors
    /// By the table in the documentation of [`super`].
    pub(crate) async fn deliver(&self, mail: &Mail, deadline: Instant) -> Result<Reply, Failure> {
        self.send(mail, deadline)
            .await
            .map_err(|trouble| trouble.failure(&self.server))
    }

    async fn send(&self, mail: &Mail, deadline: Instant) -> Result<Reply, Trouble> {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = self.limits.before_data(left);
        let mut session = timeout(limit, self.address(mail))
            .await
            .unwrap_or(Err(Trouble::new(Stage::Mail, Fault::Dawdled(limit))))?;
        session.hand_over(mail, self.limits.content).await
    }

    /// A session in which sender and recipients are taken.
    ///
    /// A kept connection may have died unseen. As long as the server has taken nothing, that is
    /// no failure of this mail: the next connection tries, until one that is new has spoken.
    async fn address(&self, mail: &Mail) -> Result<Object<Connector>, Trouble> {
        loop {
            let mut session = self
                .pool
                .get()
                .await
                .map_err(|error| self.no_session(error))?;
            let kept = session.was_used();
            match session.address(mail).await {
                Ok(()) => return Ok(session),
                Err(trouble) if kept && trouble.is_stale_connection() => {
                    drop(Object::take(session));
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    fn no_session(&self, error: PoolError<Trouble>) -> Trouble {
        match error {
            PoolError::Backend(trouble) => trouble,
            _ => Trouble::new(Stage::Pool, Fault::TimedOut(self.limits.wait)),
        }
    }
}
