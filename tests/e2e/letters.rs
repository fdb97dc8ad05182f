//! Dead letters as files, and ids from files.

use serde_json::Value;

use crate::dev::Dev;
use crate::operating::{dead, dead_with};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_and_purged_comes_back() {
    let dev = Dev::start().await;
    let ids = dead(&dev, 3).await;
    let file = dev.dir.join("letters.jsonl");
    let name = file.to_str().unwrap();
    let (code, out, err) = dev.run(&["dlq", "export", "email", "--output", name]).await;
    assert_eq!((code, &out[..]), (Some(0), ""), "{err}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 3);
    let (_, out, _) = dev.run(&["dlq", "export"]).await;
    assert_eq!(out, text, "standard output is the same");
    let (code, out, _) = dev.run(&["dlq", "import", name]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("0 imported, 3 there already"), "{out}");
    let (_, _, err) = dev.run(&["dlq", "purge", "--all"]).await;
    assert_eq!(err, "");
    let (code, out, err) = dev.run(&["dlq", "import", name, "--dry-run"]).await;
    assert_eq!(
        (code, &out[..]),
        (Some(0), "3 letters, all of them readable\n"),
        "{err}"
    );
    let (_, out, err) = dev.run(&["dlq", "import", name, "--json"]).await;
    let told: Value = serde_json::from_str(&out).expect(&err);
    assert_eq!(
        (&told["imported"], &told["already_there"]),
        (&3.into(), &0.into())
    );
    let job = dev
        .api
        .get(&format!("/v1/jobs/{}", ids[1]))
        .await
        .expect(200);
    assert_eq!(job["state"], "dead", "{job}");
    let (code, out, _) = dev.run(&["verify"]).await;
    assert_eq!(code, Some(0), "{out}");

    // Nothing of a file is imported of which a line is wrong.
    dev.run(&["dlq", "purge", "--all"]).await;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[2] = lines[2].replace("\"queue\":\"email\"", "\"queue\":\"emial\"");
    for (line, told) in [
        (lines[2].clone(), "`email`"),
        ("{".to_owned(), "line 3"),
        (lines[0].clone(), "twice"),
    ] {
        lines[2] = line;
        std::fs::write(&file, lines.join("\n")).unwrap();
        let (code, _, err) = dev.run(&["dlq", "import", name]).await;
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(told), "{told}: {err}");
        let (_, out, _) = dev.run(&["dlq", "list"]).await;
        assert_eq!(out, "no jobs\n");
    }
}

/// Payloads are kept as they were sent: on many lines, or as no door would take them.
#[tokio::test(flavor = "multi_thread")]
async fn every_letter_is_a_line_and_comes_back_as_it_was() {
    let dev = Dev::start().await;
    let payloads = [
        "{\n  \"to\": [\"ada@example.com\"],\r\n\t\"subject\": \"a\\nb\"\n}",
        "{\"a\":1,\"a\":2}",
        "1e999",
    ];
    let ids = dead_with(&dev, payloads.map(str::as_bytes)).await;
    let file = dev.dir.join("letters.jsonl");
    let name = file.to_str().unwrap();
    let (_, _, err) = dev.run(&["dlq", "export", "--output", name]).await;
    assert!(err.contains("3 dead letters exported"), "{err}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    dev.run(&["dlq", "purge", "--all"]).await;
    let (code, out, err) = dev.run(&["dlq", "import", name]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("3 imported"), "{out}");
    for (id, sent) in ids.iter().zip(payloads) {
        let (_, out, _) = dev.run(&["dlq", "show", id, "--json"]).await;
        assert_eq!(out.lines().count(), 1, "{out}");
        let kept = sent.replace(['\n', '\r'], "");
        assert!(out.contains(&format!("\"payload\":{kept}")), "{out}");
    }
}

/// A filter that is left empty by mistake selects nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_selects_everything_is_none() {
    let dev = Dev::start().await;
    let ids = dead(&dev, 2).await;
    for pattern in ["", "a*", "x|"] {
        let purge = ["dlq", "purge", "--error-pattern", pattern];
        let (code, _, err) = dev.run(&purge).await;
        assert!(
            code == Some(2) && err.contains("--error-pattern"),
            "{pattern:?}: {err}"
        );
    }
    let never = ["dlq", "purge", "--since", "1h", "--until", "2h"];
    let (code, _, err) = dev.run(&never).await;
    assert!(code == Some(2) && err.contains("until"), "{err}");
    let nobody = longshore::job::JobId::new().to_string();
    let some = ["dlq", "requeue", "--id", &nobody, "--id", &ids[0]];
    let (code, out, err) = dev.run(&some).await;
    assert_eq!((code, &out[..]), (Some(0), "1 sent back\n"), "{err}");
    assert!(err.contains("of 2 ids 1 name no dead letter"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_come_from_files_and_patterns_are_checked_first() {
    let dev = Dev::start().await;
    let ids = dead(&dev, 3).await;
    let file = dev.dir.join("ids.txt");
    let name = file.to_str().unwrap();
    for (text, told) in [
        ("", "names no job"),
        ("# nothing\n\n", "names no job"),
        (&format!("{}\nnot-an-id\n", ids[0]), "line 2"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, _, err) = dev.run(&["dlq", "purge", "--ids-file", name]).await;
        assert_eq!(code, Some(2), "{text:?}");
        assert!(err.contains(told), "{told}: {err}");
    }
    let (code, _, err) = dev.run(&["dlq", "purge", "--error-pattern", "("]).await;
    assert!(code == Some(2) && err.contains("--error-pattern"), "{err}");
    let (_, out, _) = dev
        .run(&["dlq", "list", "--error-pattern", "order [12] r"])
        .await;
    assert_eq!(out.lines().count(), 3, "{out}");
    let grouped = [
        "dlq",
        "list",
        "--group",
        "--error-pattern",
        "order [12] r",
        "--json",
    ];
    let (_, out, err) = dev.run(&grouped).await;
    let group: Value = serde_json::from_str(&out).expect(&err);
    assert_eq!(group["count"], 2, "{out}");
    let path = "/v1/dead-letters/groups?error_pattern=order%20%5B2%5D";
    let groups = dev.api.get(path).await.expect(200);
    assert_eq!(groups["items"][0]["count"], 1, "{groups}");
    std::fs::write(&file, format!("{} # the first\n{}\n", ids[0], ids[2])).unwrap();
    let (code, out, err) = dev.run(&["dlq", "purge", "--ids-file", name]).await;
    assert_eq!((code, &out[..]), (Some(0), "2 removed\n"), "{err}");
    let (_, out, _) = dev.run(&["dlq", "list", "--json"]).await;
    let left: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(left["id"].as_str(), Some(&ids[1][..]));
    let page = dev
        .api
        .get("/v1/dead-letters?error_pattern=order%20%5B12%5D")
        .await;
    assert_eq!(page.expect(200)["items"].as_array().unwrap().len(), 1);
    let wrong = dev
        .api
        .get("/v1/dead-letters?error_pattern=%28")
        .await
        .expect(422);
    assert_eq!(wrong["parameter"], "error_pattern", "{wrong}");
}
