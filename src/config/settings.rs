use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::args::SettingsArgs;
use super::duration;
use super::error::{Checked, Problem, SettingError};
use super::secret::Secret;
use super::suggest::{closest, not_one_of};
use super::urls::{AmqpUrls, BrokerUrl, DatabaseUrl};
use super::worker::{self, WorkerSettings};

/// The intake's address unless `LONGSHORE_LISTEN` is set.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);
/// A worker's health address unless `LONGSHORE_HEALTH_LISTEN` is set; then, if it is taken, a
/// free port.
pub const DEFAULT_HEALTH_LISTEN: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7071);

const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(25);
/// No attempt may take as long, see `timeout` in `queues.toml`.
const MAX_SHUTDOWN_DEADLINE: Duration = Duration::from_secs(60 * 60);
const DATA_DIR: &str = ".longshore";
/// The database of `dev`, in the data folder.
const DATABASE_FILE: &str = "longshore.db";
const MAIL_FOLDER: &str = "mail";
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// What the settings are for; it decides which must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `dev`: nothing. A store or broker that is not set is embedded, each on its own: with
    /// only `DATABASE_URL` set the in-process broker moves PostgreSQL's jobs, with only
    /// `AMQP_URL` set RabbitMQ moves SQLite's. Both are sound because the broker can always be
    /// rebuilt from the store; what must not be mixed is two stores behind one RabbitMQ.
    Dev,
    /// `intake`: a PostgreSQL store and RabbitMQ.
    Intake,
    /// `work`: a PostgreSQL store and RabbitMQ.
    Worker,
    /// `migrate` and every operator command on the store: a store, be it that of `dev`. The
    /// broker is there if it is set.
    Operator,
    /// `topology`: RabbitMQ. The store is there if it is set or `dev` has left one.
    Topology,
    /// `doctor`: nothing; it says itself what is missing.
    Doctor,
}

impl Need {
    const fn is_process(self) -> bool {
        matches!(self, Self::Intake | Self::Worker)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// Every setting, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    database: Option<DatabaseUrl>,
    broker: Option<BrokerUrl>,
    /// `LONGSHORE_QUEUES`, for [`Queues::load`](super::Queues::load).
    pub queues: Option<PathBuf>,
    /// `LONGSHORE_LISTEN`. Port 0 is a free port.
    pub listen: SocketAddr,
    /// `LONGSHORE_HEALTH_LISTEN`, if it is set; see [`DEFAULT_HEALTH_LISTEN`].
    pub health_listen: Option<SocketAddr>,
    /// `LONGSHORE_SHUTDOWN_DEADLINE`, more than 0.
    pub shutdown_deadline: Duration,
    /// `LONGSHORE_DATA_DIR`.
    pub data_dir: PathBuf,
    /// `LONGSHORE_ADMIN_KEY`.
    pub admin_key: Option<Secret>,
    /// `LONGSHORE_LOG`: a filter that [`EnvFilter`] takes.
    pub log: String,
    /// `LONGSHORE_LOG_FORMAT`, if it is set; else text on a terminal and JSON elsewhere.
    pub log_format: Option<LogFormat>,
    /// What is handed on to jobs.
    pub worker: WorkerSettings,
}

impl Settings {
    /// The store.
    ///
    /// # Errors
    /// When none is set, for a [`Need`] that does not ask for one.
    pub fn database(&self) -> Result<&DatabaseUrl, SettingError> {
        self.database
            .as_ref()
            .ok_or_else(|| no_database(&self.data_dir))
    }

    /// The broker. For operators the in-process broker of `dev` is none: it is out of reach.
    ///
    /// # Errors
    /// When none is set, for a [`Need`] that does not ask for one.
    pub fn broker(&self) -> Result<&BrokerUrl, SettingError> {
        self.broker
            .as_ref()
            .ok_or_else(|| no_broker(self.database.as_ref()))
    }
}

impl SettingsArgs {
    /// Turns what was given into what it means, with defaults for what was not. An empty or
    /// blank value counts as not given; white space around a value is dropped.
    ///
    /// Looks for the database file of `dev`, but opens and connects nothing.
    ///
    /// # Errors
    /// Everything that is wrong or missing for this need.
    pub fn validate(&self, need: Need) -> Result<Settings, Vec<SettingError>> {
        let mut errors = Errors::default();
        let data_dir = PathBuf::from(text(self.data_dir.as_ref()).unwrap_or(DATA_DIR));
        let database = errors.keep(database(
            secret(self.database_url.as_ref()),
            need,
            &data_dir,
        ));
        let broker = broker(secret(self.amqp_url.as_ref()), need, database.as_ref());
        let settings = Settings {
            broker: errors.keep(broker),
            database,
            queues: self.queue_file(),
            listen: errors
                .check("LONGSHORE_LISTEN", text(self.listen.as_ref()), address)
                .unwrap_or(DEFAULT_LISTEN),
            health_listen: errors.check(
                "LONGSHORE_HEALTH_LISTEN",
                text(self.health_listen.as_ref()),
                address,
            ),
            shutdown_deadline: errors
                .check(
                    "LONGSHORE_SHUTDOWN_DEADLINE",
                    text(self.shutdown_deadline.as_ref()),
                    shutdown_deadline,
                )
                .unwrap_or(SHUTDOWN_DEADLINE),
            admin_key: errors.check(
                "LONGSHORE_ADMIN_KEY",
                secret(self.admin_key.as_ref()),
                worker::admin_key,
            ),
            log: errors
                .check("LONGSHORE_LOG", text(self.log.as_ref()), log_filter)
                .unwrap_or_else(|| "info".to_owned()),
            log_format: errors.check(
                "LONGSHORE_LOG_FORMAT",
                text(self.log_format.as_ref()),
                log_format,
            ),
            worker: self.for_jobs(&mut errors, need == Need::Dev, &data_dir),
            data_dir,
        };
        if errors.0.is_empty() {
            Ok(settings)
        } else {
            Err(errors.0)
        }
    }

    /// `LONGSHORE_QUEUES`, if it is given. Every path is allowed.
    #[must_use]
    pub fn queue_file(&self) -> Option<PathBuf> {
        text(self.queues.as_ref()).map(PathBuf::from)
    }

    fn for_jobs(&self, errors: &mut Errors, dev: bool, data_dir: &Path) -> WorkerSettings {
        let in_dev = |value: String| dev.then(|| Secret::new(value));
        let mail = data_dir.join(MAIL_FOLDER);
        WorkerSettings {
            smtp_url: errors
                .check("SMTP_URL", secret(self.smtp_url.as_ref()), worker::smtp_url)
                .or_else(|| in_dev(format!("file://{}", mail.display()))),
            mail_from: errors
                .check(
                    "MAIL_FROM",
                    text(self.mail_from.as_ref()),
                    worker::mail_from,
                )
                .unwrap_or_else(|| "longshore@localhost".to_owned()),
            mail_templates: text(self.mail_templates.as_ref()).map(PathBuf::from),
            stripe_api_key: errors
                .check(
                    "STRIPE_API_KEY",
                    secret(self.stripe_api_key.as_ref()),
                    worker::stripe_api_key,
                )
                .or_else(|| in_dev("sandbox".to_owned())),
            stripe_api_base: errors.check(
                "STRIPE_API_BASE",
                text(self.stripe_api_base.as_ref()),
                worker::stripe_api_base,
            ),
            data_dir: data_dir.to_owned(),
            dev,
        }
    }
}

#[derive(Debug, Default)]
struct Errors(Vec<SettingError>);

impl Errors {
    /// The checked value of a variable, if it was given and is right.
    fn check<T>(
        &mut self,
        key: &str,
        given: Option<&str>,
        check: impl FnOnce(&str) -> Checked<T>,
    ) -> Option<T> {
        self.keep(
            given
                .map(check)
                .transpose()
                .map_err(|p| SettingError::of(key, p)),
        )
    }

    fn keep<T>(&mut self, result: Result<Option<T>, SettingError>) -> Option<T> {
        result.unwrap_or_else(|error| {
            self.0.push(error);
            None
        })
    }
}

fn text(given: Option<&String>) -> Option<&str> {
    given
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
}

fn secret(given: Option<&Secret>) -> Option<&str> {
    given
        .map(|secret| secret.expose().trim())
        .filter(|text| !text.is_empty())
}

fn database(
    given: Option<&str>,
    need: Need,
    data_dir: &Path,
) -> Result<Option<DatabaseUrl>, SettingError> {
    const KEY: &str = "DATABASE_URL";
    let Some(given) = given else {
        return database_of_dev(need, data_dir);
    };
    let database = DatabaseUrl::parse(given).map_err(|p| SettingError::of(KEY, p))?;
    match &database {
        DatabaseUrl::Sqlite(_) if need.is_process() => Err(SettingError::new(
            KEY,
            "is SQLite, which serves a single process: `longshore dev`",
            "set it to a PostgreSQL URL, e.g. postgres://user:password@localhost/longshore, or \
             start `longshore dev`",
        )),
        DatabaseUrl::Sqlite(file) if need == Need::Operator && !file.is_file() => {
            Err(SettingError::new(
                KEY,
                format!("there is no database file {}", file.display()),
                "correct the path, or start `longshore dev`, which creates it",
            ))
        }
        _ => Ok(Some(database)),
    }
}

fn database_of_dev(need: Need, data_dir: &Path) -> Result<Option<DatabaseUrl>, SettingError> {
    let file = data_dir.join(DATABASE_FILE);
    match need {
        Need::Dev => Ok(Some(DatabaseUrl::Sqlite(file))),
        Need::Intake | Need::Worker => Err(SettingError::new(
            "DATABASE_URL",
            "is not set",
            "set it to a PostgreSQL URL, e.g. postgres://user:password@localhost/longshore, or \
             start `longshore dev`, which needs none",
        )),
        _ if file.is_file() => Ok(Some(DatabaseUrl::Sqlite(file))),
        Need::Operator => Err(no_database(data_dir)),
        Need::Topology | Need::Doctor => Ok(None),
    }
}

fn no_database(data_dir: &Path) -> SettingError {
    let folder = data_dir.display();
    SettingError::new(
        "DATABASE_URL",
        format!("is not set, and {folder} holds no data of `longshore dev`"),
        "set it, e.g. postgres://user:password@localhost/longshore, or start `longshore dev`",
    )
}

fn broker(
    given: Option<&str>,
    need: Need,
    database: Option<&DatabaseUrl>,
) -> Result<Option<BrokerUrl>, SettingError> {
    match (given, need) {
        (Some(given), _) => AmqpUrls::parse(given)
            .map(|urls| Some(BrokerUrl::Amqp(urls)))
            .map_err(|problem| SettingError::of("AMQP_URL", problem)),
        (None, Need::Dev) => Ok(Some(BrokerUrl::Embedded)),
        (None, Need::Intake | Need::Worker | Need::Topology) => Err(no_broker(database)),
        (None, Need::Operator | Need::Doctor) => Ok(None),
    }
}

fn no_broker(database: Option<&DatabaseUrl>) -> SettingError {
    let message = match database {
        Some(DatabaseUrl::Sqlite(_)) => {
            "is not set, and the broker of `longshore dev` is inside that process, out of reach"
        }
        _ => "is not set",
    };
    let fix = "set it to RabbitMQ's URL, e.g. amqp://guest:guest@localhost:5672";
    SettingError::new("AMQP_URL", message, fix)
}

/// An IP address and a port; of host names only `localhost`, which means the same everywhere.
fn address(text: &str) -> Checked<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = |port: &str| port.parse::<u16>().ok();
    if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    if let Some(port) = text.strip_prefix(':').or(Some(text)).and_then(port) {
        return Err(Problem::new(
            format!("`{text}` does not say which interface"),
            format!("write 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for all"),
        ));
    }
    Err(Problem::new(
        format!("`{text}` is no IP address with a port"),
        "write IP:PORT, e.g. 127.0.0.1:7070, 0.0.0.0:7070 or [::1]:7070",
    ))
}

fn shutdown_deadline(text: &str) -> Checked<Duration> {
    let shortest = Duration::from_millis(1);
    duration::parse_within(text, shortest, MAX_SHUTDOWN_DEADLINE)
}

/// A filter, checked, without white space around its parts, which `EnvFilter` miscounts by and
/// may panic over (0.3.23 indexes the text with offsets into the trimmed text). It also takes a
/// misspelt level for the name of a module, and then nothing is logged; so a word that is almost
/// a level is refused.
fn log_filter(text: &str) -> Checked<String> {
    const FIX: &str = "write a level (error, warn, info, debug, trace, off) or a filter, e.g. \
                       info,longshore=debug";
    let parts: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() {
        return Err(Problem::new(format!("`{text}` names no level"), FIX));
    }
    for word in &parts {
        let level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        if !level && let Some(meant) = closest(&word.to_lowercase(), LEVELS) {
            let problem = format!("`{word}` is not a level");
            return Err(Problem::new(problem, format!("did you mean `{meant}`?")));
        }
    }
    let filter = parts.join(",");
    match EnvFilter::try_new(&filter) {
        Ok(_) => Ok(filter),
        Err(error) => Err(Problem::new(format!("`{filter}`: {error}"), FIX)),
    }
}

fn log_format(text: &str) -> Checked<LogFormat> {
    match text.to_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(not_one_of(text, &["text", "json"])),
    }
}

#[cfg(test)]
mod tests;
