use sqlx::error::DatabaseError;

use crate::store::StoreError;

/// What goes wrong inside a transaction, before it is told to the caller.
#[derive(Debug)]
pub(super) enum Fault {
    /// The driver or the database said so.
    Sql(sqlx::Error),
    /// Already in the caller's terms.
    Store(StoreError),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sql(error) => classify(error),
            Fault::Store(error) => error,
        }
    }
}

impl Fault {
    /// A row that this program cannot read.
    pub(super) fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Store(StoreError::Corrupt(what.to_string()))
    }

    /// No answer within the bound; what was asked may still happen.
    pub(super) fn late() -> Self {
        let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time");
        Self::Sql(sqlx::Error::Io(late))
    }

    /// True when the server answered and the connection is fit to be rolled back and used again.
    ///
    /// A statement whose cached plan has become wrong (0A000, a migration ran meanwhile) stays
    /// wrong on its connection, and an administrator's shutdown (57P) ends it.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        match self {
            Self::Store(_) => true,
            Self::Sql(sqlx::Error::Database(error)) => {
                let code = code_of(error.as_ref());
                code != "0A000" && !code.starts_with("57P") && !code.starts_with("08")
            }
            Self::Sql(_) => false,
        }
    }
}

fn code_of(error: &dyn DatabaseError) -> String {
    error.code().unwrap_or_default().into_owned()
}

/// The caller's view of an error, by SQLSTATE (PostgreSQL's manual, appendix A).
fn classify(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(from_server) => {
            let code = code_of(from_server.as_ref());
            match code.get(..2).unwrap_or_default() {
                // Deadlock, serialization; a lock not had in time; a plan made stale; a
                // partition that was dropped while we waited for it.
                "40" | "55" | "0A" => StoreError::Contention(error),
                "XX" if code == "XX000" => StoreError::Contention(error),
                "53" if code == "53100" => StoreError::Full(error),
                "22" | "23" | "54" => StoreError::Data(error),
                "3F" => StoreError::Schema(not_migrated()),
                "42" if code == "42P01" || code == "42703" => StoreError::Schema(not_migrated()),
                "42" => StoreError::Schema(format!(
                    "the database refused a statement ({code}): {}",
                    from_server.message()
                )),
                // Connections, resources, operators, standby, and what nobody has a name for.
                _ => StoreError::Unavailable(error),
            }
        }
        sqlx::Error::PoolClosed => StoreError::Stopping,
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => StoreError::Data(error),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::RowNotFound => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Unavailable(error),
    }
}

fn not_migrated() -> String {
    "the database is not migrated: run `longshore migrate`".to_owned()
}
