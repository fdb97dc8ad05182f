use super::*;

#[test]
fn addresses_are_an_ip_and_a_port() {
    for (text, expected) in [
        ("127.0.0.1:7070", "127.0.0.1:7070"),
        ("[::]:1", "[::]:1"),
        ("localhost:80", "127.0.0.1:80"),
        ("0.0.0.0:0", "0.0.0.0:0"),
    ] {
        assert_eq!(address(text).unwrap().to_string(), expected);
    }
    for text in [":7070", "7070"] {
        let problem = address(text).unwrap_err();
        assert_eq!(
            problem.message,
            format!("`{text}` does not say which interface")
        );
        assert_eq!(
            problem.fix,
            "write 127.0.0.1:7070 for this machine only, 0.0.0.0:7070 for all"
        );
    }
    for text in [
        "db:7070",
        "127.0.0.1",
        "127.0.0.1:70700",
        "localhost",
        "::1:80x",
        ":",
        "http://127.0.0.1:1",
    ] {
        let problem = address(text).unwrap_err();
        assert_eq!(
            problem.message,
            format!("`{text}` is no IP address with a port")
        );
    }
}

#[test]
fn log_filters_are_checked_and_levels_not_misspelt() {
    for good in [
        "info",
        "WARN",
        "off",
        "longshore=debug",
        "info,longshore::relay=trace,sqlx=off",
        "my_crate",
    ] {
        assert_eq!(log_filter(good), Ok(good.to_owned()));
    }
    for (bad, fix) in [
        ("inof", "did you mean `info`?"),
        ("warn,debgu", "did you mean `debug`?"),
    ] {
        assert_eq!(log_filter(bad).unwrap_err().fix, fix);
    }
    assert_eq!(
        log_filter(" info , longshore=debug,,"),
        Ok("info,longshore=debug".to_owned())
    );
    assert!(log_filter(",").is_err());
    // As it is given, `EnvFilter` panics over this one.
    assert_eq!(log_filter("A,\ta\u{a1}="), Ok("A,a\u{a1}=".to_owned()));
    assert!(log_filter("longshore=loud").is_err());
    assert!(log_filter("a=b=c").is_err());
}

#[test]
fn every_error_comes_at_once() {
    let args = SettingsArgs {
        database_url: Some("mysql://user:hunter2@db/x".into()),
        amqp_url: Some("amqp://a,http://user:hunter2@b".into()),
        queues: some("anything"),
        listen: some("nowhere"),
        health_listen: some("7071"),
        shutdown_deadline: some("25"),
        data_dir: some("/nonexistent"),
        admin_key: Some("hunter2 hunter2".into()),
        smtp_url: Some("imap://user:hunter2@mail".into()),
        mail_from: some("nobody"),
        mail_templates: some("nowhere"),
        stripe_api_key: Some("pk_hunter2".into()),
        stripe_api_base: some("api.stripe.com"),
        log: some("trase"),
        log_format: some("jsn"),
    };
    let found = args.validate(Need::Worker).unwrap_err();
    let keys: Vec<&str> = found.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "DATABASE_URL",
            "AMQP_URL",
            "LONGSHORE_LISTEN",
            "LONGSHORE_HEALTH_LISTEN",
            "LONGSHORE_SHUTDOWN_DEADLINE",
            "LONGSHORE_ADMIN_KEY",
            "LONGSHORE_LOG",
            "LONGSHORE_LOG_FORMAT",
            "SMTP_URL",
            "MAIL_FROM",
            "STRIPE_API_KEY",
            "STRIPE_API_BASE",
        ]
    );
    assert_eq!(
        errors(&args, Need::Worker)[0],
        "DATABASE_URL: must start with postgres:// or sqlite:// — e.g. \
         postgres://user:password@localhost/longshore"
    );
    assert!(!format!("{found:?}{:?}", errors(&args, Need::Worker)).contains("hunter2"));
}

#[test]
fn a_drain_takes_some_time_but_not_for_ever() {
    for bad in ["0s", "25", "2h", "soon"] {
        assert!(shutdown_deadline(bad).is_err(), "{bad}");
    }
    assert_eq!(shutdown_deadline("1h"), Ok(Duration::from_secs(3_600)));
}

#[test]
fn nothing_that_holds_a_secret_shows_it() {
    let args = SettingsArgs {
        admin_key: Some("hunter2".repeat(5).into()),
        smtp_url: Some("smtp://user:hunter2@mail".into()),
        stripe_api_key: Some("sk_hunter2".into()),
        ..services()
    };
    let settings = worker(&args);
    let shown = format!(
        "{args:?} {settings:?} {:#?} {} {}",
        settings.worker,
        settings.database().unwrap(),
        settings.broker().unwrap(),
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("postgres://db:5432/longshore"), "{shown}");
    assert_eq!(
        settings.worker.stripe_api_key.unwrap().expose(),
        "sk_hunter2"
    );
}
