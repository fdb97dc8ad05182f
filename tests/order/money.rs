//! Money beside stock: what is cancelled, released or refunded while an order is on its way.

use longshore::job::State;
use serde_json::Value;

use crate::inventory::{ReleaseStock, ReserveStock};
use crate::order::{self, CancelOrder, ChargeOrder, FulfilOrder};
use crate::paths::{Shop, by_hand, order};
use crate::payment::{self, ChargePayment};

fn cancel(card: &str) -> CancelOrder {
    CancelOrder {
        order: order(2, card),
        reason: "you have cancelled it".to_owned(),
    }
}

impl Shop {
    async fn texts(&self) -> Vec<String> {
        let mails = self.0.jobs("email.send").await.unwrap();
        let text = |payload: &str| -> Value { serde_json::from_str(payload).unwrap() };
        mails
            .iter()
            .map(|mail| text(mail.payload.get())["text"].to_string())
            .collect()
    }

    async fn dead(&self) -> Vec<String> {
        let dead = self.0.dead_letters().await.unwrap();
        let code = |letter: &longshore::job::JobView| letter.error.as_ref().unwrap().code.clone();
        dead.iter().map(code).collect()
    }
}

/// The cancellation waits for the bank, and is refused if the order is paid.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_beside_a_charge_frees_nothing_that_is_paid() {
    let shop = Shop::open().await;
    let card = "pm_sandbox_processing";
    shop.place(order(2, card)).await;
    shop.0.submit(&cancel(card)).await.unwrap();
    shop.0.rest().await.unwrap();
    let cancelled = shop.0.jobs("order.cancel").await.unwrap();
    assert!(!cancelled[0].state.is_final(), "{cancelled:?}");
    assert_eq!(shop.standing().await[0], "tea 5 2");
    shop.pass_until_paid().await;
    shop.0
        .advance(std::time::Duration::from_secs(60))
        .await
        .unwrap();
    shop.0.rest().await.unwrap();
    let expected = ["tea 3 0", "o-1 committed", "o-1 succeeded 0"];
    assert_eq!(shop.standing().await, expected);
    assert_eq!(shop.dead().await, ["order_paid"]);
    let texts = shop.texts().await;
    assert!(
        texts.len() == 1 && texts[0].contains("is paid"),
        "{texts:?}"
    );
    shop.close().await;
}

/// A charge that comes after the cancellation finds the payment refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_before_its_charge_is_never_charged() {
    let shop = Shop::open().await;
    let order = order(2, "pm_card_visa");
    let reservation = ReserveStock {
        order: order.order.clone(),
        items: order.items.clone(),
        expires_in: None,
    };
    shop.0.submit(&reservation).await.unwrap();
    shop.0.rest().await.unwrap();
    shop.0.submit(&cancel("pm_card_visa")).await.unwrap();
    shop.0.rest().await.unwrap();
    shop.0.submit(&ChargeOrder(order)).await.unwrap();
    shop.0.rest().await.unwrap();
    let expected = ["tea 5 0", "o-1 released", "o-1 refused 0"];
    assert_eq!(shop.standing().await, expected);
    assert_eq!(shop.mails().await, ["Sorry about o-1"]);
    let texts = shop.texts().await;
    assert!(texts[0].contains("You have not been charged"), "{texts:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_beside_its_charge_is_taken_anew_or_refunded() {
    for (others_take, standing, text) in [
        (
            0,
            ["tea 3 0", "o-1 committed", "o-1 succeeded 0"],
            "is paid",
        ),
        (
            4,
            ["tea 1 0", "o-1 released", "o-1 succeeded 1200"],
            "on its way back",
        ),
    ] {
        let shop = Shop::open().await;
        shop.place(order(2, "pm_sandbox_processing")).await;
        let release = ReleaseStock {
            order: "o-1".to_owned(),
        };
        shop.0.submit(&release).await.unwrap();
        shop.0.rest().await.unwrap();
        if others_take > 0 {
            shop.deliver(-others_take).await;
        }
        shop.pass_until_paid().await;
        assert_eq!(shop.standing().await, standing, "{others_take}");
        assert_eq!(shop.mails().await.len(), 1);
        let texts = shop.texts().await;
        assert!(texts[0].contains(text), "{texts:?}");
        assert!(!texts[0].contains("not been charged"), "{texts:?}");
        shop.close().await;
    }
}

/// Neither by the whole way once more, nor by its last step alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_refunded_takes_no_stock() {
    let shop = Shop::open().await;
    shop.place(order(2, "pm_card_visa")).await;
    // As if there had been no stock when it was paid.
    by_hand(
        &shop,
        "UPDATE reservations SET state = 'open', ended_at = NULL;
         UPDATE stock SET on_hand = 5, reserved = 2;
         DELETE FROM movements WHERE kind = 'commit'",
    )
    .await;
    let release = ReleaseStock {
        order: "o-1".to_owned(),
    };
    shop.0.submit(&release).await.unwrap();
    shop.0.rest().await.unwrap();
    let all = serde_json::json!({"reference": "o-1"});
    shop.0.submit_json("payment.refund", &all).await.unwrap();
    shop.0.rest().await.unwrap();
    let expected = ["tea 5 0", "o-1 released", "o-1 succeeded 1200"];
    assert_eq!(shop.standing().await, expected);

    let fulfil = FulfilOrder(order(2, "pm_card_visa"));
    shop.0.submit(&fulfil).await.unwrap();
    shop.0.rest().await.unwrap();
    assert_eq!(shop.standing().await, expected);
    shop.place(order(2, "pm_card_visa")).await;
    assert_eq!(shop.standing().await, expected);
    let charged = shop.0.jobs("order.charge").await.unwrap();
    assert!(charged.iter().all(|job| job.state == State::Succeeded));
    let mut mails = shop.mails().await;
    mails.sort();
    assert_eq!(mails, ["Receipt for o-1", "Sorry about o-1"]);
    shop.close().await;
}

/// A shop that only takes orders learns what has become of payments whose jobs have ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_looks_at_payments_that_nobody_asks_about() {
    let shop = Shop::open().await;
    let charge = ChargePayment {
        reference: "p-1".to_owned(),
        amount: 700,
        currency: "EUR".to_owned(),
        payment_method: "pm_card_visa".to_owned(),
        customer: None,
        description: None,
        metadata: std::collections::BTreeMap::new(),
    };
    shop.0.submit(&charge).await.unwrap();
    shop.0.rest().await.unwrap();
    by_hand(
        &shop,
        "UPDATE payments SET state = 'open', charge = NULL,
             job = '00000000-0000-7000-8000-000000000000', updated_at = datetime('now', '-1 hour')",
    )
    .await;
    shop.place(order(2, "pm_card_visa")).await;
    let standing = shop.standing().await;
    assert!(
        standing.contains(&"p-1 succeeded 0".to_owned()),
        "{standing:?}"
    );
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_balance_names_an_order_that_is_paid_and_has_no_stock() {
    let shop = Shop::open().await;
    shop.place(order(2, "pm_card_visa")).await;
    let told = async || shop.0.store().differences(&order::BALANCE).await.unwrap();
    assert_eq!(told().await, Vec::<String>::new());
    by_hand(&shop, "UPDATE reservations SET state = 'released'").await;
    let expected = "order o-1: it is paid, its stock is released, and no job is at it";
    assert_eq!(told().await, [expected]);
    shop.0.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_balance_names_an_orders_payment_that_was_changed_by_hand() {
    let shop = Shop::open().await;
    shop.place(order(2, "pm_card_visa")).await;
    let told = async || shop.0.store().differences(&payment::BALANCE).await.unwrap();
    assert_eq!(told().await, Vec::<String>::new());
    by_hand(&shop, "CREATE TABLE kept AS SELECT * FROM payments").await;
    for change in [
        "UPDATE payments SET amount = 9999",
        "UPDATE payments SET currency = 'usd'",
        "UPDATE payments SET charge = 'ch_other'",
        "UPDATE payments SET intent = 'pi_other'",
        "UPDATE payments SET state = 'refused', code = 'x', message = 'y'",
        "DELETE FROM payments",
    ] {
        by_hand(&shop, change).await;
        let named = told().await;
        assert!(
            named.iter().any(|what| what.starts_with("payment o-1: ")),
            "{change}: {named:?}"
        );
        by_hand(
            &shop,
            "DELETE FROM payments; INSERT INTO payments SELECT * FROM kept",
        )
        .await;
        assert_eq!(told().await, Vec::<String>::new(), "{change}, undone");
    }
    shop.0.stop().await.unwrap();
}
