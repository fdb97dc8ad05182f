//! The stock program: the platform with its stock workers.

mod demo;
mod email;
mod inventory;

use std::process::ExitCode;

use email::{Mailer, SendEmail};
use inventory::{AdjustStock, CommitStock, ReleaseStock, ReserveStock};

fn main() -> ExitCode {
    longshore::App::new()
        .job_with::<SendEmail>("email", Mailer::for_jobs)
        .job::<AdjustStock>("inventory", ())
        .job::<ReserveStock>("inventory", ())
        .job::<CommitStock>("inventory", ())
        .job::<ReleaseStock>("inventory", ())
        .migration(inventory::TABLES)
        .balance(inventory::BALANCE)
        .demo(demo::tour())
        .run()
}
