//! The hosts and the scheduler: each process has a runtime of its own with a clock of its own,
//! and runs for a turn at a time. Which one, for how long and for how many calls is the seed's
//! choice; so is when one is killed or frozen.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::plan::Plan;
use crate::process;
use crate::world::{Micros, Port, SECOND, World};

/// The most that one process runs ahead of another.
const AHEAD: Micros = 200_000;

#[derive(Debug)]
pub(crate) struct Machine {
    process: Option<Process>,
    pub(crate) boots_at: Option<Micros>,
}

#[derive(Debug)]
struct Process {
    runtime: Runtime,
    drain: CancellationToken,
    main: JoinHandle<()>,
    /// Its own clock at its boot, and the world's.
    booted: (Instant, Micros),
    local: Micros,
    frozen_until: Micros,
}

impl Process {
    /// When it can go on.
    fn ready(&self) -> Micros {
        self.local.max(self.frozen_until)
    }
}

#[derive(Debug)]
pub(crate) struct Machines {
    world: Arc<World>,
    machines: Vec<Machine>,
}

impl Machines {
    pub(crate) fn new(world: Arc<World>, plan: &Plan) -> Self {
        let machine = |host: usize| Machine {
            process: None,
            boots_at: Some(host as u64 * 50_000),
        };
        Self {
            world,
            machines: (0..plan.hosts).map(machine).collect(),
        }
    }

    pub(crate) fn next_boot(&self) -> Option<(Micros, usize)> {
        let boots = self.machines.iter().enumerate();
        boots
            .filter_map(|(host, machine)| Some((machine.boots_at?, host)))
            .min()
    }

    /// The earliest moment at which a process can go on.
    pub(crate) fn next_turn(&self) -> Option<Micros> {
        let processes = self
            .machines
            .iter()
            .filter_map(|machine| machine.process.as_ref());
        processes.map(Process::ready).min()
    }

    pub(crate) fn all_up(&self) -> bool {
        self.machines
            .iter()
            .all(|machine| machine.process.is_some())
    }

    pub(crate) fn is_up(&self, host: usize) -> bool {
        self.machines[host].process.is_some()
    }

    pub(crate) fn boot(&mut self, host: usize, at: Micros, plan: &Plan) {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (incarnation, jobs) = {
            let mut state = self.world.lock();
            state.now = state.now.max(at);
            let there = &mut state.hosts[host];
            there.incarnation += 1;
            there.up = true;
            there.doomed = false;
            there.drained = false;
            there.disconnected = None;
            let incarnation = there.incarnation;
            let now = state.now;
            state.trace.note(now, || format!("host {host} boots"));
            let mine = plan.jobs.iter().copied().enumerate().filter(|(n, job)| {
                let open = state.ledger.jobs[*n].accepted.is_none();
                job.host == host && !job.foreign && open
            });
            (incarnation, mine.collect::<Vec<_>>())
        };
        let drain = CancellationToken::new();
        let (world, draining) = (self.world.clone(), drain.clone());
        let (booted, main) = runtime.block_on(async move {
            let booted = (Instant::now(), at);
            let port = Port::new(world, host, incarnation, at);
            (booted, tokio::spawn(process::run(port, jobs, draining)))
        });
        self.machines[host].boots_at = None;
        self.machines[host].process = Some(Process {
            runtime,
            drain,
            main,
            booted,
            local: at,
            frozen_until: 0,
        });
    }

    /// Ends a process between two of its steps. Everything it holds is dropped.
    pub(crate) fn kill(&mut self, host: usize, boots_at: Micros) {
        let Some(process) = self.machines[host].process.take() else {
            return;
        };
        self.world.lock().hosts[host].up = false;
        drop(process);
        let mut state = self.world.lock();
        let now = state.now;
        state.trace.note(now, || format!("host {host} is down"));
        state.exchange.disconnect(Some(host));
        self.machines[host].boots_at = Some(boots_at);
    }

    pub(crate) fn freeze(&mut self, host: usize, until: Micros) {
        if let Some(process) = &mut self.machines[host].process {
            process.frozen_until = process.frozen_until.max(until);
        }
    }

    pub(crate) fn drain(&self, host: usize) {
        if let Some(process) = &self.machines[host].process {
            process.drain.cancel();
        }
    }

    /// Lets one process run, not beyond `horizon`.
    pub(crate) fn turn(&mut self, horizon: Micros) {
        let Some(first) = self.next_turn() else {
            return;
        };
        let (host, span) = {
            let mut state = self.world.lock();
            let near: Vec<usize> = (0..self.machines.len())
                .filter(|host| {
                    let process = self.machines[*host].process.as_ref();
                    process.is_some_and(|process| {
                        process.ready() <= first + AHEAD.min(horizon - first)
                    })
                })
                .collect();
            let rng = &mut state.rng;
            let host = rng.pick(&near);
            let span = rng.pick(&[2_000, 20_000, 100_000, 400_000]);
            let calls = rng.pick(&[1, 2, 5, 1_000]);
            state.hosts[host].turn = calls;
            (host, span)
        };
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let ready = process.ready();
        let until = (ready + span).min(horizon).max(ready + 1_000);
        let gap = Duration::from_micros(ready - process.local);
        let end = process.booted.0 + Duration::from_micros(until - process.booted.1);
        let over = self.world.lock().hosts[host].turn_over.clone();
        let elapsed = process.runtime.block_on(async {
            if !gap.is_zero() {
                // It wakes: every timer that has run out meanwhile fires at once.
                tokio::time::advance(gap).await;
            }
            tokio::select! {
                biased;
                () = over.notified() => {}
                () = tokio::time::sleep_until(end) => {}
            }
            process.booted.0.elapsed()
        });
        process.local = process.booted.1 + u64::try_from(elapsed.as_micros()).unwrap();
        let (local, ended) = (process.local, process.main.is_finished());
        self.look_after(host, local, ended);
    }

    /// Clears away a process that has ended.
    fn look_after(&mut self, host: usize, now: Micros, ended: bool) {
        let (doomed, drained, rest) = {
            let mut state = self.world.lock();
            state.now = state.now.max(now);
            if ended && !state.hosts[host].drained {
                state.violated(format!("the process of host {host} has panicked"));
            }
            let rest = state.rng.range(300_000..6 * SECOND);
            let there = &state.hosts[host];
            (there.doomed, there.drained, rest)
        };
        if doomed || drained {
            self.kill(host, now + rest);
        }
    }
}
