use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Settings};

/// Sends logs to stderr: stdout is for what a command prints.
pub(super) fn start(settings: &Settings) {
    let filter = quiet_libraries(&settings.log);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let format = settings.log_format.unwrap_or(if terminal {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.with_ansi(terminal).with_target(false).try_init(),
    };
    // Already started by whoever embeds this: theirs stays.
    drop(started);
}

/// The AMQP client reports as errors what is handled here and logged where it is handled: a
/// queue that does not exist yet, a connection that comes back. Whoever names it gets it all.
fn quiet_libraries(filter: &str) -> String {
    if filter.contains("lapin") {
        filter.to_owned()
    } else {
        format!("{filter},lapin=off")
    }
}
