use std::time::Duration;

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::super::{Decline, Intent, IntentStatus, JOB, Order, Refund, RefundOrder, RefundStatus};

/// Amounts are minor units, times milliseconds since 1970-01-01 UTC.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS intent (
        id TEXT NOT NULL PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        amount INTEGER NOT NULL,
        currency TEXT NOT NULL,
        payment_method TEXT,
        status TEXT NOT NULL,
        charge TEXT,
        code TEXT,
        message TEXT,
        confirmations INTEGER NOT NULL DEFAULT 0,
        ready_at INTEGER NOT NULL DEFAULT 0,
        metadata TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS refund (
        id TEXT NOT NULL PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        intent TEXT NOT NULL REFERENCES intent (id),
        amount INTEGER NOT NULL,
        status TEXT NOT NULL,
        ready_at INTEGER NOT NULL,
        job TEXT
    ) STRICT;
    CREATE INDEX IF NOT EXISTS refund_intent ON refund (intent);";

/// A payment as it is kept.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct StoredIntent {
    pub(super) id: String,
    #[sqlx(try_from = "i64")]
    pub(super) amount: u64,
    pub(super) currency: String,
    pub(super) payment_method: Option<String>,
    pub(super) status: String,
    pub(super) charge: Option<String>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) confirmations: i64,
    pub(super) ready_at: i64,
    metadata: String,
}

impl StoredIntent {
    /// True if this is what was asked for. (The payment method goes with a decline.)
    pub(super) fn is_of(&self, order: &Order) -> bool {
        let method = self.payment_method.as_ref();
        (self.amount, &self.currency) == (order.amount, &order.currency)
            && method.is_none_or(|method| *method == order.payment_method)
            && self.metadata == metadata(order)
    }

    pub(super) fn pay(&mut self) {
        "succeeded".clone_into(&mut self.status);
        self.charge = Some(fresh("ch"));
        (self.code, self.message) = (None, None);
    }

    /// As at Stripe, the payment method is taken from the intent: what is confirmed again later
    /// has nothing to charge.
    pub(super) fn decline(&mut self, code: &str, message: &str) {
        "requires_payment_method".clone_into(&mut self.status);
        self.payment_method = None;
        self.code = Some(code.to_owned());
        self.message = Some(message.to_owned());
    }

    pub(super) fn seen(self) -> Intent {
        let message = self.message.unwrap_or_default();
        Intent {
            status: IntentStatus::of(&self.status),
            id: self.id,
            amount: self.amount,
            currency: self.currency,
            charge: self.charge,
            decline: self.code.map(|code| Decline { code, message }),
        }
    }
}

type RefundColumns = (String, i64, String, i64, Option<String>);

fn refund((id, amount, status, ready_at, job): RefundColumns) -> Refund {
    Refund {
        id,
        amount: amount.unsigned_abs(),
        status: match status.as_str() {
            "failing" if now() >= ready_at => RefundStatus::Failed,
            "pending" if now() < ready_at => RefundStatus::Pending,
            _ => RefundStatus::Succeeded,
        },
        job,
    }
}

/// The tables, in a transaction.
pub(super) struct Account<'t>(pub(super) &'t mut SqliteConnection);

impl Account<'_> {
    pub(super) async fn intent(&mut self, id: &str) -> sqlx::Result<Option<StoredIntent>> {
        sqlx::query_as("SELECT * FROM intent WHERE id = ?1")
            .bind(id)
            .fetch_optional(&mut *self.0)
            .await
    }

    pub(super) async fn intent_by_key(&mut self, key: &str) -> sqlx::Result<Option<StoredIntent>> {
        sqlx::query_as("SELECT * FROM intent WHERE key = ?1")
            .bind(key)
            .fetch_optional(&mut *self.0)
            .await
    }

    pub(super) async fn insert_intent(
        &mut self,
        order: &Order,
        key: &str,
    ) -> sqlx::Result<StoredIntent> {
        let metadata = metadata(order);
        sqlx::query_as(
            "INSERT INTO intent (id, key, amount, currency, payment_method, status, metadata)
             VALUES (?1, ?2, ?3, ?4, ?5, 'requires_confirmation', ?6) RETURNING *",
        )
        .bind(fresh("pi"))
        .bind(key)
        .bind(signed(order.amount))
        .bind(&order.currency)
        .bind(&order.payment_method)
        .bind(metadata)
        .fetch_one(&mut *self.0)
        .await
    }

    pub(super) async fn update_intent(&mut self, intent: &StoredIntent) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE intent SET payment_method = ?2, status = ?3, charge = ?4, code = ?5,
                 message = ?6, confirmations = ?7, ready_at = ?8
             WHERE id = ?1",
        )
        .bind(&intent.id)
        .bind(&intent.payment_method)
        .bind(&intent.status)
        .bind(&intent.charge)
        .bind(&intent.code)
        .bind(&intent.message)
        .bind(intent.confirmations)
        .bind(intent.ready_at)
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    pub(super) async fn refund_by_key(&mut self, key: &str) -> sqlx::Result<Option<Refund>> {
        let found: Option<RefundColumns> =
            sqlx::query_as("SELECT id, amount, status, ready_at, job FROM refund WHERE key = ?1")
                .bind(key)
                .fetch_optional(&mut *self.0)
                .await?;
        Ok(found.map(refund))
    }

    pub(super) async fn refunds(&mut self, intent: &str) -> sqlx::Result<Vec<Refund>> {
        let found: Vec<RefundColumns> = sqlx::query_as(
            "SELECT id, amount, status, ready_at, job FROM refund WHERE intent = ?1 ORDER BY id",
        )
        .bind(intent)
        .fetch_all(&mut *self.0)
        .await?;
        Ok(found.into_iter().map(refund).collect())
    }

    pub(super) async fn insert_refund(
        &mut self,
        order: &RefundOrder,
        key: &str,
        status: &str,
        ready_at: i64,
    ) -> sqlx::Result<Refund> {
        let made: RefundColumns = sqlx::query_as(
            "INSERT INTO refund (id, key, intent, amount, status, ready_at, job)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING id, amount, status, ready_at, job",
        )
        .bind(fresh("re"))
        .bind(key)
        .bind(&order.intent)
        .bind(signed(order.amount))
        .bind(status)
        .bind(ready_at)
        .bind(order.metadata.get(JOB))
        .fetch_one(&mut *self.0)
        .await?;
        Ok(refund(made))
    }
}

fn metadata(order: &Order) -> String {
    serde_json::to_string(&order.metadata).unwrap_or_default()
}

/// What the door lets through fits.
fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

pub(super) fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn fresh(prefix: &str) -> String {
    format!("{prefix}_sandbox_{}", Uuid::now_v7().simple())
}
