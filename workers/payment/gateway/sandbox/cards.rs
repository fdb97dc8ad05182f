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
    /// It pays, and the answer is an error.
    PaysWithError,
}

/// How money goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Straight,
    Slow,
    /// It seems to; the bank sends it back later.
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
    pm_card_unionpay pm_card_us pm_card_ar pm_card_br pm_card_ca pm_card_mx pm_card_ae pm_card_at \
    pm_card_be pm_card_bg pm_card_by pm_card_hr pm_card_cy pm_card_cz pm_card_dk pm_card_ee \
    pm_card_fi pm_card_fr pm_card_de pm_card_gi pm_card_gr pm_card_hu pm_card_ie pm_card_it \
    pm_card_lv pm_card_li pm_card_lt pm_card_lu pm_card_mt pm_card_nl pm_card_no pm_card_pl \
    pm_card_pt pm_card_ro pm_card_sa pm_card_si pm_card_sk pm_card_es pm_card_se pm_card_ch \
    pm_card_gb pm_card_gb_debit pm_card_au pm_card_cn pm_card_hk pm_card_in pm_card_jp pm_card_my \
    pm_card_nz pm_card_sg pm_card_tw pm_card_bypassPending pm_card_bypassPendingInternational \
    pm_card_createDispute pm_card_createDisputeProductNotReceived pm_card_createDisputeInquiry \
    pm_card_createIssuerFraudRecord pm_card_riskLevelElevated pm_card_cvcCheckFail pm_card_avsFail \
    pm_card_avsLineFail pm_card_avsZipFail pm_card_avsUnchecked pm_card_threeDSecureOptional";

/// Payment methods for which the bank wants to see the customer.
const ASKING: &str = "pm_card_authenticationRequired pm_card_authenticationRequiredOnSetup \
    pm_card_authenticationRequiredSetupForOffSession \
    pm_card_authenticationRequiredChargeDeclinedInsufficientFunds pm_card_threeDSecure2Required \
    pm_card_threeDSecureRequired pm_card_threeDSecureRequiredChargeDeclined \
    pm_card_threeDSecureRequiredProcessingError";

/// Name, code and text of those that are declined.
const DECLINED: [(&str, &str, &str); 12] = [
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
    ("riskLevelHighest", "fraudulent", "Your card was declined."),
];

impl Card {
    /// What the payment method of this name does; `None` if there is none.
    pub(super) fn of(name: &str) -> Option<Self> {
        if PAYING.split_ascii_whitespace().any(|paying| paying == name) {
            return Some(Self::Pays {
                refund: Way::Straight,
            });
        }
        if ASKING.split_ascii_whitespace().any(|asking| asking == name) {
            return Some(Self::RequiresAction);
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
            "pm_sandbox_processing" => Self::Processing { pays: true },
            "pm_sandbox_processing_declined" => Self::Processing { pays: false },
            "pm_sandbox_timeout" => Self::FailsOnce(Mishap::Timeout),
            "pm_sandbox_error" => Self::FailsOnce(Mishap::Error),
            "pm_sandbox_cut" => Self::PaysUnheard,
            "pm_sandbox_error_charged" => Self::PaysWithError,
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
