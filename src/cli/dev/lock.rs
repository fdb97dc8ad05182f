use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::super::CliError;

/// Keeps a second `dev` off the same database file, for as long as it is held. The lock is the
/// operating system's: it ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Takes the lock beside the database file, whose folder must exist.
pub(super) fn take(database: &Path) -> Result<Lock, CliError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let mut options = OpenOptions::new();
    let unusable = |error: std::io::Error| {
        let path = Path::new(&path).display();
        CliError::usage(format!(
            "cannot lock `{path}`: {error} — choose another folder with LONGSHORE_DATA_DIR"
        ))
    };
    let file = options
        .append(true)
        .create(true)
        .open(&path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(CliError::usage(format!(
            "another `longshore dev` works on {} — stop it, or give this one a folder of its own \
             with LONGSHORE_DATA_DIR",
            database.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}
