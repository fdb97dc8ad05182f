//! The container set-up, as far as it can be judged without an engine: a real Compose reads
//! docker-compose.yml, and what it makes of it is checked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use support::places;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The services that can be scaled.
const SCALABLE: [&str; 4] = [
    "intake",
    "email-worker",
    "inventory-worker",
    "payment-worker",
];

/// The services as Compose resolves them, with nothing set in the environment or in `.env`.
fn services() -> &'static Map<String, Value> {
    static RESOLVED: LazyLock<Map<String, Value>> = LazyLock::new(resolve);
    RESOLVED["services"].as_object().unwrap()
}

fn resolve() -> Map<String, Value> {
    let nothing = tempfile::NamedTempFile::new().unwrap();
    let mut compose = compose();
    let output = compose
        .args(["-f", "docker-compose.yml", "--env-file"])
        .arg(nothing.path())
        .arg("config")
        .current_dir(ROOT)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert!(!complaints.to_lowercase().contains("warn"), "{complaints}");
    json(&output.stdout)
}

fn compose() -> Command {
    let runs = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if runs("docker", &["compose", "version"]) {
        let mut command = Command::new("docker");
        command.arg("compose");
        command
    } else if runs("docker-compose", &["version"]) {
        Command::new("docker-compose")
    } else {
        panic!("Docker Compose not found: run `tests/run`, which installs it")
    }
}

/// YAML by way of Python: the test environment has a parser, the crate needs none.
fn json(yaml: &[u8]) -> Map<String, Value> {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let mut python = Command::new(places::python())
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(yaml).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `1m30s`, `30s`: what Compose prints.
fn seconds(duration: &Value) -> u64 {
    humantime::parse_duration(duration.as_str().unwrap())
        .unwrap()
        .as_secs()
}

#[test]
fn compose_accepts_the_file_and_every_service_is_there() {
    let services = services();
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    for expected in [
        "postgres",
        "rabbitmq",
        "mail",
        "migrate",
        "intake",
        "email-worker",
    ] {
        assert!(
            names.contains(&expected),
            "{expected} is not among {names:?}"
        );
    }
    let image = |name: &str| services[name]["image"].as_str().unwrap().to_owned();
    assert!(image("postgres").starts_with("postgres:17"));
    assert!(image("rabbitmq").starts_with("rabbitmq:4"));
    assert!(image("rabbitmq").contains("management"));
}

#[test]
fn what_others_wait_for_has_a_health_check_and_all_but_the_migration_restarts() {
    let services = services();
    for (name, service) in services {
        if name == "migrate" {
            assert_eq!(service["restart"], "on-failure");
        } else {
            assert!(service["healthcheck"]["test"].is_array(), "{name}");
            assert_eq!(service["restart"], "unless-stopped", "{name}");
        }
        let Some(needs) = service["depends_on"].as_object() else {
            continue;
        };
        for (needed, how) in needs {
            let condition = how["condition"].as_str().unwrap();
            let expected = if needed == "migrate" {
                "service_completed_successfully"
            } else {
                "service_healthy"
            };
            assert_eq!(condition, expected, "{name} needs {needed}");
        }
    }
    for name in SCALABLE {
        let needs = services[name]["depends_on"].as_object().unwrap();
        for needed in ["migrate", "postgres", "rabbitmq"] {
            assert!(needs.contains_key(needed), "{name} needs {needed}");
        }
    }
    assert!(services["migrate"]["depends_on"]["postgres"].is_object());
}

#[test]
fn replicas_do_not_collide() {
    let services = services();
    for name in SCALABLE {
        let service = &services[name];
        assert!(service.get("container_name").is_none(), "{name}");
        assert!(service.get("hostname").is_none(), "{name}");
        let Some(ports) = service.get("ports") else {
            continue;
        };
        let ports = ports.to_string();
        assert!(
            ports.contains("7070-7079"),
            "one host port for all: {ports}"
        );
    }
}

#[test]
fn every_open_port_is_this_machines_alone() {
    for (name, service) in services() {
        let ports = service.get("ports").and_then(Value::as_array);
        for port in ports.into_iter().flatten() {
            let text = port.to_string();
            assert!(text.contains("127.0.0.1"), "{name}: {text}");
        }
    }
}

#[test]
fn a_stop_leaves_time_to_drain() {
    let services = services();
    for name in SCALABLE {
        let service = &services[name];
        let deadline = seconds(&service["environment"]["LONGSHORE_SHUTDOWN_DEADLINE"]);
        let grace = seconds(&service["stop_grace_period"]);
        assert!(deadline < grace, "{name}: {deadline} s of {grace} s");
    }
}

#[test]
fn each_program_gets_the_settings_that_it_needs_and_no_others() {
    let services = services();
    let settings = |name: &str| -> Vec<String> {
        let environment = services[name]["environment"].as_object().unwrap();
        environment.keys().cloned().collect()
    };
    for name in ["migrate", "intake", "email-worker"] {
        assert!(settings(name).contains(&"DATABASE_URL".into()), "{name}");
    }
    for name in SCALABLE {
        assert!(settings(name).contains(&"AMQP_URL".into()), "{name}");
    }
    assert!(settings("email-worker").contains(&"SMTP_URL".into()));
    assert!(settings("email-worker").contains(&"MAIL_FROM".into()));
    // It listens on every address, where it refuses to start without a key.
    let key = &services["intake"]["environment"]["LONGSHORE_ADMIN_KEY"];
    assert!(key.as_str().is_some_and(|key| key.len() >= 32), "{key}");
    // A worker that is broken into must not hold the key to everything.
    assert!(!settings("email-worker").contains(&"LONGSHORE_ADMIN_KEY".into()));
}

/// The URLs of the programs lead to the services, with the credentials that those are given.
#[test]
fn the_urls_lead_to_the_services() {
    let services = services();
    let environment = |name: &str, key: &str| {
        let value = &services[name]["environment"][key];
        value
            .as_str()
            .unwrap_or_else(|| panic!("{name}: {key}"))
            .to_owned()
    };
    for name in SCALABLE {
        for (variable, host, port, user, password) in [
            (
                "DATABASE_URL",
                "postgres",
                5432,
                environment("postgres", "POSTGRES_USER"),
                environment("postgres", "POSTGRES_PASSWORD"),
            ),
            (
                "AMQP_URL",
                "rabbitmq",
                5672,
                environment("rabbitmq", "RABBITMQ_DEFAULT_USER"),
                environment("rabbitmq", "RABBITMQ_DEFAULT_PASS"),
            ),
        ] {
            let url: url::Url = environment(name, variable).parse().unwrap();
            assert_eq!(url.host_str(), Some(host));
            assert_eq!(url.port().unwrap_or(port), port);
            assert_eq!(
                (url.username(), url.password().unwrap()),
                (&*user, &*password)
            );
        }
    }
    let mail: url::Url = environment("email-worker", "SMTP_URL").parse().unwrap();
    assert_eq!(mail.host_str(), Some("mail"));
}

/// Runs a health check's own command against a server on this machine that answers so.
fn healthy(check: &Value, from: u16, answer: &str) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = answer.to_owned();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let words: Vec<String> = check
        .as_array()
        .unwrap()
        .iter()
        .map(|word| {
            let word = word.as_str().unwrap().replace("$$", "$");
            word.replace(&format!("/{from} "), &format!("/{port} "))
        })
        .collect();
    assert_eq!(words[0], "CMD");
    let status = Command::new(&words[1]).args(&words[2..]).status().unwrap();
    let request = server.join().unwrap();
    assert!(request.starts_with("GET /readyz HTTP/1.0\r\n"), "{request}");
    status.success()
}

#[test]
fn the_programs_health_checks_tell_ready_from_not_ready() {
    let services = services();
    for (name, port) in [("intake", 7070), ("email-worker", 7071)] {
        let check = &services[name]["healthcheck"]["test"];
        let body = "content-length: 2\r\n\r\nok";
        for (answer, expected) in [
            (format!("HTTP/1.0 200 OK\r\n{body}"), true),
            (format!("HTTP/1.1 200 OK\r\n{body}"), true),
            (format!("HTTP/1.1 503 Service Unavailable\r\n{body}"), false),
            (String::new(), false),
        ] {
            assert_eq!(healthy(check, port, &answer), expected, "{name}: {answer}");
        }
    }
}

/// The instructions of the last stage, with their continued lines joined.
fn final_stage() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(ROOT).join("Dockerfile")).unwrap();
    let joined = text.replace("\\\n", " ");
    let last = joined.rfind("\nFROM ").unwrap();
    joined[last..]
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn the_image_runs_the_program_itself_and_not_as_root() {
    let stage = final_stage();
    let of = |instruction: &str| -> Vec<&str> {
        let prefix = format!("{instruction} ");
        stage
            .iter()
            .filter_map(|line| line.strip_prefix(&prefix))
            .collect()
    };
    // In this form it is process 1 and gets the signals; a shell would keep them.
    assert_eq!(of("ENTRYPOINT"), ["[\"longshore\"]"]);
    let user = of("USER")[0].split(':').next().unwrap();
    assert!(user.parse::<u32>().unwrap() > 0, "{user}");
    let settings = of("ENV").join(" ");
    assert!(settings.contains("LONGSHORE_LISTEN=0.0.0.0:7070"));
    assert!(settings.contains("LONGSHORE_HEALTH_LISTEN=0.0.0.0:7071"));
    assert!(stage.iter().any(|line| line.contains("ca-certificates")));
    // The build's tools stay behind.
    assert!(!stage[0].contains("rust"), "{}", stage[0]);
}

/// Whatever the Dockerfile copies from the repository, .dockerignore lets through.
#[test]
fn nothing_that_is_copied_is_ignored() {
    let read = |name: &str| std::fs::read_to_string(Path::new(ROOT).join(name)).unwrap();
    let (dockerfile, ignore) = (read("Dockerfile"), read(".dockerignore"));
    let copied = dockerfile
        .lines()
        .filter(|line| line.starts_with("COPY ") && !line.contains("--from="))
        .flat_map(|line| {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            words[..words.len() - 1].to_vec()
        });
    let mut count = 0;
    for path in copied {
        count += 1;
        assert!(
            ignore.lines().any(|line| line == format!("!{path}")),
            "{path}"
        );
        assert!(Path::new(ROOT).join(path).exists(), "{path} does not exist");
    }
    assert!(count > 5);
}
