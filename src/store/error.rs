// The cause is part of the message, not a source: a line of a log must tell it too, and sqlx's
// texts never hold the URL.

/// What a store's methods return.
pub type StoreResult<T> = Result<T, StoreError>;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be reached, is overloaded, or did not answer in time. Whether the
    /// transaction committed is unknown.
    #[error("the database does not answer: {0}")]
    Unavailable(sqlx::Error),
    /// There is no room to write: its disk is full, or a limit or quota is reached. Nothing was
    /// committed.
    #[error("the database has no room left: {0}")]
    Full(sqlx::Error),
    /// More is asked for than can be written: its turn did not come in time. Nothing of it was
    /// written.
    #[error("more is to be written than the database can take; its turn did not come in time")]
    Overloaded,
    /// A deadlock or serialization failure. Nothing was committed; the same call may work now.
    #[error("the database was busy with a conflicting transaction: {0}")]
    Contention(sqlx::Error),
    /// The database refused a value. Nothing was committed.
    #[error("the database refused a value: {0}")]
    Data(sqlx::Error),
    /// The database's file cannot be created or opened.
    #[error("cannot open the database file `{}`: {source}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The database's URL is not one. Never holds the URL, which may hold a password.
    #[error("{0}")]
    Url(String),
    /// The schema is not this program's.
    #[error("{0}")]
    Schema(String),
    /// A row holds what this program cannot read.
    #[error("a row of the database cannot be read: {0}")]
    Corrupt(String),
    /// The group commit behind the call has ended: the process is stopping.
    #[error("the process is stopping")]
    Stopping,
    /// One batch answered for many, and this is a copy of its answer.
    #[error(transparent)]
    Shared(std::sync::Arc<StoreError>),
}

impl StoreError {
    /// True when the same call may succeed later: nothing is wrong with what was asked.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Full(_) | Self::Contention(_) | Self::Overloaded => true,
            Self::Shared(inner) => inner.is_transient(),
            _ => false,
        }
    }

    /// True when the database was not there to answer or to write, rather than answering with a
    /// refusal.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Full(_) => true,
            Self::Shared(inner) => inner.is_outage(),
            _ => false,
        }
    }

    /// True when there is no room to write.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Shared(inner) => inner.is_full(),
            _ => false,
        }
    }

    /// True when there was too much to do, and nothing was begun.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        match self {
            Self::Overloaded => true,
            Self::Shared(inner) => inner.is_overloaded(),
            _ => false,
        }
    }

    /// True when one of the values that were to be written is at fault.
    #[must_use]
    pub fn is_data(&self) -> bool {
        match self {
            Self::Data(_) => true,
            Self::Shared(inner) => inner.is_data(),
            _ => false,
        }
    }
}
