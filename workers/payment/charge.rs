//! A charge, step by step. Each step begins with what the ledger and the gateway say; none relies
//! on what a run before it believed.

use std::collections::BTreeMap;

use longshore::job::{Done, Failure, JobResult};

use super::gateway::{Advice, Decline, GatewayError, Intent, IntentStatus, JOB, Order, REFERENCE};
use super::payload::ChargePayment;
use super::row::{Payment, PaymentState};
use super::run::{POLL, Run, TURNS};

/// The end of the job, or `None`: the row has changed, look again.
type Step = Result<Option<Done>, Failure>;

impl Run<'_> {
    /// Charges, or finds out that it was done.
    ///
    /// # Errors
    /// By the table in the documentation of [`super`].
    pub(crate) async fn charge(&self, charge: &ChargePayment) -> JobResult {
        let new = Payment::new(charge, self.who.job);
        for _ in 0..TURNS {
            let row = self.ledger.enter(&new).await?;
            if let Some(done) = self.turn(charge, &new, row).await? {
                return Ok(done);
            }
        }
        Err(Self::contended())
    }

    async fn turn(&self, charge: &ChargePayment, new: &Payment, row: Payment) -> Step {
        // A job that was edited (another card, say) must have been sent back.
        let edited = row.fingerprint != new.fingerprint;
        let mine = row.job == self.who.job;
        if mine && row.state == PaymentState::Refused && (edited || self.sent_back(&row)) {
            self.ledger.change(&row.begun_anew(charge)).await?;
            return Ok(None);
        }
        if edited && mine && row.is_unfinished() {
            return self.supersede(charge, row).await;
        }
        if edited {
            return Err(reused(&row));
        }
        match row.state {
            PaymentState::Succeeded => Done::with(row.result()).map(Some),
            PaymentState::Refused => self.refused(row).await,
            PaymentState::Closing => self.close(row).await,
            PaymentState::Open | PaymentState::Processing => match row.intent.clone() {
                None => self.create(charge, row).await,
                Some(id) => match self.gateway.intent(&id).await {
                    Ok(intent) => self.follow(row, intent).await,
                    Err(error) => Err(self.doubt(&error)),
                },
            },
        }
    }

    /// True if the job has failed since it was told of the refusal, and was sent back to try it
    /// again.
    fn sent_back(&self, row: &Payment) -> bool {
        row.told.is_some_and(|told| self.who.earlier > told)
    }

    /// Gives up what the job was before it was edited; the next turn finds how that ended.
    async fn supersede(&self, charge: &ChargePayment, row: Payment) -> Step {
        if row.intent.is_none() {
            self.ledger.change(&row.begun_anew(charge)).await?;
            return Ok(None);
        }
        match self.learn(row).await? {
            true => Ok(None),
            false => Err(unanswered()),
        }
    }

    async fn refused(&self, row: Payment) -> Step {
        let refusal = row.refusal();
        if row.job == self.who.job && row.told.is_none() {
            // Another job drove it to its end; its owner learns it now.
            let told = Payment {
                told: Some(self.who.earlier),
                ..row
            };
            if !self.ledger.change(&told).await? {
                return Ok(None);
            }
        }
        Err(refusal)
    }

    /// An intent moves no money. One that is made twice, because an answer was lost, is never
    /// confirmed unless the ledger names it.
    async fn create(&self, charge: &ChargePayment, row: Payment) -> Step {
        let order = order(charge, &row);
        let key = key(&row, "create");
        match self.gateway.create(&order, &key).await {
            Ok(intent) if (intent.amount, &intent.currency) != (row.amount, &row.currency) => {
                let message = format!(
                    "the gateway made an intent of {} {}",
                    intent.amount, intent.currency
                );
                let error = GatewayError::unanswered("gateway_protocol", message);
                Err(self.failure(&error))
            }
            Ok(intent) => {
                let named = Payment {
                    intent: Some(intent.id.clone()),
                    ..row
                };
                match self.ledger.change(&named).await? {
                    true => self.follow(changed(named), intent).await,
                    false => Ok(None),
                }
            }
            Err(error) => self.not_created(row, &error).await,
        }
    }

    async fn not_created(&self, row: Payment, error: &GatewayError) -> Step {
        let row = match self.renew_keys(row, error).await? {
            Some(row) => row,
            None => return Ok(None),
        };
        if error.spent_the_key() {
            return Ok(None);
        }
        match error.advice {
            Advice::Declined | Advice::Permanent => self.refuse(row, decline(error)).await,
            // No intent is named, so nothing can be charged. An end of the job that left the row
            // as it is would leave it to nobody.
            Advice::Retry if self.who.last => self.refuse(row, decline(error)).await,
            Advice::Retry | Advice::Unavailable => Err(self.failure(error)),
        }
    }

    /// Spent keys would bring the same answer for a day. `None`: the row has changed.
    async fn renew_keys(
        &self,
        row: Payment,
        error: &GatewayError,
    ) -> Result<Option<Payment>, Failure> {
        if !error.spent_the_key() {
            return Ok(Some(row));
        }
        let renewed = Payment {
            generation: row.generation.saturating_add(1),
            ..row
        };
        let kept = self.ledger.change(&renewed).await?;
        Ok(kept.then(|| changed(renewed)))
    }

    /// Goes on from where the gateway says that the intent is.
    async fn follow(&self, row: Payment, intent: Intent) -> Step {
        if intent.status != IntentStatus::RequiresConfirmation {
            return self.settle(row, intent).await;
        }
        self.still_wanted()?;
        match self
            .gateway
            .confirm(&intent.id, &key(&row, "confirm"))
            .await
        {
            Ok(confirmed) => self.settle(row, confirmed).await,
            Err(error) if error.advice == Advice::Declined => {
                self.begin_closing(row, decline(&error)).await
            }
            // It may have been charged all the same: an answer that was lost, a 500 after the
            // charge, another run that came first.
            Err(error) => match self.gateway.intent(&intent.id).await {
                Ok(now) if now.status == IntentStatus::RequiresConfirmation => {
                    self.not_confirmed(row, &error).await
                }
                Ok(now) => self.settle(row, now).await,
                Err(_) => Err(self.doubt(&error)),
            },
        }
    }

    /// The intent is as it was; but a confirmation may still be on its way to it, so the job ends
    /// only with the intent.
    async fn not_confirmed(&self, row: Payment, error: &GatewayError) -> Step {
        let row = match self.renew_keys(row, error).await? {
            Some(row) => row,
            None => return Ok(None),
        };
        // About the key, not about the payment.
        if error.code == "idempotency_error" {
            return Ok(None);
        }
        match error.advice {
            // Twice unknown at the gateway, and known when it was read in between: not closed on
            // that.
            Advice::Permanent if error.is_missing() => Err(self.doubt(error)),
            Advice::Permanent => self.begin_closing(row, decline(error)).await,
            Advice::Retry if self.who.last => self.begin_closing(row, decline(error)).await,
            _ => Err(self.failure(error)),
        }
    }

    async fn settle(&self, row: Payment, intent: Intent) -> Step {
        match intent.status {
            IntentStatus::Succeeded => {
                let paid = Payment {
                    state: PaymentState::Succeeded,
                    charge: intent.charge,
                    decline: None,
                    told: None,
                    ..row
                };
                let result = paid.result();
                self.ledger.settle(&paid, result).await
            }
            IntentStatus::Processing => self.processing(row).await,
            IntentStatus::RequiresAction => {
                let message = "the bank wants the customer to confirm the payment, which a job \
                               cannot do; the payment is cancelled";
                let decline = Decline {
                    code: "requires_action".to_owned(),
                    message: message.to_owned(),
                };
                self.begin_closing(row, decline).await
            }
            IntentStatus::RequiresPaymentMethod => {
                let decline = intent.decline.unwrap_or_else(|| Decline {
                    code: "card_declined".to_owned(),
                    message: "the card was declined".to_owned(),
                });
                self.begin_closing(row, decline).await
            }
            IntentStatus::Canceled => {
                let decline = row.decline.clone().or(intent.decline);
                let decline = decline.unwrap_or_else(|| Decline {
                    code: "payment_canceled".to_owned(),
                    message: "the payment was cancelled at the gateway".to_owned(),
                });
                self.refuse(row, decline).await
            }
            IntentStatus::RequiresConfirmation => Err(strange("requires_confirmation")),
            IntentStatus::Other(name) => Err(strange(&name)),
        }
    }

    async fn processing(&self, row: Payment) -> Step {
        if row.state != PaymentState::Processing {
            let waiting = Payment {
                state: PaymentState::Processing,
                decline: None,
                ..row
            };
            if !self.ledger.change(&waiting).await? {
                return Ok(None);
            }
        }
        Err(unanswered())
    }

    /// Remembers the reason before the intent is closed: afterwards the gateway may not know it
    /// any more.
    async fn begin_closing(&self, row: Payment, decline: Decline) -> Step {
        let closing = Payment {
            state: PaymentState::Closing,
            decline: Some(decline),
            ..row
        };
        match self.ledger.change(&closing).await? {
            true => self.close(changed(closing)).await,
            false => Ok(None),
        }
    }

    /// Closes the intent, so that a confirmation which is still on its way (a frozen worker's)
    /// finds nothing to charge, and only then says that the payment is refused.
    async fn close(&self, row: Payment) -> Step {
        let (Some(id), Some(decline)) = (row.intent.clone(), row.decline.clone()) else {
            return Err(strange("closing without an intent"));
        };
        let error = match self.gateway.cancel(&id).await {
            Ok(intent) if intent.status == IntentStatus::Canceled => {
                return self.refuse(row, decline).await;
            }
            Ok(intent) => {
                return Err(strange(&format!(
                    "{:?} after it was cancelled",
                    intent.status
                )));
            }
            Err(error) => error,
        };
        match self.gateway.intent(&id).await {
            Ok(intent) => match intent.status {
                IntentStatus::Canceled | IntentStatus::Succeeded | IntentStatus::Processing => {
                    Box::pin(self.settle(row, intent)).await
                }
                _ => Err(self.doubt(&error)),
            },
            Err(_) => Err(self.doubt(&error)),
        }
    }

    async fn refuse(&self, row: Payment, decline: Decline) -> Step {
        let mine = row.job == self.who.job;
        let refused = Payment {
            state: PaymentState::Refused,
            decline: Some(decline),
            told: mine.then_some(self.who.earlier),
            ..row
        };
        match self.ledger.change(&refused).await? {
            true => Err(refused.refusal()),
            false => Ok(None),
        }
    }
}

/// The row after a change of it was accepted.
fn changed(row: Payment) -> Payment {
    Payment {
        version: row.version.saturating_add(1),
        ..row
    }
}

/// The same for every run of every job that pays this reference, so that what is asked twice is
/// done once; another when the answers to the keys before are of no use any more.
fn key(row: &Payment, step: &str) -> String {
    format!("longshore:{}:{step}:{}", row.reference, row.generation)
}

fn order(charge: &ChargePayment, row: &Payment) -> Order {
    let mut metadata: BTreeMap<String, String> = charge.metadata.clone();
    metadata.insert(REFERENCE.to_owned(), row.reference.clone());
    metadata.insert(JOB.to_owned(), row.job.to_string());
    Order {
        amount: row.amount,
        currency: row.currency.clone(),
        payment_method: charge.payment_method.clone(),
        customer: charge.customer.clone(),
        description: charge.description.clone(),
        metadata,
    }
}

fn decline(error: &GatewayError) -> Decline {
    Decline {
        code: error.code.clone(),
        message: error.message.clone(),
    }
}

fn reused(row: &Payment) -> Failure {
    let message = format!(
        "the reference `{}` was used for another payment, by job {}: a reference is charged once; \
         use a new one",
        row.reference, row.job
    );
    Failure::permanent("reference_reused", message)
}

fn unanswered() -> Failure {
    let message = "the bank has not answered yet";
    Failure::waiting("payment_processing", message, POLL)
}

/// Never seen, and nothing to build a charge on: it is looked at again later.
fn strange(what: &str) -> Failure {
    let message = format!("the gateway says of the payment: {what}");
    Failure::unavailable("gateway_protocol", message)
}
