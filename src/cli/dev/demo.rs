use std::collections::HashMap;
use std::time::{Duration, Instant};

use console::{Term, truncate_str};
use serde_json::json;

use crate::cli::output::Output;
use crate::cli::table::{table, text};
use crate::cli::{CliError, Context, show};
use crate::config::Settings;
use crate::demo::{Demo, DemoJob};
use crate::job::{JobId, JobView, NewJob, State};
use crate::node::{Node, Shutdown};

/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(100);

struct Scene<'a> {
    job: &'a DemoJob,
    id: JobId,
    view: Option<JobView>,
}

/// Submits the demo's jobs and shows them until each has ended. An error when one did not end
/// as it should.
pub(super) async fn play(
    context: &Context,
    settings: &Settings,
    demo: &Demo,
    node: &Node,
    shutdown: &Shutdown,
) -> Result<(), CliError> {
    let out = context.out;
    let began = Instant::now();
    out.line("");
    let mut scenes = submit(demo, node).await?;
    let mut screen = Screen::new(out);
    loop {
        for scene in &mut scenes {
            scene.view = node.job(scene.id).await?;
        }
        screen.draw(&scenes, began);
        if scenes.iter().all(Scene::has_ended) {
            break;
        }
        let nap = tokio::time::sleep(FRAME);
        if shutdown.drain.run_until_cancelled(nap).await.is_none() {
            return Ok(());
        }
    }
    conclude(out, settings, node, &scenes, began)
}

async fn submit<'a>(demo: &'a Demo, node: &Node) -> Result<Vec<Scene<'a>>, CliError> {
    let mut scenes = Vec::new();
    for job in demo.jobs() {
        let kind = job.kind.parse().map_err(CliError::failed)?;
        let queue = node
            .queue_of(&kind)
            .ok_or_else(|| CliError::message(format!("no queue takes the demo's kind `{kind}`")))?;
        let new = NewJob::new(kind, queue, job.payload.to_string());
        let id = new.id;
        node.acceptance.accept(new).await?;
        scenes.push(Scene {
            job,
            id,
            view: None,
        });
    }
    Ok(scenes)
}

impl Scene<'_> {
    fn state(&self) -> Option<State> {
        self.view.as_ref().map(|view| view.state)
    }

    fn has_ended(&self) -> bool {
        self.state().is_some_and(State::is_final)
    }

    fn error(&self) -> String {
        let error = self.view.as_ref().and_then(|view| view.error.as_ref());
        error
            .map(|error| show::cell(&error.to_string()))
            .unwrap_or_default()
    }

    fn attempt(&self) -> u32 {
        self.view.as_ref().map_or(0, |view| view.attempt)
    }
}

/// A table that is drawn over itself on a terminal; elsewhere a line for each change.
struct Screen {
    out: Output,
    terminal: Option<Term>,
    drawn: usize,
    told: HashMap<JobId, (State, u32)>,
}

impl Screen {
    fn new(out: Output) -> Self {
        Self {
            out,
            terminal: out.is_terminal().then(Term::stdout),
            drawn: 0,
            told: HashMap::new(),
        }
    }

    fn draw(&mut self, scenes: &[Scene<'_>], began: Instant) {
        match &self.terminal {
            Some(terminal) => {
                let _ = terminal.clear_last_lines(self.drawn);
                let width = usize::from(terminal.size().1);
                let picture = picture(scenes);
                self.drawn = picture.lines().count();
                for line in picture.lines() {
                    // A line that wraps would be two to clear.
                    self.out.line(truncate_str(line, width.max(40) - 1, "…"));
                }
            }
            None => self.tell(scenes, began),
        }
    }

    fn tell(&mut self, scenes: &[Scene<'_>], began: Instant) {
        for scene in scenes {
            let Some(state) = scene.state() else { continue };
            let now = (state, scene.attempt());
            if self.told.insert(scene.id, now) == Some(now) {
                continue;
            }
            let error = Some(scene.error()).filter(|error| !error.is_empty());
            self.out.line(format!(
                "{:6.2} s  {:<10} {:<12} {}{}",
                began.elapsed().as_secs_f64(),
                state,
                scene.job.kind,
                scene.job.title,
                error
                    .map(|error| format!("  ({error})"))
                    .unwrap_or_default()
            ));
        }
    }
}

fn picture(scenes: &[Scene<'_>]) -> String {
    let mut rows = table(&["job", "kind", "state", "attempt", "error"]);
    for scene in scenes {
        let state = scene.state().map(|state| state.to_string());
        rows.add_row([
            scene.job.title.to_owned(),
            scene.job.kind.to_owned(),
            state.unwrap_or_default(),
            scene.attempt().to_string(),
            scene.error(),
        ]);
    }
    text(&mut rows)
}

fn conclude(
    out: Output,
    settings: &Settings,
    node: &Node,
    scenes: &[Scene<'_>],
    began: Instant,
) -> Result<(), CliError> {
    let count = |state| scenes.iter().filter(|s| s.state() == Some(state)).count();
    out.line("");
    out.line(format!(
        "{} jobs in {:.1} s: {} succeeded, {} dead.",
        scenes.len(),
        began.elapsed().as_secs_f64(),
        count(State::Succeeded),
        count(State::Dead)
    ));
    let surprises: Vec<&Scene<'_>> = scenes
        .iter()
        .filter(|scene| scene.state() != Some(scene.job.ends))
        .collect();
    if let Some(scene) = surprises.first() {
        return Err(CliError::message(format!(
            "{} job(s) did not end as they should, the first: {} ({}) should have ended {}",
            surprises.len(),
            scene.job.title,
            scene.id,
            scene.job.ends
        )));
    }
    let dead = scenes.iter().find(|scene| scene.job.ends == State::Dead);
    suggest(out, settings, node, dead);
    Ok(())
}

/// What to type next, ready to be pasted into a second terminal.
fn suggest(out: Output, settings: &Settings, node: &Node, dead: Option<&Scene<'_>>) {
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "longshore".to_owned());
    let payload = json!({"to": ["you@example.com"], "subject": "Hello", "text": "From Longshore."});
    let job = json!({"kind": "email.send", "payload": payload});
    out.line("");
    out.line("In another terminal:");
    out.line(format!(
        "  curl -s http://{}/v1/jobs -H 'content-type: application/json' -d '{job}'",
        node.address
    ));
    out.line(format!("  {program} submit email.send '{payload}' --wait"));
    out.line(format!("  ls {}/mail", settings.data_dir.display()));
    if let Some(scene) = dead {
        out.line(format!("  {program} jobs show {}", scene.id));
        out.line(format!("  {program} dlq list"));
        out.line(format!("  {program} dlq requeue demo"));
    }
}
