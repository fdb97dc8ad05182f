use crate::dev::{Dev, mail};
use crate::support::dir::TestDir;
use crate::support::program::longshore;
use crate::support::wait::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_ends_with_2_and_names_the_fix() {
    let dev = Dev::start().await;
    let payload = mail("x").to_string();
    let twice = payload.replacen('{', "{\"subject\":\"\",", 1);
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let table: [(&[&str], &str); 14] = [
        (&["sumbit"], "submit"),
        (&["submit", "email.sned", "{}"], "email.send"),
        (&["submit", "email.send", "{"], "PAYLOAD"),
        (&["submit", "email.send", "@nowhere.json"], "nowhere.json"),
        (&["submit", "email.send", "{\"to\": 5}"], "PAYLOAD /to"),
        (
            &["submit", "email.send", &payload, "--delay", "soon"],
            "--delay",
        ),
        (
            &["submit", "email.send", &payload, "--idempotency-key", ""],
            "--idempotency-key: must be 1 to 255",
        ),
        (
            &["submit", "email.send", &payload, "--idempotency-key", "é"],
            "printable ASCII",
        ),
        (&["submit", "email.send", &twice], "PAYLOAD /subject: "),
        (&["submit", "email.send", &deep], "64 levels"),
        (
            &[
                "submit",
                "email.send",
                &payload,
                "--run-at",
                "2030-01-31T12:00:00",
            ],
            "with a time zone, like",
        ),
        (&["jobs", "show", "17"], "17"),
        (&["jobs", "list", "--state", "done"], "succeeded"),
        (&["dlq", "requeue"], "--all"),
    ];
    for (arguments, text) in table {
        let (code, _, err) = dev.run(arguments).await;
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
        assert!(err.contains(text), "{arguments:?}: {err}");
    }
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let (code, _, err) = dev.run(&["jobs", "show", id]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains(id), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn help_shows_every_variable_and_no_value() {
    let mut help = longshore(["--help"])
        .env("SMTP_URL", "smtp://user:hunter2@mail")
        .start();
    assert!(help.wait_exit(PATIENCE).await.success());
    let text = help.stdout();
    for variable in [
        "DATABASE_URL",
        "AMQP_URL",
        "LONGSHORE_QUEUES",
        "LONGSHORE_LISTEN",
        "LONGSHORE_HEALTH_LISTEN",
        "LONGSHORE_SHUTDOWN_DEADLINE",
        "LONGSHORE_DATA_DIR",
        "LONGSHORE_ADMIN_KEY",
        "SMTP_URL",
        "MAIL_FROM",
        "STRIPE_API_KEY",
        "STRIPE_API_BASE",
        "LONGSHORE_LOG",
        "LONGSHORE_LOG_FORMAT",
    ] {
        assert!(text.contains(variable), "{variable} is not in the help");
    }
    assert!(!text.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_commands_say_where_one_could_be() {
    let dir = TestDir::new("empty");
    let mut list = longshore(["jobs", "list"]).within(dir.path()).start();
    assert_eq!(list.wait_exit(PATIENCE).await.code(), Some(2));
    let said = list.stderr();
    assert!(
        said.contains("DATABASE_URL") && said.contains("longshore dev"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_file_of_ones_own_moves_a_kind_and_filters_stay_filters() {
    let dir = TestDir::new("moved");
    let file = "[queues.mail]\nkinds = [\"email.send\"]\n";
    std::fs::write(dir.join("mine.toml"), file).unwrap();
    let command = |arguments: &[&str]| {
        longshore(arguments)
            .within(dir.path())
            .env("LONGSHORE_QUEUES", "mine.toml")
            .start()
    };
    let mut dev = longshore(["dev"])
        .within(dir.path())
        .env("LONGSHORE_QUEUES", "mine.toml")
        .env("LONGSHORE_LISTEN", "127.0.0.1:0")
        .start();
    dev.wait_for_line("is up", PATIENCE).await;
    let payload = mail("Moved").to_string();
    let mut submit = command(&["submit", "email.send", &payload, "--wait", "--json"]);
    assert!(
        submit.wait_exit(PATIENCE).await.success(),
        "{}",
        submit.output_so_far()
    );
    assert!(
        submit.stdout().contains("\"queue\":\"mail\""),
        "{}",
        submit.stdout()
    );
    let mut list = command(&["jobs", "list", "--queue", "mail", "--json"]);
    assert!(
        list.wait_exit(PATIENCE).await.success(),
        "{}",
        list.output_so_far()
    );
    assert_eq!(list.stdout().lines().count(), 1);
    let mut dead = command(&["dlq", "list", "mail"]);
    assert!(dead.wait_exit(PATIENCE).await.success());
    assert_eq!(dead.stdout(), "no jobs\n");
    let mut all = command(&["dlq", "requeue"]);
    assert_eq!(all.wait_exit(PATIENCE).await.code(), Some(2));
    // Legal JSON that no number type holds is refused by its kind, not by a crash.
    let mut odd = command(&["submit", "email.send", "{\"a\": 1e999}"]);
    assert_eq!(
        odd.wait_exit(PATIENCE).await.code(),
        Some(2),
        "{}",
        odd.output_so_far()
    );
}
