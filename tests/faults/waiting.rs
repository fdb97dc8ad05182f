use serde_json::{Value, json};

use crate::site::Site;
use crate::support::wait::{PATIENCE, until};

/// Until this job says that it waits for this.
async fn waits_for(site: &Site, id: &str, reason: &str) -> Value {
    until(&format!("{id} waits for {reason}"), PATIENCE, async || {
        let waiting = site.job(id).await["waiting_for"].clone();
        (waiting["reason"] == reason).then_some(waiting)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_says_why_it_is_not_running() {
    let mut site = Site::start().await;
    let ids = site.submit_sleeps(8, 25_000).await;
    let nobody = waits_for(&site, &ids[0], "no_worker").await;
    assert!(
        nobody["message"].as_str().unwrap().contains("probe.sleep"),
        "{nobody}"
    );
    let mut worker = site.worker().await;
    site.started(8).await;
    assert_eq!(site.job(&ids[0]).await["waiting_for"], Value::Null);
    let more = site.submit_sleeps(3, 10).await;
    let last = waits_for(&site, &more[2], "behind").await;
    assert_eq!(last["behind"], 2, "{last}");
    let show = ["jobs", "show", more[2].as_str()];
    let mut show = site.launch(&show).start();
    assert!(show.wait_exit(PATIENCE).await.success());
    assert!(
        show.stdout().contains("behind 2 others"),
        "{}",
        show.stdout()
    );

    worker.freeze();
    waits_for(&site, &ids[0], "owner_lost").await;
    worker.thaw();
    site.api
        .post("/v1/queues/probe/pause", &json!(null))
        .await
        .expect(200);
    let paused = site.submit_sleeps(1, 10).await;
    let waiting = waits_for(&site, &paused[0], "queue_paused").await;
    assert!(
        waiting["message"].as_str().unwrap().contains("anonymous"),
        "{waiting}"
    );
    site.api
        .post("/v1/queues/probe/resume", &json!(null))
        .await
        .expect(200);
    site.rabbit.stop().await;
    let unsent = site.submit_sleeps(1, 10).await;
    waits_for(&site, &unsent[0], "awaiting_publish").await;
    let body = json!({"kind": "probe.sleep", "payload": {"ms": 1}, "delay": "1h"});
    let later = site.api.post("/v1/jobs", &body).await.expect(202);
    let later = waits_for(&site, later["id"].as_str().unwrap(), "scheduled").await;
    assert!(later["until"].as_str().is_some(), "{later}");
    site.rabbit.restart().await;
    site.all(&unsent, "succeeded").await;
}
