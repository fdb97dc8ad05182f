use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder that goes with the test that made it, unless that test fails: then it stays, and
/// the test's output says where.
#[derive(Debug)]
pub struct TestDir {
    dir: Option<TempDir>,
    what: String,
}

impl TestDir {
    pub fn new(what: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(&format!("longshore-{what}-"))
            .tempdir()
            .expect("a temporary folder");
        // A service that runs as another user must get in.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        Self {
            dir: Some(dir),
            what: what.to_owned(),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("present until dropped").path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        if std::thread::panicking() {
            eprintln!("kept {}: {}", self.what, dir.keep().display());
        }
    }
}
