//! localstripe, a gateway that others wrote, and the bad line to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::scripted::{Heard, request};
use crate::support::http::bare;
use crate::support::places;
use crate::support::program::{Program, program};
use crate::support::wait::PATIENCE;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/payment/gateway.py");
/// How late a request comes that was given up.
const LATE: Duration = Duration::from_millis(1500);
pub const KEY: &str = "sk_test_12345";

pub struct LocalStripe {
    url: String,
    http: reqwest::Client,
    _process: Program,
}

impl LocalStripe {
    pub async fn start() -> Self {
        let mut process = program(places::python(), [SCRIPT]).start();
        let line = process.wait_for_line("port ", PATIENCE).await;
        let port: u16 = line.strip_prefix("port ").unwrap().parse().unwrap();
        Self {
            url: format!("http://127.0.0.1:{port}"),
            http: bare(),
            _process: process,
        }
    }

    /// `host:port`.
    pub fn host(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// A card by its number, as a shop's page would enter it.
    pub async fn payment_method(&self, number: &str) -> String {
        let form = format!(
            "type=card&card[number]={number}&card[exp_month]=12&card[exp_year]=2030&card[cvc]=123"
        );
        let request = self.http.post(format!("{}/v1/payment_methods", self.url));
        let made = request
            .bearer_auth(KEY)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        let made: Value = made.error_for_status().unwrap().json().await.unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    /// Everything of a kind, page by page.
    pub async fn all(&self, kind: &str) -> Vec<Value> {
        let mut found: Vec<Value> = Vec::new();
        loop {
            let after = found.last().map_or(String::new(), |last| {
                format!("&starting_after={}", last["id"].as_str().unwrap())
            });
            let url = format!("{}/v1/{kind}?limit=100{after}", self.url);
            let page = self.http.get(url).bearer_auth(KEY).send().await.unwrap();
            let page: Value = page.error_for_status().unwrap().json().await.unwrap();
            let data = page["data"].as_array().unwrap();
            found.extend(data.iter().cloned());
            if page["has_more"] != true {
                return found;
            }
        }
    }

    /// Its successful charges: the charge's id by the intent's.
    pub async fn charges(&self) -> BTreeMap<String, Vec<String>> {
        let mut paid: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for charge in self.all("charges").await {
            if charge["status"] == "succeeded" {
                let text = |name: &str| charge[name].as_str().unwrap().to_owned();
                paid.entry(text("payment_intent"))
                    .or_default()
                    .push(text("id"));
            }
        }
        paid
    }
}

/// A payment as the gateway has it: amount, currency, reference.
pub type Seen = (i64, String, String);

impl LocalStripe {
    /// What it knows of each intent that was charged, by the intent's id.
    pub async fn paid(&self) -> BTreeMap<String, Seen> {
        let mut references: BTreeMap<String, String> = BTreeMap::new();
        for intent in self.all("payment_intents").await {
            let reference = intent["metadata"]["longshore_reference"].as_str().unwrap();
            references.insert(
                intent["id"].as_str().unwrap().to_owned(),
                reference.to_owned(),
            );
        }
        let mut paid = BTreeMap::new();
        for charge in self.all("charges").await {
            if charge["status"] == "succeeded" {
                let intent = charge["payment_intent"].as_str().unwrap();
                let seen = (
                    charge["amount"].as_i64().unwrap(),
                    charge["currency"].as_str().unwrap().to_owned(),
                    references[intent].clone(),
                );
                paid.insert(intent.to_owned(), seen);
            }
        }
        paid
    }
}

/// A proxy that loses requests and answers, delays, and answers by itself. What it does is the
/// same in every run, request by request.
pub struct BadLine {
    pub url: String,
    mishaps: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for BadLine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl BadLine {
    pub async fn to(gateway: &LocalStripe) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mishaps = Arc::new(AtomicUsize::new(0));
        let (target, counted, http) = (gateway.url.clone(), mishaps.clone(), bare());
        let task = tokio::spawn(async move {
            let number = Arc::new(AtomicUsize::new(0));
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let line = Line {
                    target: target.clone(),
                    http: http.clone(),
                    number: number.clone(),
                    mishaps: counted.clone(),
                };
                connections.spawn(async move {
                    // The client may be killed at any moment.
                    let _ = line.serve(socket).await;
                });
            }
        });
        Self { url, mishaps, task }
    }

    pub fn mishaps(&self) -> usize {
        self.mishaps.load(Ordering::SeqCst)
    }
}

struct Line {
    target: String,
    http: reqwest::Client,
    number: Arc<AtomicUsize>,
    mishaps: Arc<AtomicUsize>,
}

impl Line {
    async fn serve(&self, socket: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(socket);
        while let Some(heard) = request(&mut stream).await? {
            let number = self.number.fetch_add(1, Ordering::SeqCst);
            // Spread by a multiplication, so that neighbours fare differently.
            let fate = number.wrapping_mul(0x9E37_79B1) >> 7 & 0xff;
            if fate < 48 {
                self.mishaps.fetch_add(1, Ordering::SeqCst);
            }
            match fate {
                0..6 => return Ok(()),
                // The client has long given up, and asked again, when it arrives.
                6..8 => {
                    drop(stream);
                    tokio::time::sleep(LATE).await;
                    self.forward(&heard).await;
                    return Ok(());
                }
                8..20 => {
                    self.forward(&heard).await;
                    return Ok(());
                }
                20..26 => answer(&mut stream, 500, "{}").await?,
                26..32 => {
                    self.forward(&heard).await;
                    answer(&mut stream, 500, "{}").await?;
                }
                32..37 => answer(&mut stream, 409, "{}").await?,
                37..42 => answer(&mut stream, 429, "{}").await?,
                42..48 => {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    self.pass(&heard, &mut stream).await?;
                }
                _ => self.pass(&heard, &mut stream).await?,
            }
        }
        Ok(())
    }

    async fn pass(&self, heard: &Heard, stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
        let (status, body) = self.forward(heard).await;
        answer(stream, status, &body).await
    }

    async fn forward(&self, heard: &Heard) -> (u16, String) {
        let mut words = heard.line.split(' ');
        let method = words.next().unwrap().parse().unwrap();
        let url = format!("{}{}", self.target, words.next().unwrap());
        let mut request = self
            .http
            .request(method, url)
            .header("authorization", heard.header("authorization").unwrap())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(heard.body.clone());
        if let Some(key) = heard.header("idempotency-key") {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

async fn answer(stream: &mut BufReader<TcpStream>, status: u16, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await
}
