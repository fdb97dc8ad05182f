//! The payment methods of the sandbox: those of Stripe's test mode
//! (<https://docs.stripe.com/testing>), and some for what only goes wrong in earnest.

/// What happens when a payment method is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Card {
    /// It pays; `refund` says what becomes of the money on its way back.
    Pays { refund: Way },
    /// The bank declines, with this code and text.
    Declined(&'static str, &'static str),
    /// The bank wants to see the customer.
    RequiresAction,
    /// The bank answers later.
    Processing { pays: bool },
    /// The first try comes to nothing, in this way; the next pays.
    FailsOnce(Mishap),
    /// It pays, and the answer is lost.
    PaysUnheard,
}

/// How money goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Straight,
    Slow,
    Nowhere,
}

/// How a call comes to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    Timeout,
    Error,
}

/// Payment methods that pay at once.
const PAYING: &str = "pm_card_visa pm_card_visa_debit pm_card_mastercard pm_card_mastercard_debit \
    pm_card_mastercard_prepaid pm_card_amex pm_card_discover pm_card_diners pm_card_jcb \
    pm_card_unionpay pm_card_us pm_card_de pm_card_gb pm_card_fr pm_card_threeDSecureOptional";

/// Name, code and text of those that are declined.
const DECLINED: [(&str, &str, &str); 11] = [
    (
        "chargeDeclined",
        "generic_decline",
        "Your card was declined.",
    ),
    (
        "chargeDeclinedInsufficientFunds",
        "insufficient_funds",
        "Your card has insufficient funds.",
    ),
    (
        "chargeDeclinedLostCard",
        "lost_card",
        "Your card was declined.",
    ),
    (
        "chargeDeclinedStolenCard",
        "stolen_card",
        "Your card was declined.",
    ),
    (
        "chargeDeclinedExpiredCard",
        "expired_card",
        "Your card has expired.",
    ),
    (
        "chargeDeclinedIncorrectCvc",
        "incorrect_cvc",
        "Your card's security code is incorrect.",
    ),
    (
        "chargeDeclinedProcessingError",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
    ),
    (
        "chargeDeclinedVelocityLimitExceeded",
        "card_velocity_exceeded",
        "Your card was declined for making repeated attempts too frequently.",
    ),
    (
        "chargeDeclinedFraudulent",
        "fraudulent",
        "Your card was declined.",
    ),
    (
        "chargeCustomerFail",
        "generic_decline",
        "Your card was declined.",
    ),
    ("radarBlock", "fraudulent", "Your card was declined."),
];

impl Card {
    /// What the payment method of this name does; `None` if there is none.
    pub(super) fn of(name: &str) -> Option<Self> {
        if PAYING.split_ascii_whitespace().any(|paying| paying == name) {
            return Some(Self::Pays {
                refund: Way::Straight,
            });
        }
        let card = name.strip_prefix("pm_card_");
        // Both spellings are in Stripe's documentation.
        let card = card.map(|card| card.strip_prefix("visa_").unwrap_or(card));
        if let Some((_, code, text)) = DECLINED.iter().find(|(known, ..)| card == Some(*known)) {
            return Some(Self::Declined(code, text));
        }
        Some(match name {
            "pm_card_refundFail" => Self::Pays {
                refund: Way::Nowhere,
            },
            "pm_card_pendingRefund" => Self::Pays { refund: Way::Slow },
            "pm_card_authenticationRequired"
            | "pm_card_authenticationRequiredOnSetup"
            | "pm_card_threeDSecure2Required"
            | "pm_card_threeDSecureRequired" => Self::RequiresAction,
            "pm_sandbox_processing" => Self::Processing { pays: true },
            "pm_sandbox_processing_declined" => Self::Processing { pays: false },
            "pm_sandbox_timeout" => Self::FailsOnce(Mishap::Timeout),
            "pm_sandbox_error" => Self::FailsOnce(Mishap::Error),
            "pm_sandbox_cut" => Self::PaysUnheard,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_test_mode_are_known() {
        assert_eq!(
            Card::of("pm_card_visa"),
            Some(Card::Pays {
                refund: Way::Straight
            })
        );
        for name in ["pm_card_chargeDeclined", "pm_card_visa_chargeDeclined"] {
            assert!(matches!(
                Card::of(name),
                Some(Card::Declined("generic_decline", _))
            ));
        }
        assert!(matches!(
            Card::of("pm_card_visa_chargeDeclinedInsufficientFunds"),
            Some(Card::Declined("insufficient_funds", _))
        ));
        assert_eq!(
            Card::of("pm_card_authenticationRequired"),
            Some(Card::RequiresAction)
        );
        for unknown in ["", "pm_card", "pm_card_", "visa", "pm_1Nabc"] {
            assert_eq!(Card::of(unknown), None, "{unknown}");
        }
    }
}
