//! Jobs that are listed, and requests that nothing answers.

use serde_json::json;

use crate::dev::{Dev, mail};
use crate::installation::later;

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_methods_jobs_and_parameters_get_problems() {
    let dev = Dev::start().await;
    let get = async |path: &str| {
        let answer = dev.api.get(path).await;
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{path}"
        );
        (
            answer.status.as_u16(),
            answer.body["code"].as_str().unwrap().to_owned(),
        )
    };
    let expect = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(get("/nothing").await, expect(404, "no_such_path"));
    assert_eq!(get("/v1/jobs/17").await, expect(404, "no_such_job"));
    let id = "/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(get(id).await, expect(404, "no_such_job"));
    assert_eq!(
        get(&format!("{id}?wait=1s")).await,
        expect(404, "no_such_job")
    );
    assert_eq!(
        get(&format!("{id}?wait=2m")).await,
        expect(422, "invalid_parameter")
    );
    assert_eq!(
        get(&format!("{id}?wait=soon")).await,
        expect(422, "invalid_parameter")
    );
    assert_eq!(
        get(&format!("{id}?wiat=1s")).await,
        expect(422, "invalid_parameter")
    );
    assert_eq!(
        get("/v1/jobs?state=done").await,
        expect(422, "invalid_parameter")
    );
    assert_eq!(
        get("/v1/jobs?limit=0").await,
        expect(422, "invalid_parameter")
    );
    assert_eq!(
        get("/v1/jobs?cursor=x").await,
        expect(422, "invalid_parameter")
    );
    let delete = dev
        .api
        .call(reqwest::Method::DELETE, "/v1/jobs", None, &[])
        .await;
    let mut allowed: Vec<&str> = delete.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    assert_eq!(delete.expect(405)["code"], "method_not_allowed");
    let health = dev
        .api
        .call(reqwest::Method::POST, "/healthz", None, &[])
        .await;
    assert_eq!(health.header("allow"), "GET,HEAD");
    assert_eq!(health.expect(405)["code"], "method_not_allowed");
    let slip = dev.api.get("/v1/jobs?limt=5&cursr=x").await.expect(422);
    assert_eq!(slip["errors"][0]["parameter"], "limt");
    assert_eq!(
        slip["errors"][1]["message"],
        "no such parameter; did you mean `cursor`?"
    );
    let job = json!({"kind": "email.send", "payload": mail("x")});
    let unasked = dev.api.post("/v1/jobs?dry_run=1", &job).await.expect(422);
    assert_eq!(unasked["code"], "invalid_parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_pages_newest_first() {
    let dev = Dev::start().await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        let accepted = dev.api.post("/v1/jobs", &later("x")).await.expect(202);
        ids.push(accepted["id"].clone());
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = dev
            .api
            .get(&format!("/v1/jobs?limit=3{cursor}"))
            .await
            .expect(200);
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|job| job["id"].clone()),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ids);
    let page = dev
        .api
        .get("/v1/jobs?state=scheduled&kind=email.send&queue=email")
        .await
        .expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 7);
    assert!(
        page["items"][0]["waiting_for"]["message"]
            .as_str()
            .unwrap()
            .starts_with("scheduled for")
    );
    let none = dev.api.get("/v1/jobs?state=dead").await.expect(200);
    assert_eq!(none, json!({"items": [], "next_cursor": null}));
}
