use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::error::Fault;
use super::schema;

/// Partitions exist for today and this many days after it, so that days in which nobody prunes
/// do not end in the default partition.
const AHEAD: u64 = 3;

/// The tables that are partitioned by day, in the order in which they are locked.
pub(super) const TABLES: [&str; 4] = ["job", "done", "attempt", "tag"];

/// One UTC day of ids: a UUIDv7 begins with its milliseconds since 1970 (RFC 9562, 5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(NaiveDate);

impl Day {
    pub(super) fn of(moment: DateTime<Utc>) -> Self {
        Self(moment.date_naive())
    }

    /// The day of a partition of `job` by its name.
    pub(super) fn of_partition(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("job_")?;
        NaiveDate::parse_from_str(digits, "%Y%m%d").ok().map(Self)
    }

    pub(super) fn start(self) -> DateTime<Utc> {
        self.0.and_time(NaiveTime::MIN).and_utc()
    }

    pub(super) fn next(self) -> Self {
        Self(self.0.checked_add_days(Days::new(1)).unwrap_or(self.0))
    }

    /// The lowest id of the day.
    pub(super) fn first_id(self) -> Uuid {
        let millis = u128::try_from(self.start().timestamp_millis()).unwrap_or_default();
        Uuid::from_u128(millis << 80)
    }

    /// The partition of a table: `longshore.job_20260131`.
    pub(super) fn partition(self, table: &str) -> String {
        format!("longshore.{table}_{}", self.0.format("%Y%m%d"))
    }
}

/// Creates the partitions of today and the days after it. The caller holds [`schema::LOCK`].
pub(super) async fn create_ahead(tx: &mut PgConnection) -> Result<(), Fault> {
    let mut day = Day::of(schema::now(tx).await?);
    for _ in 0..=AHEAD {
        if is_missing(tx, day).await? {
            for table in TABLES {
                create(tx, table, day).await?;
            }
        }
        day = day.next();
    }
    Ok(())
}

/// False for a day that is there, and for one that nobody made in time: its rows are in the
/// default partitions already, and there they stay. A row that slips in after this look makes
/// the attaching fail, and the next look finds it.
async fn is_missing(tx: &mut PgConnection, day: Day) -> Result<bool, Fault> {
    Ok(sqlx::query_scalar(
        "SELECT to_regclass($1) IS NULL
            AND NOT EXISTS (SELECT FROM longshore.job_default WHERE id >= $2 AND id < $3)
            AND NOT EXISTS (SELECT FROM longshore.done_default WHERE id >= $2 AND id < $3)
            AND NOT EXISTS (SELECT FROM longshore.attempt_default WHERE id >= $2 AND id < $3)
            AND NOT EXISTS (SELECT FROM longshore.tag_default WHERE id >= $2 AND id < $3)",
    )
    .bind(day.partition("job"))
    .bind(day.first_id())
    .bind(day.next().first_id())
    .fetch_one(tx)
    .await?)
}

/// Creates a partition aside and attaches it: unlike `CREATE TABLE … PARTITION OF` that does
/// not lock the parent against inserts.
async fn create(tx: &mut PgConnection, table: &str, day: Day) -> Result<(), Fault> {
    let partition = day.partition(table);
    let (from, to) = (day.first_id(), day.next().first_id());
    sqlx::raw_sql(AssertSqlSafe(format!(
        "CREATE TABLE {partition} (LIKE longshore.{table} INCLUDING ALL);
         ALTER TABLE longshore.{table}
             ATTACH PARTITION {partition} FOR VALUES FROM ('{from}') TO ('{to}')"
    )))
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_days_bounds_enclose_exactly_its_ids() {
        let day = Day::of_partition("job_20260131").unwrap();
        assert_eq!(day.partition("done"), "longshore.done_20260131");
        assert_eq!(day.next().partition("job"), "longshore.job_20260201");
        let id = |millis: i64| {
            let seconds = u64::try_from(millis / 1000).unwrap();
            let nanos = u32::try_from(millis % 1000 * 1_000_000).unwrap();
            Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
        };
        let (first, after) = (
            day.start().timestamp_millis(),
            day.next().start().timestamp_millis(),
        );
        assert!(id(first) >= day.first_id() && id(after - 1) < day.next().first_id());
        assert!(id(first - 1) < day.first_id() && id(after) >= day.next().first_id());
    }

    #[test]
    fn only_days_are_days() {
        for name in ["job_default", "job_", "done_20260131", "job_20261301"] {
            assert_eq!(Day::of_partition(name), None, "{name}");
        }
    }
}
