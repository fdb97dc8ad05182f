use std::fmt;

use sqlx::PgConnection;

use crate::run;

/// What the database is filled with. Jobs are of the stock program's kinds and queues; the ids of
/// what has ended are of the last six days, so within every retention, each in its day's partition.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fill {
    /// Succeeded.
    Finished,
    /// With one failed run each.
    Dead,
    /// Due from tomorrow on.
    Scheduled,
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Dead => "dead",
            Self::Scheduled => "scheduled",
        })
    }
}

/// Rows of one transaction.
const STEP: u64 = 1_000_000;

/// The partitions of the days that have passed: the program only makes those to come.
const DAYS: &str = "
DO $$ DECLARE day date; part text; low uuid; high uuid; BEGIN
    FOR day IN SELECT (now() AT TIME ZONE 'UTC')::date - n FROM generate_series(1, 6) n LOOP
        low := longshore.first_id(day::timestamp AT TIME ZONE 'UTC');
        high := longshore.first_id((day + 1)::timestamp AT TIME ZONE 'UTC');
        FOREACH part IN ARRAY ARRAY['job', 'done', 'attempt', 'tag'] LOOP
            CONTINUE WHEN to_regclass(format('longshore.%s_%s', part, to_char(day, 'YYYYMMDD')))
                IS NOT NULL;
            EXECUTE format('CREATE TABLE longshore.%1$s_%2$s PARTITION OF longshore.%1$s
                            FOR VALUES FROM (%3$L) TO (%4$L)', part, to_char(day, 'YYYYMMDD'), low, high);
        END LOOP;
    END LOOP;
END $$";

const FINISHED: &str = "
INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded, owner,
                            started_at, finished_at, prompt)
SELECT id, kind, queue, 4, 1, 1, 0, 0, 1, created_at + interval '2 ms', created_at + interval '3 ms',
       true
FROM made ORDER BY id";

const DEAD: &str = "
INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded, owner,
                            started_at, finished_at, error_code, error_message, error_class, fingerprint)
SELECT id, kind, queue, 5, 1, 1, 1, 0, 1, created_at, created_at + interval '1 s',
       'code_' || n % 20, 'it could not be done, for reason ' || n % 20, 'permanent',
       md5((n % 20)::text)
FROM made ORDER BY id;
INSERT INTO longshore.attempt (id, number, worker, started_at, finished_at, error_code,
                               error_message, error_class)
SELECT id, 1, 'growth', created_at, created_at + interval '1 s', 'code_' || n % 20,
       'it could not be done, for reason ' || n % 20, 'permanent'
FROM made ORDER BY id";

const SCHEDULED: &str = "
INSERT INTO longshore.live (id, kind, queue, state, dispatch, due, created_at)
SELECT id, kind, queue, 0, 0, now() + interval '1 day' + n * interval '10 ms', created_at
FROM made ORDER BY id";

impl Fill {
    /// Adds those numbered above `from`, to `to`. They count as accepted, so that `longshore
    /// verify` still adds up.
    pub(crate) async fn into(
        self,
        connection: &mut PgConnection,
        from: u64,
        to: u64,
    ) -> anyhow::Result<()> {
        run(connection, DAYS).await?;
        let mut low = from;
        while low < to {
            let high = to.min(low + STEP);
            run(connection, &self.statements(low, high)).await?;
            low = high;
        }
        Ok(())
    }

    fn statements(self, low: u64, high: u64) -> String {
        // The last digits keep the ids of different fillings apart.
        let (rows, mark) = match self {
            Self::Finished => (FINISHED, 1),
            Self::Dead => (DEAD, 2),
            Self::Scheduled => (SCHEDULED, 3),
        };
        let jobs = high - low;
        format!(
            "CREATE TEMPORARY TABLE made AS
             WITH moments AS (
                 SELECT n, date_trunc('day', now() - interval '5 days')
                           + (n - {low}) * (now() - interval '1 hour'
                               - date_trunc('day', now() - interval '5 days')) / {jobs} AS created_at
                 FROM generate_series({low}::bigint + 1, {high}::bigint) n)
             SELECT n, created_at, stock.kind, stock.queue,
                    (lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0')
                     || '7000' || '800{mark}' || lpad(to_hex(n), 12, '0'))::uuid AS id
             FROM moments JOIN (VALUES
                 (0, 'email.send', 'email'), (1, 'payment.charge', 'payment'),
                 (2, 'inventory.adjust', 'inventory'), (3, 'inventory.reserve', 'inventory'),
                 (4, 'email.send', 'email'), (5, 'payment.refund', 'payment'),
                 (6, 'inventory.commit', 'inventory'), (7, 'email.send', 'email'))
                 AS stock (place, kind, queue) ON stock.place = n % 8;
             INSERT INTO longshore.job (id, kind, queue, payload, high, tags, created_at)
             SELECT id, kind, queue, convert_to(repeat('x', 200), 'UTF8'), false, '{{}}', created_at
             FROM made ORDER BY id;
             {rows};
             INSERT INTO longshore.tally AS t (process, slot, accepted) VALUES (0, 0, {jobs})
             ON CONFLICT (process, slot) DO UPDATE SET accepted = t.accepted + excluded.accepted;
             DROP TABLE made"
        )
    }
}
