//! Where the services' programs are.

use std::env;
use std::path::{Path, PathBuf};

/// The folder with `rabbitmq-server` and `rabbitmqctl` themselves, not Debian's wrappers, which
/// insist on a user of their own.
pub fn rabbitmq_sbin() -> PathBuf {
    given("LONGSHORE_TEST_RABBITMQ_SBIN", "rabbitmq-server").unwrap_or_else(|| {
        newest(Path::new("/usr/lib/rabbitmq/lib"), "sbin")
            .or_else(|| on_path("rabbitmq-server"))
            .unwrap_or_else(|| missing("RabbitMQ", "LONGSHORE_TEST_RABBITMQ_SBIN"))
    })
}

/// The folder with `postgres`, `initdb` and `psql`.
pub fn postgres_bin() -> PathBuf {
    given("LONGSHORE_TEST_PG_BIN", "postgres").unwrap_or_else(|| {
        newest(Path::new("/usr/lib/postgresql"), "bin")
            .or_else(|| on_path("postgres"))
            .unwrap_or_else(|| missing("PostgreSQL", "LONGSHORE_TEST_PG_BIN"))
    })
}

/// A Python that has aiosmtpd.
pub fn python() -> PathBuf {
    env::var_os("TEST_PYTHON").map_or_else(
        || missing("a Python with aiosmtpd", "TEST_PYTHON"),
        PathBuf::from,
    )
}

/// `epmd`, Erlang's port mapper.
pub fn epmd() -> PathBuf {
    on_path("epmd").map_or_else(|| missing("epmd", "PATH"), |folder| folder.join("epmd"))
}

fn missing(what: &str, variable: &str) -> ! {
    panic!("{what} not found: run `tests/run`, which installs it, or set {variable}")
}

fn given(variable: &str, program: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env::var_os(variable)?);
    assert!(
        folder.join(program).exists(),
        "{variable} is {}, but there is no {program} in it",
        folder.display()
    );
    Some(folder)
}

/// `<base>/<newest version>/<leaf>`.
fn newest(base: &Path, leaf: &str) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(base)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join(leaf)))
        .filter(|path| path.is_dir())
        .collect();
    found.sort_by_key(|path| numbers(path));
    found.pop()
}

fn numbers(path: &Path) -> Vec<u64> {
    path.to_string_lossy()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// The real folder of a program on `PATH`, symbolic links followed.
fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .and_then(|path| Some(path.canonicalize().ok()?.parent()?.to_path_buf()))
}
