use std::io;
use std::path::{Path, PathBuf};

use crate::job::JobId;

/// A folder that is removed with this value.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("longshore-test-{}", JobId::new()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the machine's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
