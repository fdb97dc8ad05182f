use std::time::Duration;

use serde_json::{Value, json};

use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{Launch, Program, free_port, longshore};
use crate::support::wait::{PATIENCE, until};

/// `longshore dev` in a folder of its own.
pub struct Dev {
    pub api: Api,
    pub process: Program,
    pub port: u16,
    pub dir: TestDir,
}

impl Dev {
    pub async fn start() -> Self {
        Self::within(TestDir::new("dev")).await
    }

    pub async fn within(dir: TestDir) -> Self {
        Self::set(dir, &[]).await
    }

    pub async fn set(dir: TestDir, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut launch = longshore(["dev"])
            .within(dir.path())
            .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"));
        for (name, value) in settings {
            launch = launch.env(name, *value);
        }
        let process = launch.start();
        let api = Api::new(format!("http://127.0.0.1:{port}"));
        until("dev is ready", PATIENCE, async || {
            let status = api.status("/readyz").await?;
            status.is_success().then_some(())
        })
        .await;
        Self {
            api,
            process,
            port,
            dir,
        }
    }

    /// Another command in the same folder, as in a second terminal.
    pub fn command(&self, arguments: &[&str]) -> Launch {
        longshore(arguments).within(self.dir.path())
    }

    pub async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.command(arguments).start();
        let status = command.wait_exit(PATIENCE).await;
        (status.code(), command.stdout(), command.stderr())
    }
}

pub fn mail(subject: &str) -> Value {
    json!({"to": ["ada@example.com"], "subject": subject, "text": "Hello."})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_runs_to_its_end_and_says_what_to_type_next() {
    let dir = TestDir::new("demo");
    let mut demo = longshore(["dev", "--demo", "--exit"])
        .within(dir.path())
        .env("LONGSHORE_LISTEN", "127.0.0.1:0")
        .start();
    let status = demo.wait_exit(PATIENCE).await;
    let said = demo.stdout();
    assert!(status.success(), "{}", demo.output_so_far());
    assert!(said.contains("5 succeeded, 1 dead"), "{said}");
    assert!(said.contains("dlq requeue demo"), "{said}");
    assert_eq!(demo.stderr(), "");
    let mails = std::fs::read_dir(dir.join(".longshore/mail")).unwrap();
    let eml = mails.filter(|file| {
        file.as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|e| e == "eml")
    });
    assert_eq!(eml.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_demo_job_is_requeued_from_a_second_terminal() {
    let dir = TestDir::new("demo");
    let mut demo = longshore(["dev", "--demo"])
        .within(dir.path())
        .env("LONGSHORE_LISTEN", "127.0.0.1:0")
        .start();
    demo.wait_for_line("dlq requeue demo", PATIENCE).await;
    let command = |arguments: &[&str]| longshore(arguments).within(dir.path()).start();
    let mut list = command(&["dlq", "list", "--json"]);
    assert!(list.wait_exit(PATIENCE).await.success());
    let dead: Value = serde_json::from_str(list.stdout().trim()).unwrap();
    assert_eq!(dead["error"]["code"], "demo_doomed");
    let mut requeue = command(&["dlq", "requeue", "demo"]);
    assert!(requeue.wait_exit(PATIENCE).await.success());
    assert_eq!(requeue.stdout(), "1 sent back\n");
    let id = dead["id"].as_str().unwrap();
    until("the requeued job has succeeded", PATIENCE, async || {
        let mut show = command(&["jobs", "show", id, "--json"]);
        assert!(show.wait_exit(PATIENCE).await.success());
        let job: Value = serde_json::from_str(&show.stdout()).unwrap();
        (job["state"] == "succeeded").then_some(())
    })
    .await;
    demo.term();
    assert!(demo.wait_exit(PATIENCE).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_from_http_to_done_embedded() {
    let dev = Dev::start().await;
    let body = json!({"kind": "email.send", "payload": mail("Hi"), "tags": ["first"]});
    let accepted = dev.api.post("/v1/jobs", &body).await;
    let location = accepted.header("location").to_owned();
    let job = accepted.expect(202);
    assert_eq!(
        location,
        format!("/v1/jobs/{}", job["id"].as_str().unwrap())
    );
    let done = dev
        .api
        .get(&format!("{location}?wait=30s"))
        .await
        .expect(200);
    assert_eq!(done["state"], "succeeded", "{done}");
    assert_eq!(done["attempt"], 1);
    assert_eq!(done["attempts"][0]["outcome"], "succeeded");
    assert_eq!(done["tags"], json!(["first"]));
    assert_eq!(done["payload"], mail("Hi"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dev_accepted_survives_its_death() {
    let mut dev = Dev::start().await;
    let body = json!({"kind": "email.send", "payload": mail("Later"), "delay": "3s"});
    let mut ids = Vec::new();
    for _ in 0..20 {
        let job = dev.api.post("/v1/jobs", &body).await.expect(202);
        assert_eq!(job["state"], "scheduled");
        ids.push(job["id"].as_str().unwrap().to_owned());
    }
    let now = json!({"kind": "email.send", "payload": mail("Now")});
    for _ in 0..20 {
        let job = dev.api.post("/v1/jobs", &now).await.expect(202);
        ids.push(job["id"].as_str().unwrap().to_owned());
    }
    dev.process.kill9();
    let dev = Dev::within(dev.dir).await;
    for id in &ids {
        until("it has succeeded", PATIENCE, async || {
            let job = dev
                .api
                .get(&format!("/v1/jobs/{id}?wait=20s"))
                .await
                .expect(200);
            (job["state"] == "succeeded").then_some(())
        })
        .await;
    }
    let (code, out, _) = dev.run(&["doctor"]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("none missing"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn submit_waits_and_its_exit_code_tells() {
    let dev = Dev::start().await;
    let payload = mail("From the shell").to_string();
    let (code, out, err) = dev
        .run(&["submit", "email.send", &payload, "--wait", "--json"])
        .await;
    assert_eq!(code, Some(0), "{out}{err}");
    let job: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(job["state"], "succeeded");
    let (code, out, _) = dev
        .run(&["submit", "email.send", &payload, "--delay", "1h"])
        .await;
    assert_eq!(code, Some(0));
    assert!(out.trim_end().ends_with(" scheduled"), "{out}");
    let (code, out, _) = dev
        .run(&["jobs", "list", "--json", "--state", "scheduled"])
        .await;
    assert_eq!((code, out.lines().count()), (Some(0), 1));
    tokio::time::sleep(Duration::from_millis(10)).await;
}
