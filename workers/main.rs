//! The stock program: the platform with its stock workers.

mod demo;
mod email;
mod inventory;
mod order;
mod payment;

use std::process::ExitCode;

use email::{Mailer, SendEmail};
use inventory::{AdjustStock, CommitStock, ReleaseStock, ReserveStock};
use payment::{Cashier, ChargePayment, RefundPayment};
use tikv_jemallocator::Jemalloc;

/// What is allocated where a message arrives is freed by whoever has run its job, on another
/// thread: the C library's allocator spends a quarter of a job's processor time on that.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    longshore::App::new()
        .job_with::<SendEmail>("email", Mailer::for_jobs)
        .job_with::<ChargePayment>("payment", Cashier::for_jobs)
        .job_with::<RefundPayment>("payment", Cashier::for_jobs)
        .migrations(payment::TABLES)
        .balance(payment::BALANCE)
        .sums(payment::SUMS)
        .job::<AdjustStock>("inventory", ())
        .job::<ReserveStock>("inventory", ())
        .job::<CommitStock>("inventory", ())
        .job::<ReleaseStock>("inventory", ())
        .migrations(inventory::TABLES)
        .balance(inventory::BALANCE)
        .sums(inventory::SUMS)
        .demo(demo::tour())
        .run()
}
