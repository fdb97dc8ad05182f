use std::time::Duration;

use serde_json::json;

use super::table::{list, table, text};
use super::{CliError, Context, open, signals};
use crate::admin::{self, Verification};
use crate::config::{Need, Queues, Settings};
use crate::job::State;
use crate::store::{Check, Store};

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(5);

/// Arguments of `longshore verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look again every few seconds, and say what changed
    #[arg(long)]
    watch: bool,
    /// Print JSON: one object for each look
    #[arg(long)]
    json: bool,
}

/// `longshore verify`: exit code 1 when it does not add up.
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    let settings = context.settings.clone().validate(Need::Operator)?;
    let queues = context.queues()?;
    let store = open::ready_store(&settings).await?;
    let done = if args.watch {
        watch(&context, &settings, &queues, &*store, &args).await
    } else {
        once(&context, &settings, &queues, &*store, &args).await
    };
    store.close().await;
    match done? {
        true => Ok(()),
        false => Err(CliError::silent()),
    }
}

async fn look(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    store: &dyn Store,
) -> Result<Verification, CliError> {
    // What the store says is told without one, too.
    let broker = match settings.broker() {
        Ok(_) => open::reachable_broker(settings, queues)?,
        Err(_) => None,
    };
    let registry = &context.registry;
    let seen = admin::verify(
        store,
        broker.as_deref(),
        queues,
        registry.balances(),
        registry.sums(),
    )
    .await;
    if let Some(broker) = broker {
        broker.close().await;
    }
    Ok(seen?)
}

async fn once(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    store: &dyn Store,
    args: &Args,
) -> Result<bool, CliError> {
    let seen = look(context, settings, queues, store).await?;
    if args.json {
        context.out.json(&seen);
    } else {
        print(context, &seen);
    }
    Ok(seen.balanced)
}

/// A line for each change; until it is stopped, or fails.
async fn watch(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    store: &dyn Store,
    args: &Args,
) -> Result<bool, CliError> {
    let stop = signals::listen()?;
    let mut told = String::new();
    loop {
        let seen = match look(context, settings, queues, store).await {
            Ok(seen) => Some(seen),
            Err(error) if args.json => {
                let unseen = json!({"balanced": null, "error": error.text()});
                context.out.json(&unseen);
                None
            }
            Err(error) => {
                tell(context, &mut told, format!("cannot tell: {}", error.text()));
                None
            }
        };
        // A look that failed says nothing good.
        let balanced = seen.as_ref().is_some_and(|seen| seen.balanced);
        if let Some(seen) = &seen {
            if args.json {
                context.out.json(seen);
            } else {
                tell(context, &mut told, line(seen));
            }
        }
        tokio::select! {
            () = stop.drain.cancelled() => return Ok(balanced),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn tell(context: &Context, told: &mut String, line: String) {
    if *told != line {
        let now = chrono::Utc::now().format("%H:%M:%SZ");
        context.out.line(format!("{now}  {line}"));
        *told = line;
    }
}

fn line(seen: &Verification) -> String {
    let jobs = &seen.sheet.jobs;
    let verdict = if seen.balanced {
        "adds up"
    } else {
        "does not add up"
    };
    let mut line = format!(
        "{verdict}: {} accepted = {} live + {} succeeded + {} dead + {} cancelled + {} pruned",
        jobs.accepted, jobs.live, jobs.succeeded, jobs.dead, jobs.cancelled, jobs.pruned
    );
    for check in seen
        .sheet
        .checks
        .iter()
        .filter(|check| !check.is_balanced())
    {
        line.push_str(&format!("; {}: {}", check.name, first(check)));
    }
    line
}

/// The first difference, and how many more there are.
fn first(check: &Check) -> String {
    let mut differences = differences(check);
    let count = differences.len() as u64 + check.more;
    match (differences.is_empty(), count) {
        (true, _) => String::new(),
        (false, 1) => differences.remove(0),
        (false, count) => format!("{} (and {} more)", differences.remove(0), count - 1),
    }
}

fn differences(check: &Check) -> Vec<String> {
    let named = check.differences.iter().map(|difference| {
        difference.job.map_or_else(
            || difference.detail.clone(),
            |job| format!("job {job} {}", difference.detail),
        )
    });
    let unfinished = check.unfinished.iter();
    named
        .chain(unfinished.map(|why| format!("could not be compared: {why}")))
        .collect()
}

fn print(context: &Context, seen: &Verification) {
    let out = context.out;
    let jobs = &seen.sheet.jobs;
    let mut rows = list();
    for (name, count) in [
        ("accepted", jobs.accepted),
        ("live", jobs.live),
        ("succeeded", jobs.succeeded),
        ("dead", jobs.dead),
        ("cancelled", jobs.cancelled),
        ("pruned", jobs.pruned),
    ] {
        rows.add_row([name.to_owned(), count.to_string()]);
    }
    rows.add_row(["missing".to_owned(), seen.missing.to_string()]);
    out.line(text(&mut rows));
    out.line("");
    print_states(
        context,
        "queue",
        &mut seen
            .sheet
            .queues
            .iter()
            .map(|row| (&row.queue, &row.states)),
    );
    print_states(
        context,
        "kind",
        &mut seen.sheet.kinds.iter().map(|row| (&row.kind, &row.states)),
    );
    print_checks(context, seen);
    print_broker(context, seen);
    out.line(if seen.balanced {
        "It adds up."
    } else {
        "It does not add up."
    });
}

type States = std::collections::BTreeMap<State, u64>;

fn print_states(
    context: &Context,
    what: &str,
    counted: &mut dyn Iterator<Item = (&String, &States)>,
) {
    let mut rows = table(&[what, "live", "succeeded", "dead", "cancelled"]);
    let mut empty = true;
    for (name, states) in counted {
        let of = |state| states.get(&state).copied().unwrap_or_default();
        let live = states.iter().filter(|(state, _)| !state.is_final());
        let live: u64 = live.map(|(_, count)| count).sum();
        empty = false;
        rows.add_row([
            name.clone(),
            live.to_string(),
            of(State::Succeeded).to_string(),
            of(State::Dead).to_string(),
            of(State::Cancelled).to_string(),
        ]);
    }
    if !empty {
        context.out.line(text(&mut rows));
        context.out.line("");
    }
}

fn print_checks(context: &Context, seen: &Verification) {
    let mut rows = table(&["check", "result", "sums"]);
    for check in &seen.sheet.checks {
        let result = match (check.is_balanced(), &check.unfinished) {
            (true, _) => "adds up".to_owned(),
            (false, Some(_)) => "not known".to_owned(),
            (false, None) => {
                let count = check.differences.len() as u64 + check.more;
                format!("{count} wrong")
            }
        };
        let sums = check.sums.iter();
        let sums: Vec<String> = sums
            .map(|sum| format!("{} {}", sum.of, sum.amount))
            .collect();
        rows.add_row([check.name.clone(), result, sums.join(", ")]);
    }
    context.out.line(text(&mut rows));
    for check in seen
        .sheet
        .checks
        .iter()
        .filter(|check| !check.is_balanced())
    {
        for difference in differences(check) {
            context.out.line(format!("{}: {difference}", check.name));
        }
        if check.more > 0 {
            context
                .out
                .line(format!("{}: and {} more", check.name, check.more));
        }
    }
    context.out.line("");
}

fn print_broker(context: &Context, seen: &Verification) {
    let broker = &seen.broker;
    if broker.queues.is_empty() {
        let told = match broker.status.as_str() {
            "none" => "No broker was compared: it is embedded, or AMQP_URL is not set.",
            why => &format!("No broker was compared: {why}. The store fills it again."),
        };
        context.out.line(told);
        return;
    }
    let mut rows = table(&[
        "broker",
        "queued",
        "unpublished",
        "ready",
        "running",
        "consumers",
        "dead-lettered",
        "",
    ]);
    for side in &broker.queues {
        rows.add_row([
            side.expected.queue.clone(),
            side.expected.queued.to_string(),
            side.expected.unpublished.to_string(),
            side.ready.to_string(),
            side.expected.running.to_string(),
            side.consumers.to_string(),
            side.dead.to_string(),
            side.difference.clone().unwrap_or_default(),
        ]);
    }
    context.out.line(text(&mut rows));
    context.out.line("");
}
