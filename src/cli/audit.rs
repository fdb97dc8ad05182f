use super::listing::{Much, next_page, tell_of_more};
use super::show::moment;
use super::table::{table, text};
use super::{CliError, Context, open};
use crate::config::Need;
use crate::store::{AuditEntry, AuditFilter, Deed};

/// Arguments of `longshore audit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// By this API key, or `cli:USER@HOST`
    #[arg(long)]
    by: Option<String>,
    /// Of this sort: requeue, purge, cancel, import, `pause_queue`, `create_key`, …
    #[arg(long)]
    deed: Option<Deed>,
    #[command(flatten)]
    much: Much,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// `longshore audit`
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    let settings = context.settings.clone().validate(Need::Operator)?;
    let store = open::ready_store(&settings).await?;
    let filter = AuditFilter {
        by: args.by.clone(),
        deed: args.deed,
    };
    let mut left = args.much.most();
    let mut before = None;
    loop {
        let size = next_page(left);
        let mut entries = store.audit(&filter, size + 1, before).await?;
        let more = entries.len() > size as usize;
        entries.truncate(size as usize);
        print(&context, &args, &entries, before.is_none());
        left -= entries.len() as u64;
        before = entries.last().map(|entry| entry.id);
        if !more || left == 0 {
            if more {
                tell_of_more(context.out);
            }
            break;
        }
    }
    store.close().await;
    Ok(())
}

fn print(context: &Context, args: &Args, entries: &[AuditEntry], first: bool) {
    let out = context.out;
    if args.json {
        entries.iter().for_each(|entry| out.json(entry));
        return;
    }
    if entries.is_empty() {
        if first {
            out.line("no deeds");
        }
        return;
    }
    let mut rows = match first {
        true => table(&["at", "by", "deed", "target", "detail"]),
        false => super::table::list(),
    };
    for entry in entries {
        let detail = match &entry.detail {
            serde_json::Value::Object(none) if none.is_empty() => String::new(),
            detail => detail.to_string(),
        };
        rows.add_row([
            moment(entry.at),
            entry.by.clone(),
            entry.deed.as_str().to_owned(),
            entry.target.clone(),
            detail,
        ]);
    }
    out.line(text(&mut rows));
}
