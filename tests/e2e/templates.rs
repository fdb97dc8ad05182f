use serde_json::{Value, json};

use crate::dev::Dev;
use crate::support::dir::TestDir;
use crate::support::wait::PATIENCE;

const FOLDER: [(&str, &str); 1] = [("MAIL_TEMPLATES", "templates")];

async fn dev() -> Dev {
    let dir = TestDir::new("templates");
    let folder = dir.join("templates");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("receipt.subject"), "Order {{ order.number }}").unwrap();
    std::fs::write(folder.join("receipt.html"), "<p>{{ name }}</p>").unwrap();
    Dev::set(dir, &FOLDER).await
}

fn receipt(data: &Value) -> Value {
    json!({"to": ["ada@example.com"], "template": "receipt", "data": data})
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect()
}

/// Every way in says the same to a payload that the template does not go with.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_variable_is_refused_at_every_door_by_its_pointer() {
    let dev = dev().await;
    let (bad, good) = (
        receipt(&json!({"order": {}})),
        receipt(&json!({"order": {"number": 7}, "name": "Ada"})),
    );
    let job = |payload: &Value| json!({"kind": "email.send", "payload": payload});
    let missing = ["/payload/data/order/number", "/payload/data/name"];

    let refused = dev.api.post("/v1/jobs", &job(&bad)).await.expect(422);
    assert_eq!(pointers(&refused), missing, "{refused}");
    let unknown = json!({"to": ["ada@example.com"], "template": "reciept"});
    let refused = dev.api.post("/v1/jobs", &job(&unknown)).await.expect(422);
    assert_eq!(pointers(&refused), ["/payload/template"], "{refused}");
    let batch = json!([job(&good), job(&bad)]);
    let refused = dev.api.post("/v1/jobs/batch", &batch).await.expect(422);
    let within: Vec<String> = missing
        .iter()
        .map(|pointer| format!("/1{pointer}"))
        .collect();
    assert_eq!(pointers(&refused), within, "{refused}");

    let submit = |payload: &Value| {
        let mut launch = dev.command(&["submit", "email.send", &payload.to_string()]);
        launch = launch.env("MAIL_TEMPLATES", "templates");
        launch.start()
    };
    let mut command = submit(&bad);
    assert_eq!(command.wait_exit(PATIENCE).await.code(), Some(2));
    let said = command.stderr();
    assert!(said.contains("PAYLOAD /data/order/number: "), "{said}");

    let accepted = dev.api.post("/v1/jobs", &job(&good)).await.expect(202);
    let id = accepted["id"].as_str().unwrap();
    let sent = dev
        .api
        .get(&format!("/v1/jobs/{id}?wait=60s"))
        .await
        .expect(200);
    assert_eq!(sent["state"], "succeeded", "{sent}");
    let path = sent["result"]["path"].as_str().unwrap();
    let mail = std::fs::read_to_string(dev.dir.path().join(path)).unwrap();
    assert!(mail.contains("Subject: Order 7\r\n"), "{mail}");
    assert!(mail.contains("<p>Ada</p>"), "{mail}");
}

/// What an operator sends back with another payload is checked as at the first time.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_payload_passes_the_same_door() {
    let dev = dev().await;
    let job = json!({"kind": "email.send", "payload": receipt(&json!({"order": {"number": 7}, "name": "Ada"})), "delay": "1h"});
    let accepted = dev.api.post("/v1/jobs", &job).await.expect(202);
    let id = accepted["id"].as_str().unwrap();
    dev.api
        .post(&format!("/v1/jobs/{id}/cancel"), &json!({}))
        .await
        .expect(200);
    let edit = json!({"payload": receipt(&json!({"name": "Ada"}))});
    let path = format!("/v1/jobs/{id}/requeue");
    let refused = dev.api.post(&path, &edit).await.expect(422);
    assert_eq!(pointers(&refused), ["/payload/data/order"], "{refused}");
    let payload = edit["payload"].to_string();
    let mut launch = dev.command(&["jobs", "requeue", id, "--payload", &payload]);
    launch = launch.env("MAIL_TEMPLATES", "templates");
    let mut command = launch.start();
    assert_eq!(command.wait_exit(PATIENCE).await.code(), Some(2));
    let said = command.stderr();
    assert!(said.contains("PAYLOAD /data/order: "), "{said}");
}
