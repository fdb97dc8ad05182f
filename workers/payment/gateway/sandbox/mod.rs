//! The built-in gateway: no money, no network, and the behaviour of Stripe's test mode. What was
//! charged is kept in a file, so that a restart remembers it; processes on one machine that have
//! the same folder share it.

mod cards;
mod state;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};
use tokio::sync::OnceCell;

use super::{Advice, Gateway, GatewayError, Intent, Order, Refund, RefundOrder, RefundStatus};
use cards::{Card, Mishap, Way};
use state::{Account, StoredIntent};

/// The file, in the folder of embedded data.
const FILE: &str = "sandbox-gateway.db";
/// How long a writer waits for another process's.
const BUSY: Duration = Duration::from_secs(10);
/// How long a call hangs that is to time out.
const HANG: Duration = Duration::from_secs(1);
/// How long a bank takes that answers later.
const BANK: Duration = Duration::from_secs(2);

/// As Stripe says it.
const REUSED: &str = "Keys for idempotent requests can only be used with the same parameters they were first used with.";

/// The built-in gateway.
#[derive(Debug)]
pub(crate) struct Sandbox {
    path: PathBuf,
    pool: OnceCell<SqlitePool>,
}

impl Sandbox {
    /// A gateway that keeps its file in this folder. It is made when the first payment is.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join(FILE),
            pool: OnceCell::new(),
        }
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, GatewayError> {
        let pool = self.pool.get_or_try_init(|| self.open()).await?;
        pool.begin_with("BEGIN IMMEDIATE").await.map_err(broken)
    }

    async fn open(&self) -> Result<SqlitePool, GatewayError> {
        if let Some(folder) = self.path.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(broken)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(broken)?;
        sqlx::raw_sql(state::TABLES)
            .execute(&pool)
            .await
            .map_err(broken)?;
        Ok(pool)
    }
}

#[async_trait]
impl Gateway for Sandbox {
    async fn create(&self, order: &Order, key: &str) -> Result<Intent, GatewayError> {
        if Card::of(&order.payment_method).is_none() {
            let message = format!(
                "No such PaymentMethod: '{}'; the sandbox knows those of Stripe's test mode, such \
                 as pm_card_visa",
                order.payment_method
            );
            return Err(refused(400, "resource_missing", &message));
        }
        let mut tx = self.begin().await?;
        let mut account = Account(&mut tx);
        let known = account.intent_by_key(key).await.map_err(broken)?;
        let intent = match known {
            Some(known) if known.is_of(order) => known,
            Some(_) => return Err(refused(400, "idempotency_error", REUSED)),
            None => account.insert_intent(order, key).await.map_err(broken)?,
        };
        tx.commit().await.map_err(broken)?;
        Ok(intent.seen())
    }

    async fn confirm(&self, intent: &str, _key: &str) -> Result<Intent, GatewayError> {
        let mut tx = self.begin().await?;
        let mut stored = find(&mut tx, intent).await?;
        if stored.status != "requires_confirmation" {
            return Err(unexpected(&stored));
        }
        let card = Card::of(stored.payment_method.as_deref().unwrap_or_default());
        stored.confirmations += 1;
        let answer = charge(&mut stored, card);
        Account(&mut tx)
            .update_intent(&stored)
            .await
            .map_err(broken)?;
        tx.commit().await.map_err(broken)?;
        if answer
            .as_ref()
            .is_err_and(|error| error.code == "gateway_timeout")
        {
            tokio::time::sleep(HANG).await;
        }
        answer.map(|()| stored.seen())
    }

    async fn intent(&self, intent: &str) -> Result<Intent, GatewayError> {
        let mut tx = self.begin().await?;
        let mut stored = find(&mut tx, intent).await?;
        if stored.status == "processing" && state::now() >= stored.ready_at {
            match Card::of(stored.payment_method.as_deref().unwrap_or_default()) {
                Some(Card::Processing { pays: false }) => {
                    stored.decline("generic_decline", "Your card was declined.");
                }
                _ => stored.pay(),
            }
            Account(&mut tx)
                .update_intent(&stored)
                .await
                .map_err(broken)?;
            tx.commit().await.map_err(broken)?;
        }
        Ok(stored.seen())
    }

    async fn cancel(&self, intent: &str) -> Result<Intent, GatewayError> {
        let mut tx = self.begin().await?;
        let mut stored = find(&mut tx, intent).await?;
        if !stored.status.starts_with("requires_") {
            return Err(unexpected(&stored));
        }
        "canceled".clone_into(&mut stored.status);
        Account(&mut tx)
            .update_intent(&stored)
            .await
            .map_err(broken)?;
        tx.commit().await.map_err(broken)?;
        Ok(stored.seen())
    }

    async fn refund(&self, order: &RefundOrder, key: &str) -> Result<Refund, GatewayError> {
        let mut tx = self.begin().await?;
        let stored = find(&mut tx, &order.intent).await?;
        let mut account = Account(&mut tx);
        if let Some(known) = account.refund_by_key(key).await.map_err(broken)? {
            return Ok(known);
        }
        if stored.status != "succeeded" {
            return Err(unexpected(&stored));
        }
        let made = account.refunds(&order.intent).await.map_err(broken)?;
        let back = made
            .iter()
            .filter(|refund| refund.status != RefundStatus::Failed);
        let left = stored
            .amount
            .saturating_sub(back.map(|refund| refund.amount).sum());
        if left == 0 {
            let message = format!("Charge {} has already been refunded.", stored.id);
            return Err(refused(400, "charge_already_refunded", &message));
        }
        if order.amount > left {
            let message = format!(
                "Refund amount ({}) is greater than unrefunded amount on charge ({left})",
                order.amount
            );
            return Err(refused(400, "amount_too_large", &message));
        }
        let (status, ready_at) =
            match Card::of(stored.payment_method.as_deref().unwrap_or_default()) {
                Some(Card::Pays { refund: Way::Slow }) => {
                    ("pending", state::now() + state::millis(BANK))
                }
                Some(Card::Pays {
                    refund: Way::Nowhere,
                }) => ("failing", state::now() + state::millis(BANK)),
                _ => ("succeeded", 0),
            };
        let refund = account
            .insert_refund(order, key, status, ready_at)
            .await
            .map_err(broken)?;
        tx.commit().await.map_err(broken)?;
        Ok(refund)
    }

    async fn refunds(&self, intent: &str) -> Result<Vec<Refund>, GatewayError> {
        let mut tx = self.begin().await?;
        find(&mut tx, intent).await?;
        Account(&mut tx).refunds(intent).await.map_err(broken)
    }
}

/// What the bank does. The error is what the caller gets to hear, not what happened.
fn charge(intent: &mut StoredIntent, card: Option<Card>) -> Result<(), GatewayError> {
    match card {
        Some(Card::FailsOnce(mishap)) if intent.confirmations == 1 => {
            return Err(match mishap {
                Mishap::Timeout => GatewayError::unanswered(
                    "gateway_timeout",
                    "the sandbox gave no answer in time",
                ),
                Mishap::Error => refused(500, "gateway_error", "Something went wrong on our end."),
            });
        }
        Some(Card::PaysUnheard) => {
            intent.pay();
            let message = "the sandbox lost its answer";
            return Err(GatewayError::unanswered("gateway_cut", message));
        }
        Some(Card::PaysWithError) => {
            intent.pay();
            return Err(refused(
                500,
                "gateway_error",
                "Something went wrong on our end.",
            ));
        }
        Some(Card::Declined(code, message)) => {
            intent.decline(code, message);
            return Err(refused(402, code, message));
        }
        Some(Card::RequiresAction) => "requires_action".clone_into(&mut intent.status),
        Some(Card::Processing { .. }) => {
            "processing".clone_into(&mut intent.status);
            intent.ready_at = state::now() + state::millis(BANK);
        }
        Some(Card::Pays { .. } | Card::FailsOnce(_)) => intent.pay(),
        None => return Err(refused(400, "resource_missing", "No such PaymentMethod.")),
    }
    Ok(())
}

async fn find(
    tx: &mut Transaction<'static, Sqlite>,
    id: &str,
) -> Result<StoredIntent, GatewayError> {
    let found = Account(tx).intent(id).await.map_err(broken)?;
    found.ok_or_else(|| {
        refused(
            404,
            "resource_missing",
            &format!("No such payment_intent: '{id}'"),
        )
    })
}

fn unexpected(intent: &StoredIntent) -> GatewayError {
    let message = format!("This PaymentIntent has a status of {}.", intent.status);
    refused(400, "payment_intent_unexpected_state", &message)
}

fn refused(status: u16, code: &str, message: &str) -> GatewayError {
    GatewayError {
        code: code.to_owned(),
        message: format!("the sandbox answered {status}: {message}"),
        advice: match status {
            402 => Advice::Declined,
            500.. => Advice::Unavailable,
            _ => Advice::Permanent,
        },
        status: Some(status),
        after: None,
        replayed: false,
    }
}

fn broken(error: impl std::error::Error) -> GatewayError {
    GatewayError::unanswered("sandbox_broken", format!("the sandbox's file: {error}"))
}
