//! One simulation, from its seed to its verdict.

use bytes::Bytes;
use longshore::broker::{Lane, Source};
use longshore::job::Message;

use crate::jobs::KIND;
use crate::machines::Machines;
use crate::plan::{Event, Plan};
use crate::world::{Bug, Micros, SECOND, State, World};

/// Silences shorter than this kill nobody.
const HARMLESS: Micros = 4 * SECOND;
/// How long after the last fault everything may take to come to rest.
const REST: Micros = 150 * SECOND;

#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) seed: u64,
    pub(crate) hash: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) lines: Vec<String>,
    /// Virtual time until rest.
    pub(crate) took: Micros,
}

pub(crate) fn simulate(seed: u64, bug: Option<Bug>, verbose: bool) -> Verdict {
    let plan = Plan::new(seed);
    let world = World::new(&plan, bug, verbose);
    let mut simulation = Simulation {
        machines: Machines::new(world.clone(), &plan),
        events: plan.events.clone(),
        plan,
        world: world.clone(),
        last_fault: 0,
        turns: 0,
    };
    simulation.publish_foreign();
    simulation.run();
    drop(simulation);
    let state = world.lock();
    Verdict {
        seed,
        hash: state.trace.hash(),
        violations: state.violations.clone(),
        lines: state.trace.lines().to_vec(),
        took: state.now,
    }
}

struct Simulation {
    plan: Plan,
    world: std::sync::Arc<World>,
    machines: Machines,
    /// Those that are still to come, in order of time.
    events: Vec<(Micros, Event)>,
    last_fault: Micros,
    turns: u64,
}

impl Simulation {
    /// Apps that publish by themselves.
    fn publish_foreign(&mut self) {
        for (n, job) in self
            .plan
            .jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| job.foreign)
        {
            self.events.push((job.at + SECOND, Event::Foreign(n)));
        }
        self.events.sort_by_key(|(at, _)| *at);
    }

    fn run(&mut self) {
        loop {
            let next_event = self.events.first().map(|(at, _)| *at);
            let next_boot = self.machines.next_boot();
            let fate = [next_event, next_boot.map(|(at, _)| at)]
                .into_iter()
                .flatten()
                .min();
            let turn = self.machines.next_turn();
            match (fate, turn) {
                (Some(at), turn) if turn.is_none_or(|turn| at <= turn) => match next_boot {
                    Some((boot, host)) if boot == at => self.machines.boot(host, at, &self.plan),
                    _ => self.strike(),
                },
                (fate, Some(turn)) => self.machines.turn(fate.unwrap_or(turn + 10 * SECOND)),
                (_, None) => return,
            }
            self.turns += 1;
            if self.is_over() {
                return;
            }
        }
    }

    /// True once everything has come to rest, or never will.
    fn is_over(&mut self) -> bool {
        let mut state = self.world.lock();
        if !state.violations.is_empty() {
            return true;
        }
        if !self.events.is_empty() || !self.turns.is_multiple_of(4) {
            return false;
        }
        let quiet_from = self.last_fault.max(state.knobs.until);
        let idle = self.machines.all_up() && state.now >= quiet_from;
        if idle && state.rests() {
            state.balance();
            if self.plan.calm {
                state.recovery();
            }
            return true;
        }
        if state.now < quiet_from + REST {
            return false;
        }
        let what = state.unrest();
        state.violated(format!("no rest: {what}"));
        true
    }

    /// The next event happens.
    fn strike(&mut self) {
        let (at, event) = self.events.remove(0);
        {
            let mut state = self.world.lock();
            state.now = state.now.max(at);
            let now = state.now;
            state.trace.note(now, || format!("{event:?}"));
            state.untroubled = false;
        }
        self.last_fault = self.last_fault.max(at);
        match event {
            Event::Crash(host, back) => {
                self.machines.kill(host, at + back);
                self.last_fault = self.last_fault.max(at + back);
            }
            Event::CrashInside(host, calls, after) => {
                let mut state = self.world.lock();
                let there = &mut state.hosts[host];
                there.dies_at = Some((there.calls + calls, after));
            }
            Event::Freeze(host, long) if self.machines.is_up(host) => {
                self.machines.freeze(host, at + long);
                self.disturb(host, at, long);
            }
            Event::Deploy(host) => self.machines.drain(host),
            Event::NoStore(host, long) => {
                self.world.lock().hosts[host].no_store_until = at + long;
                self.disturb(host, at, long);
            }
            Event::Pause(long) => {
                self.world.lock().db.paused.insert("sim".to_owned());
                self.add(at + long, Event::Resume);
            }
            Event::Foreign(n) => {
                if !self.world.lock().put_foreign(n) {
                    self.add(at + SECOND, event);
                }
            }
            Event::Cancel(n) => {
                if !self.world.lock().cancel(n) {
                    self.add(at + SECOND / 100, event);
                }
            }
            event => {
                let until = self.world.lock().suffer(at, event);
                self.last_fault = self.last_fault.max(until);
            }
        }
    }

    fn add(&mut self, at: Micros, event: Event) {
        self.events.push((at, event));
        self.events.sort_by_key(|(at, _)| *at);
    }

    fn disturb(&mut self, host: usize, at: Micros, long: Micros) {
        self.last_fault = self.last_fault.max(at + long);
        if long >= HARMLESS {
            self.world.lock().hosts[host]
                .disturbed
                .push((at, at + long));
        }
    }
}

impl State {
    /// What needs no host. Returns when it is over.
    fn suffer(&mut self, at: Micros, event: Event) -> Micros {
        match event {
            Event::StoreStalls(long) => self.store_stalled_until = at + long,
            Event::StoreDown(long) => self.store_down_until = at + long,
            Event::Replicate => self.replica = Some((at, self.db.clone())),
            Event::Failover => self.fail_over(at),
            Event::NoBroker(host, long) => {
                self.hosts[host].no_broker_until = at + long;
                self.lose_connections(at, Some(host));
            }
            Event::BrokerRestarts(long) => {
                self.exchange.down_until = at + long;
                self.lose_connections(at, None);
            }
            Event::BrokerWiped(long) => {
                self.exchange.down_until = at + long;
                self.lose_connections(at, None);
                self.lose_queues();
            }
            Event::DeleteQueues => {
                self.lose_connections(at, None);
                self.lose_queues();
            }
            Event::Disconnect(host) => self.lose_connections(at, Some(host)),
            Event::Alarm(long) => self.exchange.alarm_until = at + long,
            Event::Purge => self.lose_messages(100),
            Event::Lose(percent) => self.lose_messages(percent),
            Event::Duplicate => self.exchange.lanes_mut().for_each(|lane| {
                let copies: Vec<_> = lane.iter().cloned().collect();
                lane.extend(copies);
            }),
            Event::Shuffle => self.shuffle(),
            Event::Junk => self.put_junk(),
            Event::Resume => self.db.paused.clear(),
            Event::RequeueDead => {
                for n in self.db.dead() {
                    self.ledger.jobs[n].touched = true;
                }
                self.db.begin_requeue(at);
            }
            _ => {}
        }
        match event {
            Event::StoreStalls(long)
            | Event::StoreDown(long)
            | Event::NoBroker(_, long)
            | Event::BrokerRestarts(long)
            | Event::BrokerWiped(long)
            | Event::Alarm(long) => at + long,
            _ => at,
        }
    }

    fn fail_over(&mut self, at: Micros) {
        let Some((since, mut replica)) = self.replica.take() else {
            return;
        };
        replica.next = self.db.next;
        replica.jobs.values_mut().for_each(|row| row.lock = None);
        self.db = replica;
        let since = self
            .forgotten
            .map_or(since, |(earlier, _)| earlier.min(since));
        self.forgotten = Some((since, at));
    }

    fn lose_connections(&mut self, at: Micros, host: Option<usize>) {
        self.exchange.disconnect(host);
        for (n, there) in self.hosts.iter_mut().enumerate() {
            if host.is_none_or(|host| host == n) {
                there.disconnected = Some(at);
            }
        }
    }

    fn lose_queues(&mut self) {
        self.ledger.broker_lost = true;
        self.exchange.delete_queues();
    }

    fn lose_messages(&mut self, percent: u32) {
        self.ledger.broker_lost = true;
        let Self { exchange, rng, .. } = self;
        for lane in exchange.lanes_mut() {
            lane.retain(|_| !rng.percent(percent));
        }
    }

    fn shuffle(&mut self) {
        let Self { exchange, rng, .. } = self;
        for lane in exchange.lanes_mut() {
            for at in (1..lane.len()).rev() {
                let other = usize::try_from(rng.range(0..at as u64 + 1)).unwrap();
                lane.swap(at, other);
            }
        }
    }

    fn put_junk(&mut self) {
        let message = Message {
            message_id: Some(format!("junk-{}", self.now)),
            body: Bytes::from_static(b"\xff no job"),
            ..Message::default()
        };
        if self.exchange.put(&source(), message) {
            self.ledger.junk += 1;
        }
    }

    /// False if there is no queue now.
    fn put_foreign(&mut self, n: usize) -> bool {
        let message = Message {
            message_id: Some(format!("app-{n}")),
            kind: Some(KIND.to_owned()),
            body: format!("{{\"n\":{n}}}").into(),
            ..Message::default()
        };
        let taken = self.exchange.put(&source(), message.clone());
        if taken {
            self.ledger.jobs[n].accepted = Some(self.now);
            self.exchange.put(&source(), message);
        }
        taken
    }

    /// False if the row is locked now.
    fn cancel(&mut self, n: usize) -> bool {
        let Some((id, _)) = self.db.of_plan(n) else {
            return true;
        };
        self.ledger.jobs[n].touched = true;
        self.db.cancel(self.now, id).is_some()
    }

    fn rests(&self) -> bool {
        self.unrest().is_empty()
    }

    /// What is still to happen, in words.
    fn unrest(&self) -> String {
        let mut waiting = Vec::new();
        for (n, entry) in self.ledger.jobs.iter().enumerate() {
            if entry.accepted.is_none() {
                waiting.push(format!("job {n} is not accepted"));
            }
        }
        for (id, row) in &self.db.jobs {
            if !row.state.is_final() {
                let (state, plan) = (row.state, row.plan);
                waiting.push(format!("job {plan:?} ({id}) is {state}"));
            }
        }
        if !self.db.outbox.is_empty() {
            waiting.push("the outbox is not empty".to_owned());
        }
        if !self.exchange.is_empty() {
            waiting.push("the broker holds messages".to_owned());
        }
        if !self.db.operations_are_done() {
            waiting.push("a bulk requeue goes on".to_owned());
        }
        waiting.join("; ")
    }
}

fn source() -> Source {
    Source::new("sim".parse().unwrap(), Lane::Normal)
}
