//! `payment.charge` and `payment.refund`: cards, through Stripe's PaymentIntents or the built-in
//! sandbox.
//!
//! A `reference` is charged at most once, ever. Neither an idempotency key (its first answer is
//! replayed for a day, a 500 included, and then it is forgotten) nor a search (it lags) can
//! promise that alone. The gateway's own rule can: **an intent is charged at most once, whoever
//! confirms it how often.** So the ledger names one intent for a reference before anybody confirms
//! it, nothing else is ever confirmed, and every doubt is resolved by reading that intent.
//!
//! # The steps of a charge, and what a crash leaves
//!
//! | step | a crash, a freeze or a lost answer after it leaves | the next run |
//! |---|---|---|
//! | 1. enter the reference in `payments` (its primary key), commit | a row without an intent | goes on at 2 |
//! | 2. create an intent, unconfirmed | an intent that nobody knows, which moves nothing | makes one again; with the same key the gateway gives the same one |
//! | 3. name the intent in the row, commit | an unconfirmed intent | reads it, goes on at 4 |
//! | 4. confirm it | an intent that is charged, declined, processing, or as it was | reads it, and knows |
//! | 5. record the charge and the job's success in one commit | a job that has ended; or all as after 4 | drops the message; or reads it and goes on at 5 |
//!
//! A refusal has steps of its own, because "refused" must stay true while a frozen worker may
//! still be about to confirm:
//!
//! | step | a crash after it leaves | the next run |
//! |---|---|---|
//! | 5a. note the reason (`closing`), commit | an intent that may still be open | goes on at 5b |
//! | 5b. cancel the intent | an intent that can never be charged | reads it: cancelled; goes on at 5c |
//! | 5c. note the refusal (`refused`), commit | a row that is refused, a job that runs | says the same again |
//!
//! If 5b finds the intent charged after all, the charge counts. Every commit is fenced by the
//! claim of its run, and names the version of the row that it changes. A worker that was frozen
//! anywhere and wakes can commit nothing; what it may still send to the gateway is a creation
//! (moves nothing), a confirmation of the one intent (charges it once, or finds it closed), or a
//! cancellation of an intent that is to be closed.
//!
//! A refund is one call, so the gateway's list of refunds, in which ours carries the job's id, is
//! read before each try and after each doubt; the key is the job's. What may be refunded is
//! decided with the payment's row locked, and by that list.
//!
//! # How it ends
//!
//! | code | class | when |
//! |---|---|---|
//! | the decline code (`insufficient_funds`) | permanent | the card was declined (402) |
//! | `requires_action` | permanent | the bank wants to see the customer |
//! | `reference_reused` | permanent | the reference belongs to another payment |
//! | `payment_canceled` | permanent | somebody cancelled it at the gateway |
//! | `order_cancelled` | permanent | its order was cancelled before an intent was named |
//! | `payment_refunded` | permanent | a step of a job asks for it, and money of it was given back or is about to be |
//! | `payment_abandoned` | permanent | its job had ended, or was edited, before the card was charged |
//! | the gateway's code (`resource_missing`) | permanent | another 4xx, or `Stripe-Should-Retry: false` |
//! | `unknown_reference`, `not_charged` | permanent | a refund of what was never charged |
//! | `refund_exceeds_charge`, `refund_failed` | permanent | a refund of more than is left; the bank could not |
//! | `refund_reused` | permanent | the job was edited, and its refund as it was is done or under way |
//! | `invalid_amount` | permanent | a refund of a part that the gateway cannot move in this currency |
//! | `gateway_conflict`, `gateway_rate_limit`, or the gateway's | retried | 409, 429, or `Stripe-Should-Retry: true`; not before `Retry-After` |
//! | `gateway_connect`, `gateway_timeout`, `gateway_cut`, `gateway_protocol` | unavailable | no answer, or none of the gateway's |
//! | `gateway_auth` | unavailable | 401, 403: a wrong key is an outage, whatever the answer advises |
//! | `gateway_error` | unavailable | 5xx |
//! | `payment_processing`, `refund_pending` | waiting | the bank has not answered: asked again every 5 s |
//! | `charge_unfinished` | waiting | a refund while the charge is still on its way |
//! | `payment_stopped` | waiting | the run was to stop (a shutdown, a cancellation) before money moved |
//! | `payment_contended` | waiting | other jobs work on the same reference |
//! | the gateway's code (`resource_missing`) | waiting | a 4xx about a payment of which money may have moved: asked again every minute, until people act |
//!
//! "Unavailable" and "waiting" count no attempt. While money may have moved, no error ends the job:
//! what would be its end is put off until the gateway has said what happened.
//!
//! A job can still end in another way: somebody cancels it while the bank takes its time, or it
//! is cut off at the end of its time. Then its intent is read, and closed if it could still be
//! charged, by whichever payment job of a process runs first in a minute, or at once by a refund
//! of it; until then the balance names it.
//!
//! A call that is not answered is given up before the queue's `timeout`, however short that is, so
//! that it counts as the gateway's outage. A refund that the bank returns after it had succeeded
//! stays succeeded here: the gateway tells of that by mail, and people give the money back.
//!
//! A second job with the same reference and the same fields gets what the first got. The first,
//! sent back from the dead letters, tries again with a new intent (and the fields it then has); if
//! it was still on its way, its old intent is closed first.

mod charge;
mod check;
mod currency;
mod gateway;
mod job;
mod learn;
mod ledger;
mod payload;
mod refund;
mod row;
mod run;

use longshore::store::{Balance, Migration, Sums};

pub(crate) use job::Cashier;
pub(crate) use payload::{ChargePayment, RefundPayment};
#[allow(
    unused_imports,
    reason = "the integration tests in tests/payment put their own around them"
)]
pub(crate) use {
    gateway::{Advice, Gateway, GatewayError, Intent, Order, Refund, RefundOrder, Sandbox, Stripe},
    ledger::{Admission, Fate, Ledger, RefundRequest, admit, fate, withdraw},
    row::{Payment, PaymentState, RefundRow, RefundState},
    run::{Run, Who},
};

/// Its tables, and what changed in them.
pub(crate) const TABLES: &[Migration] = &[
    Migration {
        name: "payment 1",
        postgres: include_str!("migrations/0001_postgres.sql"),
        sqlite: include_str!("migrations/0001_sqlite.sql"),
    },
    Migration {
        name: "payment 2",
        postgres: include_str!("migrations/0002_postgres.sql"),
        sqlite: include_str!("migrations/0002_sqlite.sql"),
    },
];

/// What was refunded is the sum of the refunds, and a charge that succeeded is recorded as one. (A
/// job of another kind that charges as one of its steps succeeds whatever becomes of the payment.)
pub(crate) const BALANCE: Balance = Balance {
    name: "payments",
    postgres: include_str!("migrations/balance_postgres.sql"),
    sqlite: include_str!("migrations/balance_sqlite.sql"),
};

macro_rules! sums {
    ($schema:literal) => {
        concat!(
            "SELECT 'charged ' || upper(currency), CAST(SUM(amount) AS bigint)
             FROM ",
            $schema,
            "payments WHERE state = 'succeeded' GROUP BY currency
             UNION ALL
             SELECT 'refunded ' || upper(currency), CAST(SUM(refunded) AS bigint)
             FROM ",
            $schema,
            "payments WHERE refunded > 0 GROUP BY currency
             UNION ALL
             SELECT 'payments open', COUNT(*) FROM ",
            $schema,
            "payments
             WHERE state NOT IN ('succeeded', 'refused') HAVING COUNT(*) > 0
             ORDER BY 1"
        )
    };
}

/// What was charged and refunded, in minor units, and what is on its way.
pub(crate) const SUMS: Sums = Sums {
    name: BALANCE.name,
    postgres: sums!("longshore."),
    sqlite: sums!(""),
};
