use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output::Output;
use crate::store::Operation;

/// A bar on stderr while somebody watches; otherwise nothing.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn start(out: Output) -> Self {
        let target = if out.is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{msg:8} {wide_bar} {human_pos}/{human_len}  {per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn show(&self, operation: &Operation) {
        self.0.set_message(operation.action.as_str());
        self.0.set_length(operation.matched);
        self.0
            .set_position(operation.done + operation.skipped + operation.failed);
    }

    /// So many of so many.
    pub(super) fn at(&self, what: &'static str, done: u64, of: u64) {
        self.0.set_message(what);
        self.0.set_length(of);
        self.0.set_position(done);
    }

    /// Prints something else while the bar is out of the way.
    pub(super) fn aside(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    /// A line above the bar.
    pub(super) fn note(&self, text: &str) {
        self.0.println(text);
    }

    pub(super) fn end(self, operation: &Operation) {
        self.show(operation);
        self.clear();
    }

    pub(super) fn clear(self) {
        self.0.finish_and_clear();
    }
}
