use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::site::Site;
use crate::support::record::fault;
use crate::support::wait::{PATIENCE, until};

async fn publish(site: &Site, properties: BasicProperties, body: &[u8]) {
    let connection = Connection::connect(&site.rabbit.url(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(Default::default()).await.unwrap();
    channel
        .basic_publish(
            "longshore.jobs".into(),
            "probe".into(),
            BasicPublishOptions::default(),
            body,
            properties,
        )
        .await
        .unwrap()
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

async fn dead_with(site: &Site, code: &str) -> Value {
    until(
        &format!("a dead job with code {code}"),
        PATIENCE,
        async || {
            let path = format!("/v1/jobs?state=dead&code={code}");
            let found = site.api.get(&path).await.expect(200);
            found["items"].as_array()?.first().cloned()
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_becomes_a_dead_job_with_a_reason_and_hurts_nobody() {
    let fault = fault!("Garbage and messages with wrong headers among the jobs");
    let site = Site::start().await;
    let _worker = site.worker().await;
    let neighbours = site.submit_sleeps(8, 1_500).await;
    let kind = BasicProperties::default().with_type("probe.sleep".into());
    let identified = kind.clone().with_message_id("m-1".into());
    let odd = |value| {
        let mut headers = FieldTable::default();
        headers.insert("x-longshore-dispatch".into(), value);
        identified.clone().with_headers(headers)
    };
    publish(&site, BasicProperties::default(), b"\x00\xff garbage").await;
    publish(&site, kind.clone(), b"{\"ms\": 1}").await;
    publish(&site, identified.clone(), b"not json").await;
    publish(&site, odd(AMQPValue::LongString("seven".into())), b"{}").await;
    publish(&site, odd(AMQPValue::LongInt(3)), b"{\"ms\": 1}").await;
    let wrong = [
        AMQPValue::Boolean(true),
        AMQPValue::Double(1.5),
        AMQPValue::LongLongInt(i64::MAX),
        AMQPValue::LongInt(-1),
        AMQPValue::FieldTable(FieldTable::default()),
    ];
    for (n, value) in wrong.iter().enumerate() {
        let one = odd(value.clone()).with_message_id(format!("h-{n}").into());
        publish(&site, one, b"{\"ms\": 1}").await;
    }
    for code in [
        "no_type",
        "no_message_id",
        "bad_json",
        "bad_dispatch",
        "bad_message_id",
    ] {
        let job = dead_with(&site, code).await;
        assert!(
            !job["error"]["message"].as_str().unwrap().is_empty(),
            "{job}"
        );
    }
    until("every wrong header is told", PATIENCE, async || {
        let path = "/v1/jobs?state=dead&code=bad_dispatch";
        let found = site.api.get(path).await.expect(200);
        (found["items"].as_array()?.len() == 1 + wrong.len()).then_some(())
    })
    .await;
    site.nothing_burned(&neighbours).await;
    until("nothing is left on the broker", PATIENCE, async || {
        (site.depth("longshore.probe").await? == (0, 0)).then_some(())
    })
    .await;
    let junk = 5 + wrong.len();
    site.hand_in_besides(fault, &neighbours, junk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_from_an_app_is_adopted_once() {
    let site = Site::start().await;
    let _worker = site.worker().await;
    let properties = BasicProperties::default()
        .with_type("probe.sleep".into())
        .with_app_id("shop".into())
        .with_message_id("order-17".into());
    for _ in 0..3 {
        publish(&site, properties.clone(), b"{\"ms\": 10}").await;
    }
    until("the adopted job has ended", PATIENCE, async || {
        let found = site.api.get("/v1/jobs?state=succeeded").await.expect(200);
        (found["items"].as_array()?.len() == 1).then_some(())
    })
    .await;
    until("nothing is left on the broker", PATIENCE, async || {
        (site.depth("longshore.probe").await? == (0, 0)).then_some(())
    })
    .await;
    let ends: Vec<usize> = site.marks().values().map(|marks| marks.ends).collect();
    assert_eq!(ends, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_delivered_many_times_runs_its_job_once() {
    let fault = fault!("Every message is delivered five times");
    let site = Site::start().await;
    let ids = site.submit_sleeps(60, 100).await;
    until("all are on the broker", PATIENCE, async || {
        (site.depth("longshore.probe").await?.0 >= 60).then_some(())
    })
    .await;
    // Copies of each dispatch, next to each other and ahead of the rest, as a rescue, a lost
    // confirm or a network that repeats would make them.
    let connection = Connection::connect(&site.rabbit.url(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    for id in &ids {
        let mut headers = FieldTable::default();
        headers.insert("x-longshore-dispatch".into(), AMQPValue::LongInt(1));
        let properties = BasicProperties::default()
            .with_type("probe.sleep".into())
            .with_message_id(id.as_str().into())
            .with_headers(headers);
        for key in ["probe.high", "probe.high", "probe.high", "probe"] {
            channel
                .basic_publish(
                    "longshore.jobs".into(),
                    key.into(),
                    BasicPublishOptions::default(),
                    b"{\"ms\": 100}",
                    properties.clone(),
                )
                .await
                .unwrap();
        }
    }
    let _workers = [site.worker().await, site.worker().await];
    site.nothing_burned(&ids).await;
    until("nothing is left on the broker", PATIENCE, async || {
        (site.depth("longshore.probe").await? == (0, 0)).then_some(())
    })
    .await;
    let marks = site.marks();
    for id in &ids {
        assert_eq!((marks[id].starts, marks[id].ends), (1, 1), "{id}");
    }
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_fail_ends_as_it_should() {
    let site = Site::with_queues(
        "[queues.probe]\nkinds = [\"probe.sleep\", \"probe.fail\"]\nconcurrency = 8\nprefetch = 8\ntimeout = \"2s\"\n\
         [queues.probe.retry]\nmax_attempts = 2\ninitial = \"200ms\"\njitter = 0.0\n",
    )
    .await;
    let _worker = site.worker().await;
    let table = [
        ("retry", "probe_retry", 2),
        ("permanent", "probe_permanent", 1),
        ("panic", "panic", 2),
        ("hang", "timeout", 2),
        ("nul", "probe_nul", 1),
    ];
    let mut ids = Vec::new();
    for (way, ..) in table {
        ids.push(site.submit("probe.fail", json!({"way": way})).await);
    }
    let neighbours = site.submit_sleeps(20, 10).await;
    for (job, (way, code, attempts)) in site.all(&ids, "dead").await.iter().zip(table) {
        assert_eq!(job["error"]["code"], code, "{way}: {job}");
        assert_eq!(
            job["attempts"].as_array().unwrap().len(),
            attempts,
            "{way}: {job}"
        );
    }
    site.nothing_burned(&neighbours).await;
    until(
        "the dead letters are taken off the broker",
        PATIENCE,
        async || (site.depth("longshore.probe.dead").await? == (0, 0)).then_some(()),
    )
    .await;
}
