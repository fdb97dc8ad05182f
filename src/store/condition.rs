//! What a database lets this program do, and what stands in its way.

use async_trait::async_trait;
use serde::Serialize;

use super::{StoreError, StoreResult};

/// How a database is set.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Condition {
    /// Why the version is too old, if it is.
    pub too_old: Option<String>,
    /// Why nothing can be written, if so: a standby, a read-only default, a file's permissions.
    pub read_only: Option<String>,
    /// Why `longshore migrate` could not make its tables, if so.
    pub cannot_create: Option<String>,
    /// What the role lacks to work with the tables that are there, if anything.
    pub cannot_work: Option<String>,
    /// Connections that this program may have at once, and those of all that are taken.
    pub connections: Option<Room>,
    /// Seconds that the database's clock is ahead of this machine's, give or take the way there.
    pub clock_ahead: f64,
    /// Bytes that are free where the data is, where that is this machine.
    pub free_bytes: Option<u64>,
}

/// Room for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Room {
    /// At most, by the lowest of the limits of server, database and role.
    pub most: u32,
    /// Of these, taken by anybody.
    pub taken: u32,
    /// What one process of Longshore opens at most.
    pub needed: u32,
}

/// Looks at the database itself.
///
/// # Errors
/// As those of [`Store`](super::Store).
#[async_trait]
pub trait Inspect {
    /// How it is set. Asks nothing of the schema, which may be missing.
    async fn condition(&self) -> StoreResult<Condition>;
}

impl StoreError {
    /// True if the role lacks a right.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Schema(why) if why.contains(PERMISSION_DENIED))
    }

    /// What an operator can do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Unavailable(sqlx::Error::Database(error)) => {
                fix_of(&error.code().unwrap_or_default())
            }
            Self::Unavailable(sqlx::Error::Tls(_)) => {
                "correct `sslmode` in DATABASE_URL, or the server's certificate"
            }
            Self::Unavailable(_) => {
                "start it, or correct host and port in DATABASE_URL (and see the firewall between)"
            }
            Self::Full(_) => "make room on the disk of the database (or raise the limit or quota)",
            Self::Contention(_) | Self::Overloaded => "try again",
            Self::File { .. } => {
                "give this user the right to write there, or choose another folder with \
                 LONGSHORE_DATA_DIR"
            }
            Self::Url(_) => "correct DATABASE_URL",
            Self::Schema(_) if self.is_refusal() => fix_of(PERMISSION_DENIED),
            Self::Schema(_) => "longshore migrate",
            Self::Corrupt(_) => "restore the database from a backup; the message says which row",
            Self::Data(_) | Self::Stopping => "see the database's log",
            Self::Shared(inner) => inner.fix(),
        }
    }
}

/// The SQLSTATE of a right that is missing; in the text of such a refusal.
const PERMISSION_DENIED: &str = "42501";

/// By SQLSTATE (PostgreSQL's manual, appendix A).
fn fix_of(code: &str) -> &'static str {
    match code {
        "28P01" => "correct the password in DATABASE_URL",
        "28000" => "correct the user in DATABASE_URL, or let it in (`CREATE ROLE`, pg_hba.conf)",
        "3D000" => "create the database (`createdb`), or correct its name in DATABASE_URL",
        "53300" => "raise max_connections or the role's CONNECTION LIMIT, or pool connections",
        "57P03" => "wait: the server is starting or recovering",
        PERMISSION_DENIED => {
            "connect as the role that ran `longshore migrate`, or make this one a member of it \
             (GRANT … TO …)"
        }
        "25006" => "point DATABASE_URL at the primary: this server does not write",
        _ => "see the database's log",
    }
}

#[cfg(test)]
mod tests {
    use super::fix_of;

    #[test]
    fn a_refusal_of_the_login_is_told_from_others() {
        for (code, told) in [
            ("28P01", "password"),
            ("28000", "user"),
            ("3D000", "createdb"),
            ("53300", "max_connections"),
            ("42501", "GRANT"),
            ("25006", "primary"),
            ("XX000", "log"),
        ] {
            assert!(fix_of(code).contains(told), "{code}");
        }
    }
}
