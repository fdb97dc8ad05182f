use std::fs;
use std::path::Path;

/// A source file.
#[derive(Debug)]
pub struct Source {
    /// From the package's folder, with slashes.
    pub path: String,
    pub text: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// The module it is, from the crate's root: `src/store/mod.rs` is `[store]`.
    pub fn module(&self) -> Vec<String> {
        let inside = self
            .path
            .split_once('/')
            .map_or("", |(_, inside)| inside)
            .trim_end_matches(".rs");
        let mut parts: Vec<String> = inside.split('/').map(str::to_owned).collect();
        let last = parts.last().map_or("", String::as_str);
        if last == "mod" || (parts.len() == 1 && (last == "lib" || last == "main")) {
            parts.pop();
        }
        parts
    }
}

/// Every file of `src/` and `workers/`.
pub fn all() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["src", "workers"] {
        collect(folder, &mut found);
    }
    found
}

fn collect(folder: &str, found: &mut Vec<Source>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root.join(folder)).expect("a source folder") {
        let entry = entry.expect("an entry");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&path, found);
        } else if path.ends_with(".rs") {
            found.push(Source {
                text: fs::read_to_string(entry.path()).expect("a source file"),
                path,
            });
        }
    }
}
