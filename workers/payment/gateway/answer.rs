//! Reads Stripe's answers (<https://docs.stripe.com/api/errors>).

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::currency::Counting;
use super::{Advice, Decline, GatewayError, Intent, IntentStatus, JOB, Refund, RefundStatus};

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// What was asked for, or why not.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, GatewayError> {
        if !(200..300).contains(&self.status) {
            return Err(self.error());
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let message = format!("the gateway's answer cannot be read: {error}");
            GatewayError {
                status: Some(self.status),
                ..GatewayError::unanswered("gateway_protocol", message)
            }
        })
    }

    fn error(&self) -> GatewayError {
        let body: ErrorBody = serde_json::from_slice(&self.body).unwrap_or_default();
        let should_retry = self.header("stripe-should-retry");
        let Some(error) = body.error.or_else(|| {
            let said_by_status = !is_refusal(self.status) || should_retry.is_some();
            said_by_status.then(ErrorObject::default)
        }) else {
            return self.foreign();
        };
        let declined = self.status == 402;
        let code = if error.kind.as_deref() == Some("idempotency_error") {
            "idempotency_error".to_owned()
        } else {
            let said = match (declined, error.decline_code) {
                (true, Some(decline)) => Some(decline),
                _ => error.code,
            };
            said.unwrap_or_else(|| self.usual_code().to_owned())
        };
        let said = error.message.unwrap_or_default();
        let message = format!("the gateway answered {}: {said}", self.status);
        GatewayError {
            code,
            message: message.trim_end_matches([':', ' ']).to_owned(),
            advice: advice(self.status, should_retry),
            status: Some(self.status),
            after: self.after(),
            replayed: self.header("idempotent-replayed") == Some("true"),
        }
    }

    /// A refusal that is not the gateway's own: of something in between, or of a wrong address.
    pub(super) fn foreign(&self) -> GatewayError {
        let message = format!("{} was answered, and not by the gateway", self.status);
        GatewayError {
            status: Some(self.status),
            ..GatewayError::unanswered("gateway_protocol", message)
        }
    }

    fn usual_code(&self) -> &'static str {
        match self.status {
            401 | 403 => "gateway_auth",
            402 => "card_declined",
            409 => "gateway_conflict",
            429 => "gateway_rate_limit",
            status if status >= 500 => "gateway_error",
            status if status >= 400 => "gateway_refused",
            _ => "gateway_protocol",
        }
    }

    /// `Retry-After` in seconds. The gateway sends no dates, and by whose clock would they be?
    fn after(&self) -> Option<Duration> {
        let seconds: u32 = self.header(RETRY_AFTER.as_str())?.trim().parse().ok()?;
        // A job of its own may wait for a day; longer is a mistake at the other end.
        Some(Duration::from_secs(seconds.min(86_400).into()))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// `Stripe-Should-Retry` wins, but not over wrong credentials, which are an outage of ours that
/// no number of retries mends and that must not kill the jobs, nor over a card's refusal.
pub(super) fn advice(status: u16, should_retry: Option<&str>) -> Advice {
    match (status, should_retry) {
        (402, _) => Advice::Declined,
        (401 | 403, _) => Advice::Unavailable,
        (_, Some("true")) | (409 | 429, None) => Advice::Retry,
        (400.., Some("false")) => Advice::Permanent,
        (400..=499, _) => match status {
            409 | 429 => Advice::Retry,
            // What the gateway itself depends on is down (424).
            408 | 424 => Advice::Unavailable,
            _ => Advice::Permanent,
        },
        // A redirect or another success than was asked for comes from something in between.
        _ => Advice::Unavailable,
    }
}

#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    error: Option<ErrorObject>,
}

/// Statuses that mean a refusal of this very request, if the gateway says so in its own words.
const fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 401 | 403 | 408 | 409 | 424 | 429)
}

#[derive(Debug, Default, Deserialize)]
struct ErrorObject {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
}

/// What the gateway counts, in minor units of ISO 4217. A part of one, which we never ask for,
/// counts as one: what is not there cannot be given back.
fn minor_units(amount: u64, currency: &str) -> u64 {
    Counting::of(currency).map_or(amount, |counting| counting.minor_units_of(amount))
}

/// `payment_intent`, as far as it matters.
#[derive(Debug, Deserialize)]
pub(super) struct IntentObject {
    id: String,
    status: String,
    amount: u64,
    currency: String,
    latest_charge: Option<Reference>,
    last_payment_error: Option<ErrorObject>,
}

/// An object, or its id alone.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(String),
    Object { id: String },
}

impl Reference {
    fn id(self) -> String {
        match self {
            Self::Id(id) | Self::Object { id } => id,
        }
    }
}

impl From<IntentObject> for Intent {
    fn from(object: IntentObject) -> Self {
        let currency = object.currency.to_ascii_lowercase();
        Self {
            status: IntentStatus::of(&object.status),
            id: object.id,
            amount: minor_units(object.amount, &currency),
            currency,
            charge: object.latest_charge.map(Reference::id),
            decline: object.last_payment_error.map(|error| Decline {
                code: error
                    .decline_code
                    .or(error.code)
                    .unwrap_or_else(|| "card_declined".to_owned()),
                message: error.message.unwrap_or_default(),
            }),
        }
    }
}

/// `refund`, as far as it matters.
#[derive(Debug, Deserialize)]
pub(super) struct RefundObject {
    pub(super) id: String,
    amount: u64,
    currency: String,
    status: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
}

impl From<RefundObject> for Refund {
    fn from(object: RefundObject) -> Self {
        Self {
            status: match object.status.as_deref() {
                Some("succeeded") => RefundStatus::Succeeded,
                Some("failed" | "canceled") => RefundStatus::Failed,
                _ => RefundStatus::Pending,
            },
            amount: minor_units(object.amount, &object.currency.to_ascii_lowercase()),
            id: object.id,
            job: object
                .metadata
                .and_then(|mut metadata| metadata.remove(JOB)),
        }
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct ListObject<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_advice() {
        use Advice::{Declined, Permanent, Retry, Unavailable};
        for (status, header, expected) in [
            (402, None, Declined),
            (402, Some("true"), Declined),
            (409, None, Retry),
            (429, None, Retry),
            (429, Some("true"), Retry),
            (409, Some("false"), Permanent),
            (429, Some("false"), Permanent),
            (429, Some("perhaps"), Retry),
            (400, None, Permanent),
            (400, Some("true"), Retry),
            (404, None, Permanent),
            (401, None, Unavailable),
            (403, None, Unavailable),
            (401, Some("false"), Unavailable),
            (408, None, Unavailable),
            (424, None, Unavailable),
            (500, None, Unavailable),
            (500, Some("true"), Retry),
            (500, Some("false"), Permanent),
            (502, None, Unavailable),
            (503, None, Unavailable),
            (302, None, Unavailable),
            (100, None, Unavailable),
        ] {
            assert_eq!(advice(status, header), expected, "{status} {header:?}");
        }
    }

    fn error(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> GatewayError {
        let answer = Answer {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
            body: body.as_bytes().to_vec(),
        };
        answer.read::<IntentObject>().unwrap_err()
    }

    #[test]
    fn errors_carry_the_code_that_says_most() {
        let declined = r#"{"error": {"type": "card_error", "code": "card_declined",
            "decline_code": "insufficient_funds", "message": "Your card has insufficient funds."}}"#;
        let found = error(402, &[], declined);
        assert_eq!(found.code, "insufficient_funds");
        assert!(found.message.contains("insufficient funds"));
        assert_eq!(error(402, &[], r#"{"error": {}}"#).code, "card_declined");
        assert_eq!(error(503, &[], "<html>").code, "gateway_error");
    }

    #[test]
    fn a_key_is_spent_only_when_the_gateway_says_so() {
        let replayed = [("idempotent-replayed", "true")];
        let reused = r#"{"error": {"type": "idempotency_error"}}"#;
        assert!(error(400, &[], reused).spent_the_key());
        assert!(error(500, &replayed, "").spent_the_key());
        for status in [500, 502, 503, 504] {
            assert!(!error(status, &[], "<html>").spent_the_key(), "{status}");
        }
        let declined = r#"{"error": {"code": "card_declined"}}"#;
        assert!(!error(402, &replayed, declined).spent_the_key());
    }

    #[test]
    fn a_refusal_without_the_gateways_words_is_somebody_elses() {
        for status in [400, 402, 404, 405, 410, 413, 451] {
            for body in ["", "<html>", "{}", r#"{"message": "no route"}"#] {
                let found = error(status, &[], body);
                assert_eq!(found.code, "gateway_protocol", "{status} {body}");
                assert_eq!(found.advice, Advice::Unavailable, "{status} {body}");
            }
        }
        let own = r#"{"error": {"code": "parameter_missing"}}"#;
        assert_eq!(error(400, &[], own).advice, Advice::Permanent);
    }

    #[test]
    fn retry_after_is_seconds_within_a_day() {
        for (value, expected) in [
            ("7", Some(7)),
            ("999999", Some(86_400)),
            ("-1", None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ] {
            let after = error(429, &[("retry-after", value)], "").after;
            assert_eq!(after, expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_no_answer() {
        for body in ["", "null", "{}", "<html>"] {
            let found = error(200, &[], body);
            assert_eq!(found.code, "gateway_protocol");
            assert_eq!(found.advice, Advice::Unavailable);
        }
    }
}
