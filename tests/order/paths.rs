//! Each way an order can go, on the embedded platform.

use longshore::App;
use longshore::job::{JobView, State};
use longshore::store::{Balance, Connection, Fence};
use longshore::testing::Harness;
use serde_json::json;

use crate::email::{Mailer, SendEmail};
use crate::inventory::{self, AdjustStock, Item, ReleaseStock, ReserveStock};
use crate::order::{CancelOrder, ChargeOrder, FulfilOrder, Order, PlaceOrder};
use crate::payment::{self, Cashier, ChargePayment, RefundPayment};

/// `sku on_hand reserved`, `order state`, `reference state refunded`.
const STANDING: Balance = Balance {
    name: "standing",
    postgres: "SELECT ''",
    sqlite: "SELECT sku || ' ' || on_hand || ' ' || reserved FROM stock
             UNION ALL SELECT order_id || ' ' || state FROM reservations
             UNION ALL SELECT reference || ' ' || state || ' ' || refunded FROM payments",
};

fn app() -> App {
    App::new()
        .job::<PlaceOrder>("orders", ())
        .job_with::<ChargeOrder>("payment", Cashier::for_jobs)
        .job::<FulfilOrder>("orders", ())
        .job::<CancelOrder>("orders", ())
        .job_with::<SendEmail>("email", Mailer::for_jobs)
        .job_with::<RefundPayment>("payment", Cashier::for_jobs)
        .job_with::<ChargePayment>("payment", Cashier::for_jobs)
        .job::<AdjustStock>("inventory", ())
        .job::<ReserveStock>("inventory", ())
        .job::<ReleaseStock>("inventory", ())
        .migrations(payment::TABLES)
        .migrations(inventory::TABLES)
}

pub fn order(quantity: i64, card: &str) -> Order {
    Order {
        order: "o-1".to_owned(),
        items: vec![Item {
            sku: "tea".to_owned(),
            quantity,
        }],
        amount: 1200,
        currency: "EUR".to_owned(),
        payment_method: card.to_owned(),
        email: "ada@example.com".to_owned(),
    }
}

pub struct Shop(pub Harness);

impl Shop {
    /// With 5 units of tea.
    pub async fn open() -> Self {
        let shop = Self(Harness::start(app()).await.unwrap());
        shop.deliver(5).await;
        shop
    }

    pub async fn deliver(&self, delta: i64) {
        let reason = "delivery".to_owned();
        let sku = "tea".to_owned();
        let delivery = AdjustStock { sku, delta, reason };
        self.0.submit(&delivery).await.unwrap();
        self.0.rest().await.unwrap();
    }

    pub async fn place(&self, order: Order) {
        self.0.submit(&PlaceOrder(order)).await.unwrap();
        self.0.rest().await.unwrap();
    }

    pub async fn standing(&self) -> Vec<String> {
        self.0.store().differences(&STANDING).await.unwrap()
    }

    /// The subjects of all mails; every job must have succeeded.
    pub async fn mails(&self) -> Vec<String> {
        assert_eq!(self.0.dead_letters().await.unwrap().len(), 0);
        let subject = |job: &JobView| {
            assert_eq!(job.state, State::Succeeded, "{job:?}");
            let payload: serde_json::Value = serde_json::from_str(job.payload.get()).unwrap();
            payload["subject"].as_str().unwrap().to_owned()
        };
        let mails = self.0.jobs("email.send").await.unwrap();
        mails.iter().map(subject).collect()
    }

    pub async fn close(self) {
        for balance in [payment::BALANCE, inventory::BALANCE] {
            let differences = self.0.store().differences(&balance).await.unwrap();
            assert_eq!(differences, Vec::<String>::new(), "{}", balance.name);
        }
        self.0.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_order_takes_its_stock_and_gets_one_receipt() {
    let shop = Shop::open().await;
    shop.place(order(2, "pm_card_visa")).await;
    let expected = ["tea 3 0", "o-1 committed", "o-1 succeeded 0"];
    assert_eq!(shop.standing().await, expected);
    assert_eq!(shop.mails().await, ["Receipt for o-1"]);
    // The same order once more changes nothing, and mails nobody.
    shop.place(order(2, "pm_card_visa")).await;
    assert_eq!(shop.standing().await, expected);
    assert_eq!(shop.mails().await, ["Receipt for o-1"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_stock_nothing_is_reserved_or_charged() {
    let shop = Shop::open().await;
    shop.place(order(6, "pm_card_visa")).await;
    assert_eq!(shop.standing().await, ["tea 5 0"]);
    assert_eq!(shop.mails().await, ["Sorry about o-1"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_card_frees_the_stock() {
    let shop = Shop::open().await;
    shop.place(order(2, "pm_card_chargeDeclined")).await;
    assert_eq!(
        shop.standing().await,
        ["tea 5 0", "o-1 released", "o-1 refused 0"]
    );
    assert_eq!(shop.mails().await, ["Sorry about o-1"]);
    shop.close().await;
}

/// Another order under the same number is a dead letter, and leaves the first one alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_taken_is_for_people_to_look_at() {
    let shop = Shop::open().await;
    shop.place(order(2, "pm_card_visa")).await;
    let before = shop.standing().await;
    for (another, code) in [
        (order(3, "pm_card_visa"), "order_exists"),
        (order(2, "pm_card_chargeDeclined"), "reference_reused"),
    ] {
        shop.place(another).await;
        let dead = shop.0.dead_letters().await.unwrap();
        assert_eq!(dead[0].error.as_ref().unwrap().code, code);
        assert_eq!(shop.standing().await, before);
    }
    assert_eq!(shop.0.jobs("email.send").await.unwrap().len(), 1);
    shop.close().await;
}

/// Makes the reservation of `o-1` one whose time is over. The books go by the machine's clock.
async fn expire(shop: &Shop) {
    by_hand(shop, "UPDATE reservations SET expires_at = created_at").await;
}

/// Changes the tables.
pub async fn by_hand(shop: &Shop, statement: &'static str) {
    let store = shop.0.store();
    let me = longshore::store::NewProcess::this(longshore::store::Role::Operator, Vec::new());
    let me = store.register(&me).await.unwrap();
    // A claim of a job of its own, for a transaction on the tables.
    let job = longshore::job::NewJob::new(
        "order.cancel".parse().unwrap(),
        "nobody".parse().unwrap(),
        "{}",
    );
    let lease = std::time::Duration::from_secs(3600);
    store
        .insert(me, std::slice::from_ref(&job), lease)
        .await
        .unwrap();
    let request = longshore::store::ClaimRequest {
        id: job.id,
        dispatch: 1,
        over_epoch: None,
    };
    let claims = store.claim(me, &[request]).await.unwrap();
    let longshore::store::Claim::Won(claimed) = &claims[0] else {
        panic!("{claims:?}");
    };
    let fence = Fence {
        id: job.id,
        owner: claimed.owner,
        epoch: claimed.epoch,
    };
    let mut effect = store.begin_effect(fence).await.unwrap().unwrap();
    if let Connection::Sqlite(db) = effect.connection() {
        sqlx::raw_sql(statement).execute(db).await.unwrap();
    }
    effect.succeed(None, &[]).await.unwrap();
    effect.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_too_late_is_taken_anew_or_refunded() {
    for (others_take, standing, mails) in [
        (
            0,
            ["tea 3 0", "o-1 committed", "o-1 succeeded 0"],
            ["Receipt for o-1"],
        ),
        (
            4,
            ["tea 1 0", "o-1 expired", "o-1 succeeded 1200"],
            ["Sorry about o-1"],
        ),
    ] {
        let shop = Shop::open().await;
        // The bank takes its time: meanwhile the reservation expires.
        shop.place(order(2, "pm_sandbox_processing")).await;
        assert_eq!(shop.standing().await[0], "tea 5 2");
        expire(&shop).await;
        if others_take > 0 {
            shop.deliver(-others_take).await;
        }
        shop.pass_until_paid().await;
        assert_eq!(shop.standing().await, standing, "{others_take}");
        assert_eq!(shop.mails().await, mails);
        shop.close().await;
    }
}

impl Shop {
    /// The sandbox's bank goes by the machine's clock, the job that asks it by the test's.
    pub async fn pass_until_paid(&self) {
        let minute = std::time::Duration::from_secs(60);
        crate::support::wait::until("it is paid", crate::support::wait::PATIENCE, async || {
            self.0.advance(minute).await.unwrap();
            let charged = self.0.jobs("order.charge").await.unwrap();
            (charged[0].state == State::Succeeded).then_some(())
        })
        .await;
        self.0.rest().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_would_refuse_is_refused_at_the_door() {
    let shop = Shop::open().await;
    let wrong = json!({
        "order": "o 1", "items": [], "amount": 0, "currency": "XXQ",
        "payment_method": "", "email": "nobody",
    });
    let refused = shop.0.submit_json("order.place", &wrong).await.unwrap_err();
    let said = refused.to_string();
    for pointer in ["/items", "/amount"] {
        assert!(said.contains(&format!("/payload{pointer}: ")), "{said}");
    }
    let mut wrong = serde_json::to_value(order(1, "4242424242424242")).unwrap();
    wrong["email"] = json!("nobody");
    wrong["order"] = json!("o 1");
    let refused = shop.0.submit_json("order.place", &wrong).await.unwrap_err();
    let said = refused.to_string();
    for pointer in ["/order", "/email", "/payment_method"] {
        assert!(said.contains(&format!("/payload{pointer}: ")), "{said}");
    }
    let wrong = json!({"order": wrong, "reason": "it was cancelled"});
    let refused = shop
        .0
        .submit_json("order.cancel", &wrong)
        .await
        .unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("/payload/order/email: "), "{said}");
    shop.close().await;
}
