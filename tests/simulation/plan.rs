//! What a seed stands for: which jobs are submitted, what they do, and which faults strike when.

use longshore::job::JobId;
use uuid::Uuid;

use crate::rng::Rng;
use crate::world::{Micros, SECOND};

/// 2026-01-01T00:00:00Z, the moment 0 of every simulation, in milliseconds of Unix time.
pub(crate) const EPOCH_MILLIS: i64 = 1_767_225_600_000;

const MILLI: Micros = 1000;

/// How a run ends that is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    Retryable,
    Panic,
    Timeout,
}

/// What becomes of a job whose failures are behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finally {
    /// A row, in one transaction with the success.
    Row,
    /// Something outside, and then the success.
    Mail,
    Permanent,
    /// Fails until it is dead.
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct JobPlan {
    pub(crate) id: JobId,
    pub(crate) at: Micros,
    pub(crate) host: usize,
    pub(crate) whole_batch: bool,
    /// Published by an app itself instead of submitted.
    pub(crate) foreign: bool,
    pub(crate) high: bool,
    pub(crate) delay: Option<Micros>,
    pub(crate) takes: Micros,
    pub(crate) failures: u32,
    pub(crate) failing: Failing,
    pub(crate) unavailable: u32,
    pub(crate) finally: Finally,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Killed; booted again after that time.
    Crash(usize, Micros),
    /// Killed at that many calls from now, before or after the call takes effect.
    CrashInside(usize, u64, bool),
    Freeze(usize, Micros),
    /// Told to stop, and booted again when it has drained.
    Deploy(usize),
    StoreStalls(Micros),
    StoreDown(Micros),
    NoStore(usize, Micros),
    NoBroker(usize, Micros),
    /// From here on what is committed is lost at the failover.
    Replicate,
    Failover,
    BrokerRestarts(Micros),
    BrokerWiped(Micros),
    Purge,
    DeleteQueues,
    /// The broker takes nothing.
    Alarm(Micros),
    Disconnect(usize),
    /// Of what is ready, so many percent vanish.
    Lose(u32),
    Duplicate,
    Shuffle,
    Junk,
    /// The app publishes its planned job.
    Foreign(usize),
    Pause(Micros),
    Resume,
    Cancel(usize),
    RequeueDead,
}

/// What happens to single calls, in cases of a million, until the faults end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Knobs {
    pub(crate) until: Micros,
    /// Percent of calls that take long.
    pub(crate) slow: u32,
    pub(crate) store_fails: u32,
    pub(crate) reply_lost: u32,
    pub(crate) publish_fails: u32,
    pub(crate) confirm_lost: u32,
    pub(crate) duplicated: u32,
    pub(crate) reordered: u32,
    pub(crate) delayed: u32,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) hosts: usize,
    pub(crate) jobs: Vec<JobPlan>,
    /// In order of time.
    pub(crate) events: Vec<(Micros, Event)>,
    pub(crate) knobs: Knobs,
    /// The one fault, if there is only a crash: the time to recover is then bounded.
    pub(crate) calm: bool,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let hosts = usize::try_from(rng.range(2..4)).unwrap();
        let calm = rng.percent(10);
        let jobs: Vec<_> = (0..rng.range(3..16))
            .map(|n| job(&mut rng, n, hosts, calm))
            .collect();
        let mut events = Vec::new();
        let mut knobs = Knobs::default();
        if calm {
            let host = usize::try_from(rng.range(0..hosts as u64)).unwrap();
            let at = rng.range(3 * SECOND..8 * SECOND);
            events.push((at, Event::Crash(host, 18 * SECOND)));
        } else {
            knobs = weather(&mut rng);
            for _ in 0..rng.range(0..6) {
                fault(&mut rng, hosts, jobs.len(), &mut events);
            }
        }
        events.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            hosts,
            jobs,
            events,
            knobs,
            calm,
        }
    }
}

fn job(rng: &mut Rng, n: u64, hosts: usize, calm: bool) -> JobPlan {
    let at = rng.range(0..7_000) * MILLI;
    let millis = u128::try_from(EPOCH_MILLIS).unwrap() + u128::from(at / 1000);
    let random = u128::from(rng.bits() >> 8) << 6 | u128::from(n);
    let id = millis << 80 | 7 << 76 | 2 << 62 | random;
    let odd = !calm && rng.percent(50);
    JobPlan {
        id: JobId::from(Uuid::from_u128(id)),
        at,
        host: usize::try_from(rng.range(0..hosts as u64)).unwrap(),
        whole_batch: rng.percent(15),
        foreign: odd && rng.percent(10),
        high: rng.percent(15),
        delay: rng.percent(15).then(|| rng.range(1..6) * SECOND),
        takes: match rng.range(0..4) {
            0 => 0,
            1 | 2 => rng.range(1..400) * MILLI,
            _ => rng.range(400..4_500) * MILLI,
        },
        failures: if odd { rng.pick(&[0, 0, 0, 1, 2]) } else { 0 },
        failing: rng.pick(&[Failing::Retryable, Failing::Panic, Failing::Timeout]),
        unavailable: if odd { rng.pick(&[0, 0, 1, 2]) } else { 0 },
        finally: match rng.range(0..12) {
            0 if odd => Finally::Permanent,
            1 if odd => Finally::Never,
            0..7 => Finally::Row,
            _ => Finally::Mail,
        },
    }
}

fn weather(rng: &mut Rng) -> Knobs {
    let mut often = |percent, cases: &[u32]| match rng.percent(percent) {
        true => rng.pick(cases),
        false => 0,
    };
    Knobs {
        until: 14 * SECOND,
        slow: often(40, &[2, 10, 30]),
        store_fails: often(25, &[1_000, 10_000, 60_000]),
        reply_lost: often(35, &[1_000, 10_000, 60_000]),
        publish_fails: often(20, &[10_000, 100_000]),
        confirm_lost: often(25, &[10_000, 100_000]),
        duplicated: often(30, &[50_000, 400_000]),
        reordered: often(25, &[100_000, 500_000]),
        delayed: often(20, &[50_000, 200_000]),
    }
}

fn fault(rng: &mut Rng, hosts: usize, jobs: usize, events: &mut Vec<(Micros, Event)>) {
    let at = rng.range(500..13_000) * MILLI;
    let host = usize::try_from(rng.range(0..hosts as u64)).unwrap();
    let short = rng.range(200..4_000) * MILLI;
    let long = rng.range(5_000..17_000) * MILLI;
    let some = if rng.percent(50) { short } else { long };
    let event = match rng.range(0..30) {
        0..3 => Event::Crash(host, short + rng.pick(&[0, 5, 20]) * SECOND),
        3..8 => Event::CrashInside(host, rng.range(1..120), rng.percent(50)),
        // Around the moment at which it is taken for dead.
        8..11 => Event::Freeze(
            host,
            rng.pick(&[short, long, 10_300 * MILLI, 11_500 * MILLI]),
        ),
        11 | 12 => Event::Deploy(host),
        13 => Event::StoreStalls(some),
        14 => Event::StoreDown(some),
        15 => Event::NoStore(host, some),
        16 => Event::NoBroker(host, some),
        17 => {
            events.push((at, Event::Replicate));
            events.push((at + rng.range(20..2_500) * MILLI, Event::Failover));
            return;
        }
        18 => Event::BrokerRestarts(some),
        19 => Event::BrokerWiped(short),
        20 => Event::Purge,
        21 => Event::DeleteQueues,
        22 => Event::Alarm(some),
        23 => Event::Disconnect(host),
        24 => Event::Lose(rng.pick(&[30, 100])),
        25 => Event::Duplicate,
        26 => Event::Shuffle,
        27 => Event::Junk,
        28 => {
            events.push((at, Event::Pause(some)));
            Event::RequeueDead
        }
        _ => Event::Cancel(usize::try_from(rng.range(0..jobs as u64)).unwrap()),
    };
    events.push((at, event));
    if rng.percent(10) {
        events.push((at + long, Event::RequeueDead));
    }
}
