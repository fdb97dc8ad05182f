use longshore::job::Failure;
use longshore::worker::NextJob;

use super::payload::Order;

/// Says that it is paid and on its way. One for an order, whichever job asks for it.
pub(super) fn receipt(order: &Order) -> Result<NextJob, Failure> {
    let (number, amount) = (&order.order, order.amount);
    let currency = order.currency.to_ascii_uppercase();
    let text = format!(
        "Thank you. Your order {number} is paid ({amount} {currency}, in the currency's smallest unit) and on its way.\n"
    );
    let mail = order.mail(format!("Receipt for {number}"), text);
    Ok(NextJob::new(&mail)?
        .once(format!("receipt:{number}"))
        .tag(order.tag()))
}

/// Says that nothing comes of it, and that nothing is charged.
pub(super) fn apology(order: &Order, reason: &str) -> Result<NextJob, Failure> {
    let number = &order.order;
    let text = format!(
        "We are sorry: your order {number} could not be completed: {reason}. You have not been charged.\n"
    );
    let mail = order.mail(format!("Sorry about {number}"), text);
    Ok(NextJob::new(&mail)?
        .once(format!("apology:{number}"))
        .tag(order.tag()))
}

/// Says that nothing comes of it, and that what was paid goes back. Apart from the apology: an
/// order may have been without stock once, and be paid when it is placed again.
pub(super) fn refunded(order: &Order) -> Result<NextJob, Failure> {
    let number = &order.order;
    let text = format!(
        "We are sorry: your order {number} could not be completed. What you had paid is on its way back to you.\n"
    );
    let mail = order.mail(format!("Sorry about {number}"), text);
    Ok(NextJob::new(&mail)?
        .once(format!("refunded:{number}"))
        .tag(order.tag()))
}

/// What a customer is told of a failure: its own text is for operators.
pub(super) fn reason(code: &str) -> &'static str {
    match code {
        "insufficient_stock" => "there is not enough left of what you ordered",
        "unknown_sku" => "we do not sell all of what you ordered",
        "order_cancelled" | "payment_canceled" | "payment_abandoned" => "it was cancelled",
        "payment_refunded" => "its payment was given back",
        "insufficient_funds" => "the funds on your card are insufficient",
        "expired_card" => "your card has expired",
        "requires_action" | "authentication_required" => {
            "your bank wants you to confirm the payment, which cannot be done for this order"
        }
        "generic_decline"
        | "card_declined"
        | "lost_card"
        | "stolen_card"
        | "do_not_honor"
        | "incorrect_cvc"
        | "card_velocity_exceeded"
        | "fraudulent" => "your card was declined",
        _ => "it could not be paid",
    }
}
