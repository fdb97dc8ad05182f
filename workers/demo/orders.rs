use chrono::Utc;
use longshore::Demo;
use longshore::job::{Failure, JobResult, State};
use longshore::worker::{Attempt, Job, NextJob};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::inventory::{AdjustStock, Item, Request, Stop, perform};
use crate::order::{CancelOrder, ChargeOrder, FulfilOrder, Order, PlaceOrder, again};
use crate::payment::Cashier;

/// What the shop sells, and how many of it come in.
const SKU: &str = "DEMO-TEA";
const DELIVERY: i64 = 5;

/// Takes a delivery in and then orders: each is a job of its own, started with the delivery's.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OpenShop {
    orders: Vec<Order>,
}

impl Job for OpenShop {
    const KIND: &'static str = "demo.shop";
    type Context = ();

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        let delivery = AdjustStock {
            sku: SKU.to_owned(),
            delta: DELIVERY,
            reason: "the demo's delivery".to_owned(),
        };
        let mut tx = attempt.transaction().await?;
        let taken = perform(
            tx.connection(),
            attempt.job_id(),
            Request::Adjust(&delivery),
        )
        .await;
        match taken {
            Ok(_) => {}
            Err(Stop::Refused(refusal)) => {
                return Err(Failure::permanent(&refusal.code(), refusal));
            }
            Err(Stop::Freed) => {
                tx.commit().await?;
                return Err(again());
            }
            Err(Stop::Database(error)) => return Err(tx.failure(error)),
        }
        let orders = self.orders.len();
        for order in self.orders {
            let tag = order.tag();
            tx.submit(NextJob::new(&PlaceOrder(order))?.tag(tag))?;
        }
        tx.succeed(json!({"orders": orders})).await
    }
}

/// Three orders: one fine, one without stock, one whose card is declined. Their numbers are of this
/// moment, for a number stands for one order for ever.
pub(super) fn orders(demo: Demo) -> Demo {
    let opening = Utc::now().timestamp_millis();
    let order = |name: &str, quantity: i64, payment_method: &str| Order {
        order: format!("demo-{opening}-{name}"),
        items: vec![Item {
            sku: SKU.to_owned(),
            quantity,
        }],
        amount: 1200,
        currency: "EUR".to_owned(),
        payment_method: payment_method.to_owned(),
        email: "ada@example.com".to_owned(),
    };
    let fine = order("fine", 2, "pm_card_visa");
    let greedy = order("greedy", 5_000_000, "pm_card_visa");
    let declined = order("declined", 1, "pm_card_chargeDeclined");
    let tags = [fine.tag(), greedy.tag(), declined.tag()];
    let shop = OpenShop {
        orders: vec![fine, greedy, declined],
    };
    let rows = [
        ("fine order: stock reserved", "order.place", 0),
        ("fine order: card charged", "order.charge", 0),
        ("fine order: stock taken", "order.fulfil", 0),
        ("fine order: receipt", "email.send", 0),
        ("order without stock: refused", "order.place", 1),
        ("order without stock: apology", "email.send", 1),
        ("order, card declined: stock reserved", "order.place", 2),
        ("order, card declined: not charged", "order.charge", 2),
        ("order, card declined: stock freed", "order.cancel", 2),
        ("order, card declined: apology", "email.send", 2),
    ];
    let demo = demo
        .kind::<OpenShop>()
        .kind::<PlaceOrder>()
        .kind_with::<ChargeOrder>(Cashier::for_jobs)
        .kind::<FulfilOrder>()
        .kind::<CancelOrder>()
        .submit(
            "a delivery, and three orders",
            OpenShop::KIND,
            shop,
            State::Succeeded,
        );
    rows.into_iter().fold(demo, |demo, (title, kind, order)| {
        demo.follow(title, kind, tags[order].as_str(), State::Succeeded)
    })
}
