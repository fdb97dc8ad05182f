use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use longshore::job::Failure;
use uuid::Uuid;

use super::compose::Mail;

/// Writes the mail to `<folder>/<job id>.eml`, making the folder if need be. A repeat replaces
/// the file by the same bytes.
///
/// # Errors
/// `email_write`: the folder cannot be written to (full, read-only), so every mail must wait.
pub(super) async fn deliver(folder: &Path, mail: &Mail) -> Result<PathBuf, Failure> {
    let (folder, job, content) = (folder.to_owned(), mail.job, mail.content.clone());
    let path = folder.join(format!("{job}.eml"));
    let target = path.clone();
    let written = tokio::task::spawn_blocking(move || write(&folder, &target, &content)).await;
    match written.unwrap_or_else(|stopped| Err(io::Error::other(stopped))) {
        Ok(()) => Ok(path),
        Err(error) => {
            let message = format!("cannot write {}: {error}", path.display());
            Err(Failure::unavailable("email_write", message))
        }
    }
}

/// The name appears with the whole content behind it, and is durable before the job is done: the
/// file is synced before the rename and the folder after it.
fn write(folder: &Path, target: &Path, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // Two runs of one job (a zombie and its successor) must not write one file.
    let temporary = folder.join(format!(".{}.tmp", Uuid::now_v7()));
    let written = File::create_new(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, target));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| File::open(folder)?.sync_all())
}
