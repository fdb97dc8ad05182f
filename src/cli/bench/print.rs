use crate::bench::{Latency, Rate, Report};
use crate::cli::output::Output;
use crate::cli::table;

/// What was measured, for people.
pub(super) fn report(out: Output, report: &Report) {
    let Report {
        version,
        store,
        broker,
        processors,
        payload,
        kind,
        workers,
        queues,
        ..
    } = report;
    out.line(format!("longshore {version} · {store} · {broker} broker · {processors} processors · {kind}, {payload} bytes"));
    let several = |count: usize, what: &str| match count {
        0 | 1 => None,
        count => Some(format!("{count} {what}")),
    };
    let told: Vec<String> = [
        several(
            report.runs.len(),
            "runs: medians, and latencies of all of them",
        ),
        several(*workers, "workers"),
        several(*queues, "queues"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !told.is_empty() {
        out.line(told.join(" · "));
    }
    rates(out, report);
    latencies(out, report);
    costs(out, report);
}

fn rates(out: Output, report: &Report) {
    let mut rows = table::table(&["throughput", "jobs", "seconds", "jobs/s"]);
    let mut row = |name: &str, rate: Option<Rate>| {
        if let Some(rate) = rate {
            let seconds = format!("{:.2}", rate.seconds);
            rows.add_row([
                name,
                &grouped(rate.jobs),
                &seconds,
                &grouped(rate.per_second as u64),
            ]);
        }
    };
    row("enqueue one by one, 64 connections", report.enqueue_single);
    row("enqueue in batches of 500", report.enqueue_batch);
    row("drain", report.drain);
    row("enqueue in batches and process at once", report.at_once);
    if let Some(limit) = &report.limit {
        row("limit: queue and SQL at once", Some(limit.both));
        row("  the queue's part", Some(limit.broker));
        row("  the SQL's part", Some(limit.store));
    }
    out.line("");
    out.line(table::text(&mut rows));
    if let Some(limit) = &report.limit {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let by_cpu = limit.cpu_share.map(percent);
        let by_cpu =
            by_cpu.map_or_else(String::new, |share| format!("; {share} by processor time"));
        out.line(format!("{} of the limit{by_cpu}", percent(limit.share)));
    }
}

fn latencies(out: Output, report: &Report) {
    let mut rows = table::table(&["latency", "p50 ms", "p95 ms", "p99 ms", "max ms"]);
    let mut row = |name: &str, latency: Option<Latency>| {
        if let Some(latency) = latency {
            let Latency {
                p50, p95, p99, max, ..
            } = latency;
            let figures = [p50, p95, p99, max].map(|millis| format!("{millis:.2}"));
            let mut cells = vec![name.to_owned()];
            cells.extend(figures);
            rows.add_row(cells);
        }
    };
    row("one of 64 connections: call", report.enqueue_single_latency);
    row(
        &format!("{} jobs/s: due → accepted", report.offered),
        report.accepted,
    );
    row("due → handler start", report.started);
    row("due → done", report.done);
    out.line("");
    out.line(table::text(&mut rows));
}

fn costs(out: Output, report: &Report) {
    let mut rows = table::table(&["enqueueing and processing at once", ""]);
    let mut row = |name: &str, figure: Option<String>| {
        if let Some(figure) = figure {
            rows.add_row([name, &figure]);
        }
    };
    let cpu = |micros: Option<f64>| micros.map(|micros| format!("{micros:.1} ms"));
    row("CPU of 1,000 jobs: intake and worker", cpu(report.cpu.own));
    row("  intake", report.cpu.worker.and(cpu(report.cpu.intake)));
    row("  worker", cpu(report.cpu.worker));
    row("  broker", cpu(report.cpu.broker));
    row("  store", cpu(report.cpu.store));
    row("  this bench", cpu(report.cpu.load));
    row(
        "  the limit, all together",
        cpu(report.limit.and_then(|limit| limit.cpu)),
    );
    let wal = report.wal_per_job;
    row(
        "write-ahead log of a job",
        wal.map(|bytes| format!("{bytes:.0} bytes")),
    );
    let megabytes = |bytes: Option<u64>| bytes.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6));
    row("memory: worker, idle", megabytes(report.memory.worker_idle));
    row("  worker, highest", megabytes(report.memory.worker_peak));
    row("  intake, highest", megabytes(report.memory.intake_peak));
    out.line("");
    out.line(table::text(&mut rows));
}

/// With commas at the thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_apart() {
        let texts = [0, 999, 1_000, 12_345, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
