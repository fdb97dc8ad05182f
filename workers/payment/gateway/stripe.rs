use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use longshore::config::Secret;
use reqwest::{Client, Method, RequestBuilder};
use url::form_urlencoded::Serializer;

use super::super::currency::Counting;
use super::answer::{Answer, IntentObject, ListObject, RefundObject};
use super::{Gateway, GatewayError, Intent, Order, Refund, RefundOrder};

const BASE: &str = "https://api.stripe.com";
/// The version whose answers this program was written for.
const VERSION: &str = "2024-06-20";
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take, connecting included. A charge waits for a bank.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// Objects in one page of a list; the most there may be.
const PAGE: &str = "100";
/// Pages that are read. A charge with more refunds is not one of ours.
const MAX_PAGES: usize = 100;

/// Stripe, or what speaks its API.
#[derive(Debug)]
pub(crate) struct Stripe {
    http: Client,
    base: String,
    key: Secret,
}

impl Stripe {
    /// A client with this key. `base` is another place than Stripe's own, without a slash at its
    /// end. Connects to nothing yet.
    ///
    /// # Errors
    /// What does not work here, for people.
    pub(crate) fn new(key: Secret, base: Option<&str>) -> Result<Self, String> {
        let base = base.unwrap_or(BASE);
        let http = Client::builder()
            .tls_backend_preconfigured(tls(base)?)
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            // A key goes to nobody but whom it was given for.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| innermost(&error))?;
        Ok(Self {
            http,
            base: base.to_owned(),
            key,
        })
    }

    async fn post(
        &self,
        path: &str,
        form: String,
        key: Option<&str>,
    ) -> Result<Answer, GatewayError> {
        let mut request = self
            .request(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        answer(request).await
    }

    async fn get(&self, path: &str) -> Result<Answer, GatewayError> {
        answer(self.request(Method::GET, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/v1/{path}", self.base))
            .bearer_auth(self.key.expose())
            .header("stripe-version", VERSION)
    }
}

#[async_trait]
impl Gateway for Stripe {
    async fn create(&self, order: &Order, key: &str) -> Result<Intent, GatewayError> {
        let answer = self
            .post("payment_intents", order_form(order), Some(key))
            .await?;
        if matches!(answer.status, 404 | 405) {
            // Intents can always be made, unless it is not the gateway's API that is asked.
            return Err(answer.foreign());
        }
        Ok(answer.read::<IntentObject>()?.into())
    }

    async fn confirm(&self, intent: &str, key: &str) -> Result<Intent, GatewayError> {
        // The payment method belongs to the intent, not to this call: a decline takes it away
        // from the intent, so that a confirmation that comes late cannot charge it again.
        let path = format!("payment_intents/{intent}/confirm");
        let answer = self.post(&path, String::new(), Some(key)).await?;
        Ok(answer.read::<IntentObject>()?.into())
    }

    async fn intent(&self, intent: &str) -> Result<Intent, GatewayError> {
        let answer = self.get(&format!("payment_intents/{intent}")).await?;
        Ok(answer.read::<IntentObject>()?.into())
    }

    async fn cancel(&self, intent: &str) -> Result<Intent, GatewayError> {
        let path = format!("payment_intents/{intent}/cancel");
        let answer = self.post(&path, String::new(), None).await?;
        Ok(answer.read::<IntentObject>()?.into())
    }

    async fn refund(&self, order: &RefundOrder, key: &str) -> Result<Refund, GatewayError> {
        let answer = self.post("refunds", refund_form(order), Some(key)).await?;
        Ok(answer.read::<RefundObject>()?.into())
    }

    async fn refunds(&self, intent: &str) -> Result<Vec<Refund>, GatewayError> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let query = refunds_query(intent, after.as_deref());
            let answer = self.get(&format!("refunds?{query}")).await?;
            let page = answer.read::<ListObject<RefundObject>>()?;
            after = page.data.last().map(|refund| refund.id.clone());
            let more = page.has_more && after.is_some();
            found.extend(page.data.into_iter().map(Refund::from));
            if !more {
                break;
            }
        }
        Ok(found)
    }
}

fn order_form(order: &Order) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("amount", &gateway_units(order.amount, &order.currency));
    form.append_pair("currency", &order.currency);
    form.append_pair("payment_method", &order.payment_method);
    // Only what ends without the customer being sent somewhere.
    form.append_pair("payment_method_types[]", "card");
    if let Some(customer) = &order.customer {
        form.append_pair("customer", customer);
    }
    if let Some(description) = &order.description {
        form.append_pair("description", description);
    }
    for (key, value) in &order.metadata {
        form.append_pair(&format!("metadata[{key}]"), value);
    }
    form.finish()
}

fn refund_form(order: &RefundOrder) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("payment_intent", &order.intent);
    form.append_pair("amount", &gateway_units(order.amount, &order.currency));
    if let Some(reason) = order.reason {
        form.append_pair("reason", reason);
    }
    for (key, value) in &order.metadata {
        form.append_pair(&format!("metadata[{key}]"), value);
    }
    form.finish()
}

/// As the gateway counts the currency, which is not always as ISO 4217 does.
fn gateway_units(amount: u64, currency: &str) -> String {
    let counting = Counting::of(currency);
    counting
        .map_or(amount, |counting| counting.to_gateway(amount))
        .to_string()
}

fn refunds_query(intent: &str, after: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("payment_intent", intent);
    query.append_pair("limit", PAGE);
    if let Some(after) = after {
        query.append_pair("starting_after", after);
    }
    query.finish()
}

async fn answer(request: RequestBuilder) -> Result<Answer, GatewayError> {
    let mut response = request.send().await.map_err(|error| unanswered(&error))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            let message = format!("the gateway's answer is longer than {MAX_ANSWER} bytes");
            return Err(GatewayError::unanswered("gateway_protocol", message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status,
        headers,
        body,
    })
}

fn unanswered(error: &reqwest::Error) -> GatewayError {
    let code = if error.is_connect() {
        "gateway_connect"
    } else if error.is_timeout() {
        "gateway_timeout"
    } else {
        "gateway_cut"
    };
    let message = format!("the gateway gave no answer: {}", innermost(error));
    GatewayError::unanswered(code, message)
}

/// The innermost cause: "error sending request" says nothing. It names no URL, and so no id.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn tls(base: &str) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() && base.starts_with("https:") {
        return Err("this machine has no root certificates; install them (ca-certificates) or name a file of them in SSL_CERT_FILE".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
