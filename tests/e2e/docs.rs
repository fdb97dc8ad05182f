use serde_json::Value;

use crate::dev::Dev;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_all_that_it_needs_and_asks_nobody_else() {
    let dev = Dev::start().await;
    let page = dev.api.get("/docs").await;
    let policy = page.header("content-security-policy").to_owned();
    for rule in [
        "default-src 'none'",
        "script-src 'self';",
        "connect-src 'self'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("http"), "{policy}");
    let page = page.expect(200);
    let page = page.as_str().unwrap();
    let parts: Vec<&str> = page
        .split(['"'])
        .filter(|part| part.starts_with('/') && !part.contains('>'))
        .collect();
    assert!(parts.len() >= 4, "{parts:?}");
    for part in parts {
        let answer = dev.api.get(part).await;
        assert_eq!(
            answer.header("content-security-policy").is_empty(),
            part == "/openapi.json"
        );
        answer.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_says_whether_a_key_is_needed() {
    let dev = Dev::start().await;
    let described = async || dev.api.get("/openapi.json").await.expect(200);
    let secured = |document: &Value| -> Vec<bool> {
        let paths = document["paths"].as_object().unwrap();
        let operations = paths
            .values()
            .flat_map(|path| path.as_object().unwrap().values());
        operations
            .map(|operation| operation.get("security").is_some())
            .collect()
    };
    let open = described().await;
    assert_eq!(open["openapi"], "3.1.0");
    assert!(secured(&open).iter().all(|secured| !secured));
    for path in [
        "/v1/jobs",
        "/v1/jobs/batch",
        "/v1/jobs/{id}",
        "/v1/kinds",
        "/healthz",
    ] {
        assert!(open["paths"].get(path).is_some(), "{path}");
    }
    let kinds = &open["components"]["schemas"]["Submission"]["discriminator"]["mapping"];
    assert!(kinds.get("email.send").is_some(), "{kinds}");
    let (code, _, err) = dev.run(&["keys", "create", "first"]).await;
    assert_eq!(code, Some(0), "{err}");
    crate::support::wait::until("it is", crate::support::wait::PATIENCE, async || {
        secured(&described().await).contains(&true).then_some(())
    })
    .await;
}
