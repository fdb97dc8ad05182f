//! The stock program: the platform with its stock workers.

mod demo;
mod email;

use std::process::ExitCode;

use email::{Mailer, SendEmail};

fn main() -> ExitCode {
    longshore::App::new()
        .job_with::<SendEmail>("email", Mailer::for_jobs)
        .demo(demo::tour())
        .run()
}
