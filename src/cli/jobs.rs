use super::filter::FilterArgs;
use super::listing::{self, Much};
use super::operator::operator;
use super::submit::{payload_text, refused};
use super::{CliError, Context, open, show};
use crate::admin::{complete, edit, explain};
use crate::config::{Need, Queues, Settings};
use crate::job::{JobId, State};
use crate::store::{Operated, Store};

/// Arguments of `longshore jobs`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// Jobs, newest first
    List(ListArgs),
    /// One job with its attempts
    Show(ShowArgs),
    /// Cancel jobs: at once where they wait, through their worker where they run
    Cancel(CancelArgs),
    /// Send dead or cancelled jobs back to their queues
    Requeue(RequeueArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// In this state; may be given again
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<State>,
    /// In this queue; may be given again
    #[arg(long = "queue", value_name = "QUEUE")]
    in_queues: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    much: Much,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The job's id
    id: JobId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct CancelArgs {
    /// The jobs' ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<JobId>,
    /// Print JSON, one job a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct RequeueArgs {
    /// The jobs' ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<JobId>,
    /// Another payload, for one job: JSON, @FILE, or - for standard input
    #[arg(long)]
    payload: Option<String>,
    /// Print JSON, one job a line
    #[arg(long)]
    json: bool,
}

/// `longshore jobs list|show|cancel|requeue`
pub(super) async fn run(mut context: Context, args: Args) -> Result<(), CliError> {
    let (settings, queues) = context.configured(Need::Operator)?;
    match args {
        Args::List(args) => list(&context, &settings, &queues, args).await,
        Args::Show(args) => show(&context, &settings, &queues, &args).await,
        Args::Cancel(args) => {
            let by = operator();
            let store = open::ready_store(&settings).await?;
            let mut each = Each::new(&context, &queues, args.json);
            for id in args.ids {
                let answer = store.cancel(id, &by).await?;
                each.tell(&*store, id, answer, "cancelled").await?;
            }
            store.close().await;
            each.end()
        }
        Args::Requeue(args) => {
            if args.payload.is_some() {
                context.registry.open_doors(&settings.worker)?;
            }
            requeue(&context, &settings, &queues, args).await
        }
    }
}

async fn list(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    args: ListArgs,
) -> Result<(), CliError> {
    let mut filter = args.filter.filter(&args.in_queues)?;
    filter.states = args.states;
    let store = open::ready_store(settings).await?;
    open::known_queues(&filter, queues, &*store).await?;
    let listed = listing::jobs(context.out, &*store, queues, &filter, &args.much, args.json).await;
    store.close().await;
    Ok(listed?)
}

/// One job with its attempts.
pub(super) async fn show(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    args: &ShowArgs,
) -> Result<(), CliError> {
    let store = open::ready_store(settings).await?;
    let mut job = store.job(args.id).await?;
    if let Some(job) = &mut job
        // What the row says is worth more than no answer.
        && let Err(error) = explain(&*store, job).await
    {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "cannot tell why the job waits"
        );
    }
    store.close().await;
    let mut job = job.ok_or_else(|| unknown(args.id))?;
    complete(&mut job, queues);
    if args.json {
        context.out.json(&job);
    } else {
        show::job(context.out, &job);
    }
    Ok(())
}

fn unknown(id: JobId) -> CliError {
    CliError::message(format!("no job {id}: never accepted, or pruned"))
}

async fn requeue(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    args: RequeueArgs,
) -> Result<(), CliError> {
    let payload = args.payload.as_deref().map(payload_text).transpose()?;
    if payload.is_some() && args.ids.len() > 1 {
        return Err(CliError::usage("--payload is for one job: give one ID"));
    }
    let by = operator();
    let store = open::ready_store(settings).await?;
    let mut each = Each::new(context, queues, args.json);
    for id in args.ids {
        let edit = match &payload {
            None => None,
            Some(payload) => {
                let job = store.job(id).await?.ok_or_else(|| unknown(id))?;
                let edit = edit(&job.kind, payload, &context.registry);
                Some(edit.map_err(|refusal| refused(&refusal))?)
            }
        };
        let answer = store.requeue(id, edit.as_ref(), &by).await?;
        each.tell(&*store, id, answer, "sent back").await?;
    }
    store.close().await;
    each.end()
}

/// Tells what became of each job that a command names.
struct Each<'a> {
    context: &'a Context,
    queues: &'a Queues,
    as_json: bool,
    failed: bool,
}

impl<'a> Each<'a> {
    const fn new(context: &'a Context, queues: &'a Queues, as_json: bool) -> Self {
        Self {
            context,
            queues,
            as_json,
            failed: false,
        }
    }

    async fn tell(
        &mut self,
        store: &dyn Store,
        id: JobId,
        answer: Operated,
        done: &str,
    ) -> Result<(), CliError> {
        let out = self.context.out;
        let said = match answer {
            Operated::Done | Operated::Already => done.to_owned(),
            Operated::Requested => "its worker is asked to stop it".to_owned(),
            Operated::Refused(state) => {
                self.failed = true;
                out.error(&format!("job {id} is {state}: it cannot be {done}"));
                return Ok(());
            }
            Operated::Unknown => {
                self.failed = true;
                out.error(&format!("no job {id}: never accepted, or pruned"));
                return Ok(());
            }
        };
        if !self.as_json {
            out.line(format!("{id} {said}"));
            return Ok(());
        }
        if let Some(mut job) = store.job(id).await? {
            complete(&mut job, self.queues);
            out.json(&job);
        }
        Ok(())
    }

    fn end(self) -> Result<(), CliError> {
        if self.failed {
            Err(CliError::silent())
        } else {
            Ok(())
        }
    }
}
