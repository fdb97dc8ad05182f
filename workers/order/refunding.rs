use longshore::job::Failure;
use longshore::store::Connection;
use longshore::worker::Transaction;

use super::payload::Order;

const POSTGRES: &str = "SELECT EXISTS (
    SELECT FROM longshore.tag t
    JOIN longshore.live l ON l.id = t.id
    JOIN longshore.job j ON j.id = t.id
    WHERE t.tag = $1 AND j.kind = 'payment.refund')";
const SQLITE: &str = "SELECT EXISTS (
    SELECT 1 FROM job j, json_each(j.tags) t
    WHERE j.state < 4 AND j.kind = 'payment.refund' AND t.value = $1)";

/// True if a job that gives the order's money back has not ended. The ledger knows of its refund
/// only when it has begun.
pub(super) async fn is_refunding(tx: &mut Transaction, order: &Order) -> Result<bool, Failure> {
    let tag = order.tag();
    let found: sqlx::Result<bool> = match tx.connection() {
        Connection::Postgres(db) => sqlx::query_scalar(POSTGRES).bind(&tag).fetch_one(db).await,
        Connection::Sqlite(db) => sqlx::query_scalar(SQLITE).bind(&tag).fetch_one(db).await,
        _ => Err(sqlx::Error::Configuration(
            "a database that orders do not know".into(),
        )),
    };
    found.map_err(|error| tx.failure(error))
}
