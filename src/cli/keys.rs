use std::num::NonZeroU32;

use serde::Serialize;

use super::operator::operator;
use super::table::{table, text};
use super::{CliError, Context, open};
use crate::admin::{KeyError, create_key, revoke_key};
use crate::config::Need;
use crate::store::{ApiKey, Scopes};

/// Arguments of `longshore keys`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// Make a key; it is shown this once
    Create(CreateArgs),
    /// Keys, without their secrets
    List(ListArgs),
    /// Revoke a key, for ever; running intakes refuse it within seconds
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    /// What to call it, as `shop`
    name: String,
    /// What it allows: submit, read, operate (includes read), or several with commas
    #[arg(long, value_name = "SCOPES", default_value = "submit,read")]
    scope: Scopes,
    /// Calls a second in each intake process, as 10/s (default: not limited)
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<NonZeroU32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// Its name or number
    #[arg(value_name = "KEY")]
    key: String,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A new key as `--json` prints it.
#[derive(Debug, Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    row: &'a ApiKey,
    key: &'a str,
}

/// `longshore keys create|list|revoke`
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    let settings = context.settings.clone().validate(Need::Operator)?;
    let out = context.out;
    let store = open::ready_store(&settings).await?;
    match args {
        Args::Create(args) => {
            let created = create_key(&*store, &args.name, args.scope, args.rate, &operator()).await;
            store.close().await;
            let (row, key) = created?;
            if args.json {
                let key = key.expose();
                out.json(&Created { row: &row, key });
            } else {
                out.line(key.expose());
                out.note("This is the only time the key is shown. Send it as `Authorization: Bearer KEY`.");
            }
        }
        Args::List(args) => {
            let keys = store.keys().await;
            store.close().await;
            list(&context, &keys?, args.json);
        }
        Args::Revoke(args) => {
            let question = format!("Revoke key `{}`? Whoever uses it is locked out.", args.key);
            if !args.yes && !out.confirm(&question) {
                return Err(CliError::message("nothing was revoked"));
            }
            let revoked = revoke_key(&*store, &args.key, &operator()).await;
            store.close().await;
            let key = revoked?;
            if args.json {
                out.json(&serde_json::json!({"id": key.id, "name": key.name, "revoked": true}));
            } else {
                out.line(format!("{} ({}…) is revoked", key.name, key.prefix));
            }
        }
    }
    Ok(())
}

fn list(context: &Context, keys: &[ApiKey], json: bool) {
    let out = context.out;
    if json {
        keys.iter().for_each(|key| out.json(key));
        return;
    }
    if keys.is_empty() {
        return out.line("no keys: make one with `longshore keys create NAME`");
    }
    let day = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%MZ").to_string();
    let mut rows = table(&[
        "id",
        "name",
        "key",
        "scopes",
        "rate",
        "created",
        "last used",
        "revoked",
    ]);
    for key in keys {
        rows.add_row([
            key.id.to_string(),
            key.name.clone(),
            format!("{}…", key.prefix),
            key.scopes.to_string(),
            key.rate.map(|rate| format!("{rate}/s")).unwrap_or_default(),
            day(key.created_at),
            key.last_used_at.map(day).unwrap_or_default(),
            key.revoked_at.map(day).unwrap_or_default(),
        ]);
    }
    out.line(text(&mut rows));
}

/// Highest rate; above it a limit is none.
const MAX_RATE: u32 = 1_000_000;

fn rate(text: &str) -> Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse::<NonZeroU32>() {
        Ok(rate) if rate.get() <= MAX_RATE => Ok(rate),
        _ => Err(format!("write calls a second, 1/s to {MAX_RATE}/s")),
    }
}

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => error.into(),
            KeyError::Name(_) => Self::usage(error.to_string()),
            other => Self::message(other.to_string()),
        }
    }
}
