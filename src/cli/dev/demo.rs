use std::collections::HashMap;
use std::time::{Duration, Instant};

use console::{Term, truncate_str};
use serde_json::json;

use crate::cli::output::Output;
use crate::cli::table::{table, text};
use crate::cli::{CliError, Context, show};
use crate::config::Settings;
use crate::demo::Demo;
use crate::job::{JobId, JobView, Kind, NewJob, State};
use crate::node::{Node, Shutdown};

/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How long nothing may happen before the demo gives up: a job that should have been started by
/// another may never come.
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene<'a> {
    title: &'static str,
    kind: &'static str,
    ends: State,
    by: By<'a>,
    view: Option<JobView>,
}

/// How a job is found.
enum By<'a> {
    Id(JobId),
    /// It is started by another one.
    Tag(Kind, &'a str),
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
    let (mut moved, mut seen) = (Instant::now(), Vec::new());
    loop {
        for scene in &mut scenes {
            scene.view = match &scene.by {
                By::Id(id) => node.job(*id).await?,
                By::Tag(kind, tag) => node.tagged(kind, tag).await?,
            };
        }
        screen.draw(&scenes, began);
        let now: Vec<_> = scenes.iter().map(|s| (s.state(), s.attempt())).collect();
        if now != seen {
            (moved, seen) = (Instant::now(), now);
        }
        if scenes.iter().all(Scene::has_ended) || moved.elapsed() > PATIENCE {
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
            title: job.title,
            kind: job.kind,
            ends: job.ends,
            by: By::Id(id),
            view: None,
        });
    }
    for job in demo.followed() {
        let kind = job.kind.parse().map_err(CliError::failed)?;
        scenes.push(Scene {
            title: job.title,
            kind: job.kind,
            ends: job.ends,
            by: By::Tag(kind, &job.tag),
            view: None,
        });
    }
    Ok(scenes)
}

impl Scene<'_> {
    fn state(&self) -> Option<State> {
        self.view.as_ref().map(|view| view.state)
    }

    fn id(&self) -> Option<JobId> {
        self.view.as_ref().map(|view| view.id)
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
            let (Some(state), Some(id)) = (scene.state(), scene.id()) else {
                continue;
            };
            let now = (state, scene.attempt());
            if self.told.insert(id, now) == Some(now) {
                continue;
            }
            let error = Some(scene.error()).filter(|error| !error.is_empty());
            self.out.line(format!(
                "{:6.2} s  {:<10} {:<12} {}{}",
                began.elapsed().as_secs_f64(),
                state,
                scene.kind,
                scene.title,
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
            scene.title.to_owned(),
            scene.kind.to_owned(),
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
        .filter(|scene| scene.state() != Some(scene.ends))
        .collect();
    if let Some(scene) = surprises.first() {
        return Err(CliError::message(format!(
            "{} job(s) did not end as they should, the first: {} ({}) should have ended {}",
            surprises.len(),
            scene.title,
            scene
                .id()
                .map_or_else(|| "never started".to_owned(), |id| id.to_string()),
            scene.ends
        )));
    }
    let dead = scenes.iter().find(|scene| scene.ends == State::Dead);
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
    if let Some(id) = dead.and_then(Scene::id) {
        out.line(format!("  {program} jobs show {id}"));
        out.line(format!("  {program} dlq list"));
        out.line(format!("  {program} dlq requeue demo"));
    }
}
