//! What has become of a payment whose job has ended without learning it: it was cancelled while
//! the bank took its time, or cut off in the middle of a confirmation.

use longshore::job::{ErrorClass, Failure};

use super::gateway::{Decline, Intent, IntentStatus};
use super::row::{Payment, PaymentState};
use super::run::Run;

/// Most payments that one run asks about before it does its own work.
const MOST: i64 = 8;
/// [`Payment::told`] where the job was not told at all: whenever it runs again, it was sent back.
const UNTOLD: i32 = -1;

impl Run<'_> {
    /// Learns the truth of payments that nobody else will ask about.
    ///
    /// # Errors
    /// When the database or the gateway does not answer, which harms nobody: it is tried again.
    pub(crate) async fn catch_up(&self) -> Result<(), Failure> {
        let mut silent = false;
        for row in self.ledger.orphans(MOST).await? {
            self.still_wanted()?;
            let Err(failure) = self.learn(row.clone()).await else {
                continue;
            };
            // The others come first the next time: one that can never be learnt holds up nobody.
            self.ledger.change(&row).await?;
            if failure.error().class == ErrorClass::Unavailable {
                // Of two it is the gateway that is down.
                if silent {
                    return Err(failure);
                }
                silent = true;
            }
        }
        Ok(())
    }

    /// Records what the gateway says of an unfinished payment that its job works on no more. One
    /// that could still be charged (by a worker that is frozen) is closed. False if the bank has
    /// not answered yet.
    ///
    /// # Errors
    /// When the database or the gateway does not answer.
    pub(super) async fn learn(&self, mut row: Payment) -> Result<bool, Failure> {
        let Some(id) = row.intent.clone() else {
            return Ok(true);
        };
        let read = async || {
            let intent = self.gateway.intent(&id).await;
            intent.map_err(|error| self.doubt(&error))
        };
        let mut intent = read().await?;
        if is_open(&intent.status) {
            row.decline = Some(reason(&row, &intent));
            row.state = PaymentState::Closing;
            if !self.ledger.change(&row).await? {
                return Ok(true);
            }
            row.version = row.version.saturating_add(1);
            intent = match self.gateway.cancel(&id).await {
                Ok(closed) => closed,
                // It may have been charged just now, which counts.
                Err(_) => read().await?,
            };
        }
        let learnt = match &intent.status {
            IntentStatus::Succeeded => Payment {
                state: PaymentState::Succeeded,
                charge: intent.charge,
                decline: None,
                told: None,
                ..row
            },
            IntentStatus::Canceled => Payment {
                state: PaymentState::Refused,
                decline: Some(reason(&row, &intent)),
                told: Some(UNTOLD),
                ..row
            },
            IntentStatus::Processing => Payment {
                state: PaymentState::Processing,
                decline: None,
                ..row
            },
            other => {
                let message = format!("the gateway says of the payment: {other:?}");
                return Err(Failure::unavailable("gateway_protocol", message));
            }
        };
        // If the row has changed meanwhile, somebody is at it.
        self.ledger.change(&learnt).await?;
        Ok(!learnt.is_unfinished())
    }
}

fn is_open(status: &IntentStatus) -> bool {
    matches!(
        status,
        IntentStatus::RequiresConfirmation
            | IntentStatus::RequiresPaymentMethod
            | IntentStatus::RequiresAction
    )
}

fn reason(row: &Payment, intent: &Intent) -> Decline {
    let known = row.decline.clone().or_else(|| intent.decline.clone());
    known.unwrap_or_else(|| {
        let (code, message) = match intent.status {
            IntentStatus::Canceled => (
                "payment_canceled",
                "the payment was cancelled at the gateway",
            ),
            IntentStatus::RequiresAction => (
                "requires_action",
                "the bank wanted the customer to confirm the payment",
            ),
            _ => (
                "payment_abandoned",
                "its job ended, or was edited, before the card was charged",
            ),
        };
        Decline {
            code: code.to_owned(),
            message: message.to_owned(),
        }
    })
}
