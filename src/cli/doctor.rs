use serde::Serialize;

use super::table::{table, text};
use super::{CliError, Context, open};
use crate::broker::ObjectStatus;
use crate::config::{DatabaseUrl, Need, Queues, SettingError, Settings};
use crate::job::QueueName;
use crate::store::{ProcessRow, Schema, Store};
use crate::worker::Registry;

/// Arguments of `longshore doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    /// `ok`, `warning` or `problem`.
    status: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, "ok", detail.into(), None);
    }

    fn warning(&mut self, check: &'static str, detail: impl Into<String>, fix: &str) {
        self.add(check, "warning", detail.into(), Some(fix.to_owned()));
    }

    fn problem(&mut self, check: &'static str, detail: impl Into<String>, fix: &str) {
        self.add(check, "problem", detail.into(), Some(fix.to_owned()));
    }

    fn add(
        &mut self,
        check: &'static str,
        status: &'static str,
        detail: String,
        fix: Option<String>,
    ) {
        self.0.push(Finding {
            check,
            status,
            detail,
            fix,
        });
    }
}

/// `longshore doctor`: exit code 1 when there is a problem.
pub(super) async fn run(mut context: Context, args: Args) -> Result<(), CliError> {
    let mut findings = Findings::default();
    match context.settings.clone().validate(Need::Doctor) {
        Err(errors) => {
            for error in errors {
                findings.problem("settings", named(&error), &error.fix);
            }
        }
        Ok(settings) => {
            findings.ok("settings", "all valid");
            examine_doors(&mut context, &settings, &mut findings);
            examine(&context, &settings, &mut findings).await;
        }
    }
    print(&context, args.json, &findings.0);
    if findings.0.iter().any(|finding| finding.status == "problem") {
        return Err(CliError::silent());
    }
    Ok(())
}

/// What the doors check with: without it no intake and no `dev` starts.
fn examine_doors(context: &mut Context, settings: &Settings, findings: &mut Findings) {
    match context.registry.open_doors(&settings.worker) {
        Ok(()) => findings.ok("doors", "every kind can be checked"),
        Err(errors) => {
            for error in errors {
                findings.problem("doors", named(&error), &error.fix);
            }
        }
    }
}

async fn examine(context: &Context, settings: &Settings, findings: &mut Findings) {
    let queues = match context.queues() {
        Ok(queues) => queues,
        Err(error) => {
            return findings.problem(
                "queues",
                error.text(),
                "mend the file, see the default queues.toml",
            );
        }
    };
    findings.ok("queues", names(&queues).join(", "));
    examine_kinds(context, settings, &queues, findings);
    examine_store(settings, &context.registry, findings).await;
    examine_broker(settings, &queues, findings).await;
}

fn names(queues: &Queues) -> Vec<&str> {
    queues.names().map(QueueName::as_str).collect()
}

fn examine_kinds(context: &Context, settings: &Settings, queues: &Queues, findings: &mut Findings) {
    for (name, queue) in queues.iter() {
        for kind in &queue.kinds {
            if context.registry.get(kind.as_str()).is_none() {
                findings.warning(
                    "kinds",
                    format!("`{kind}` in queue {name} is unknown to this program"),
                    "take it out of queues.toml, or run a program that has it",
                );
            }
        }
    }
    if matches!(settings.database(), Ok(DatabaseUrl::Sqlite(_))) {
        return; // `dev` brings the settings of its jobs itself
    }
    let all: Vec<QueueName> = queues.names().cloned().collect();
    match context.registry.handlers(queues, &all, &settings.worker) {
        Ok(_) => findings.ok("kinds", "every kind has the settings it needs"),
        Err(errors) => {
            for error in errors {
                findings.warning("kinds", named(&error), &error.fix);
            }
        }
    }
}

async fn examine_store(settings: &Settings, registry: &Registry, findings: &mut Findings) {
    if let Err(missing) = settings.database() {
        return findings.problem("store", named(&missing), &missing.fix);
    }
    let store = match open::store(settings).await {
        Ok(store) => store,
        Err(error) => return findings.problem("store", error.text(), "correct DATABASE_URL"),
    };
    match store.version().await {
        Ok(version) => findings.ok("store", version),
        Err(error) => {
            let fix = "start it, or correct DATABASE_URL";
            return findings.problem("store", causes(&error), fix);
        }
    }
    match store.schema().await {
        Ok(Schema::Current) => {
            findings.ok("schema", "up to date");
            examine_work(&*store, findings).await;
            examine_tables(&*store, registry, findings).await;
        }
        Ok(schema @ Schema::Behind { .. }) => {
            findings.problem("schema", schema.advice(), "longshore migrate");
        }
        Ok(schema @ Schema::Newer { .. }) => {
            findings.problem("schema", schema.advice(), "update this program");
        }
        Err(error) => findings.problem("schema", causes(&error), "see the database's log"),
    }
    store.close().await;
}

/// The tables of the program's own jobs.
async fn examine_tables(store: &dyn Store, registry: &Registry, findings: &mut Findings) {
    match store.missing(registry.migrations()).await {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => {
            let lacks = format!("the tables of {} are missing", missing.join(", "));
            return findings.problem("schema", lacks, "longshore migrate");
        }
        Err(error) => {
            return findings.problem("schema", causes(&error), "see the database's log");
        }
    }
    for balance in registry.balances() {
        match store.differences(balance).await {
            Ok(differences) if differences.is_empty() => {
                findings.ok(balance.name, "adds up");
            }
            Ok(differences) => {
                for difference in differences {
                    let fix = "rows were changed by hand, or a backup was restored";
                    findings.problem(balance.name, difference, fix);
                }
            }
            Err(error) => findings.problem(balance.name, causes(&error), "see the database's log"),
        }
    }
}

async fn examine_work(store: &dyn Store, findings: &mut Findings) {
    match store.processes().await {
        Ok(processes) if processes.iter().all(|p| p.role == "operator") => findings.warning(
            "processes",
            "none is running: jobs wait",
            "start `longshore intake` and `longshore work`, or `longshore dev`",
        ),
        Ok(processes) => {
            examine_coverage(store, &processes, findings).await;
            let names: Vec<String> = processes
                .iter()
                .map(|process| format!("{} {}", process.role, process.name))
                .collect();
            findings.ok("processes", names.join(", "));
        }
        Err(error) => findings.problem("processes", causes(&error), "see the database's log"),
    }
    match store.tally().await {
        Ok(tally) if tally.missing() == 0 => findings.ok(
            "balance",
            format!(
                "{} accepted, {} live, none missing",
                tally.accepted, tally.live
            ),
        ),
        Ok(tally) => findings.problem(
            "balance",
            format!("{} accepted jobs have no row", tally.missing()),
            "rows were changed by hand, or a backup was restored",
        ),
        Err(error) => findings.problem("balance", causes(&error), "see the database's log"),
    }
}

/// Queues that hold live jobs and that no process works.
async fn examine_coverage(store: &dyn Store, processes: &[ProcessRow], findings: &mut Findings) {
    let counts = match store.counts().await {
        Ok(counts) => counts,
        Err(error) => return findings.problem("queues", causes(&error), "see the database's log"),
    };
    for count in counts {
        let live: u64 = count
            .states
            .iter()
            .filter(|(state, _)| !state.is_final())
            .map(|(_, jobs)| jobs)
            .sum();
        let worked = processes
            .iter()
            .any(|process| process.queues.contains(&count.queue));
        if live > 0 && !worked {
            findings.warning(
                "queues",
                format!(
                    "{live} jobs wait in {}, and no process works it",
                    count.queue
                ),
                "start a worker for it; a queue must be in queues.toml or in the program",
            );
        }
    }
}

async fn examine_broker(settings: &Settings, queues: &Queues, findings: &mut Findings) {
    let broker = match open::reachable_broker(settings, queues) {
        Ok(Some(broker)) => broker,
        Ok(None) => return findings.ok("broker", "embedded"),
        Err(error) => return findings.problem("broker", error.text(), "set AMQP_URL"),
    };
    // Listing the objects takes a login; the version alone does not.
    match (broker.topology().await, broker.version().await) {
        (Ok(objects), Ok(version)) => {
            findings.ok("broker", version);
            examine_objects(&objects, findings);
        }
        (Err(error), _) | (_, Err(error)) => {
            let fix = "start it, or correct AMQP_URL (also user, password and vhost)";
            findings.problem("broker", error.to_string(), fix);
        }
    }
    broker.close().await;
}

fn examine_objects(objects: &[ObjectStatus], findings: &mut Findings) {
    for object in objects.iter().filter(|object| object.status != "declared") {
        let name = format!("{} {}: {}", object.object, object.name, object.status);
        let fix = if object.status == "missing" {
            "longshore topology --apply, or start a process"
        } else {
            "drain and delete it, then longshore topology --apply; the store fills it again"
        };
        if object.status == "missing" {
            findings.warning("topology", name, fix);
        } else {
            findings.problem("topology", name, fix);
        }
    }
    if objects.iter().all(|object| object.status == "declared") {
        findings.ok("topology", format!("{} objects declared", objects.len()));
    }
}

fn named(error: &SettingError) -> String {
    format!("{} {}", error.key, error.message)
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn print(context: &Context, json: bool, findings: &[Finding]) {
    if json {
        findings
            .iter()
            .for_each(|finding| context.out.json(finding));
        return;
    }
    let mut rows = table(&["check", "status", "detail"]);
    for finding in findings {
        rows.add_row([finding.check, finding.status, &finding.detail]);
        if let Some(fix) = &finding.fix {
            rows.add_row(["", "", &format!("→ {fix}")]);
        }
    }
    context.out.line(text(&mut rows));
}
