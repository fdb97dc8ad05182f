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
        "We are sorry: your order {number} could not be completed ({reason}). You have not been charged.\n"
    );
    let mail = order.mail(format!("Sorry about {number}"), text);
    Ok(NextJob::new(&mail)?
        .once(format!("apology:{number}"))
        .tag(order.tag()))
}
