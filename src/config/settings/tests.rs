use proptest::prelude::*;

use super::*;

const POSTGRES: &str = "postgres://user:hunter2@db:5432/longshore";
const RABBIT: &str = "amqp://user:hunter2@rabbit:5672";

/// Nothing set, and a data folder that nothing has used.
fn nothing() -> SettingsArgs {
    SettingsArgs {
        data_dir: Some("/nonexistent/longshore-test".to_owned()),
        ..SettingsArgs::default()
    }
}

fn services() -> SettingsArgs {
    SettingsArgs {
        database_url: Some(POSTGRES.into()),
        amqp_url: Some(RABBIT.into()),
        ..nothing()
    }
}

fn worker(args: &SettingsArgs) -> Settings {
    args.validate(Need::Worker).unwrap()
}

fn errors(args: &SettingsArgs, need: Need) -> Vec<String> {
    let errors = args.validate(need).unwrap_err();
    errors.iter().map(SettingError::to_string).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn dev_needs_nothing() {
    let settings = SettingsArgs::default().validate(Need::Dev).unwrap();
    let database = DatabaseUrl::Sqlite(".longshore/longshore.db".into());
    assert_eq!(settings.database(), Ok(&database));
    assert_eq!(settings.broker(), Ok(&BrokerUrl::Embedded));
    assert_eq!(settings.queues, None);
    assert_eq!(settings.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(DEFAULT_HEALTH_LISTEN.to_string(), "127.0.0.1:7071");
    assert_eq!(settings.health_listen, None);
    assert_eq!(settings.shutdown_deadline, Duration::from_secs(25));
    assert_eq!(settings.data_dir, Path::new(".longshore"));
    assert_eq!(settings.admin_key, None);
    assert_eq!((settings.log.as_str(), settings.log_format), ("info", None));
    let jobs = settings.worker;
    assert_eq!(jobs.smtp_url, Some("file://.longshore/mail".into()));
    assert_eq!(jobs.mail_from, "longshore@localhost");
    assert_eq!(jobs.mail_templates, None);
    assert_eq!(jobs.stripe_api_key, Some("sandbox".into()));
    assert_eq!(jobs.stripe_api_base, None);
    assert_eq!(jobs.data_dir, Path::new(".longshore"));
    assert!(jobs.dev);
}

#[test]
fn dev_embeds_only_what_is_not_set() {
    let store = SettingsArgs {
        amqp_url: None,
        ..services()
    };
    let settings = store.validate(Need::Dev).unwrap();
    assert_eq!(
        settings.database(),
        Ok(&DatabaseUrl::Postgres(POSTGRES.into()))
    );
    assert_eq!(settings.broker(), Ok(&BrokerUrl::Embedded));

    let broker = SettingsArgs {
        database_url: None,
        ..services()
    };
    let settings = broker.validate(Need::Dev).unwrap();
    assert!(matches!(settings.database(), Ok(DatabaseUrl::Sqlite(_))));
    assert!(matches!(settings.broker(), Ok(BrokerUrl::Amqp(_))));

    let file = SettingsArgs {
        database_url: Some("sqlite://my.db".into()),
        ..nothing()
    };
    let settings = file.validate(Need::Dev).unwrap();
    assert_eq!(
        settings.database(),
        Ok(&DatabaseUrl::Sqlite("my.db".into()))
    );
}

#[test]
fn what_is_given_beats_the_defaults() {
    let args = SettingsArgs {
        queues: some("q.toml"),
        listen: some("[::1]:80"),
        health_listen: some("0.0.0.0:0"),
        shutdown_deadline: some("1m30s"),
        admin_key: Some("x".repeat(32).into()),
        smtp_url: Some("smtp://mail:25".into()),
        mail_from: some("Shop <shop@example.com>"),
        stripe_api_key: Some("sk_1".into()),
        stripe_api_base: some("http://127.0.0.1:1/"),
        log: some("info,longshore::relay=debug"),
        log_format: some("JSON"),
        ..services()
    };
    for need in [Need::Dev, Need::Worker] {
        let settings = args.validate(need).unwrap();
        assert_eq!(
            settings.database(),
            Ok(&DatabaseUrl::Postgres(POSTGRES.into()))
        );
        assert_eq!(settings.broker().unwrap().to_string(), "amqp://rabbit:5672");
        assert_eq!(settings.queues, Some("q.toml".into()));
        assert_eq!(settings.listen.to_string(), "[::1]:80");
        assert_eq!(settings.health_listen, "0.0.0.0:0".parse().ok());
        assert_eq!(settings.shutdown_deadline, Duration::from_secs(90));
        assert_eq!(settings.data_dir, Path::new("/nonexistent/longshore-test"));
        assert_eq!(settings.admin_key, Some("x".repeat(32).into()));
        assert_eq!(settings.log, "info,longshore::relay=debug");
        assert_eq!(settings.log_format, Some(LogFormat::Json));
        let jobs = &settings.worker;
        assert_eq!(jobs.smtp_url, Some("smtp://mail:25".into()));
        assert_eq!(jobs.mail_from, "Shop <shop@example.com>");
        assert_eq!(jobs.stripe_api_key, Some("sk_1".into()));
        assert_eq!(jobs.stripe_api_base, some("http://127.0.0.1:1"));
        assert_eq!(jobs.dev, need == Need::Dev);
    }
}

#[test]
fn a_worker_gets_no_dev_defaults() {
    let jobs = worker(&services()).worker;
    assert_eq!(
        (jobs.smtp_url, jobs.stripe_api_key, jobs.dev),
        (None, None, false)
    );
    assert_eq!(jobs.mail_from, "longshore@localhost");
}

#[test]
fn blank_is_not_given_and_white_space_around_is_dropped() {
    let blank = SettingsArgs {
        database_url: Some("".into()),
        amqp_url: Some(" ".into()),
        queues: some(""),
        listen: some(""),
        health_listen: some(" \n"),
        shutdown_deadline: some(""),
        data_dir: some(""),
        admin_key: Some("".into()),
        smtp_url: Some("".into()),
        mail_from: some(""),
        mail_templates: some(""),
        stripe_api_key: Some("".into()),
        stripe_api_base: some(""),
        log: some(""),
        log_format: some(""),
    };
    assert_eq!(
        blank.validate(Need::Dev),
        SettingsArgs::default().validate(Need::Dev)
    );
    let padded = SettingsArgs {
        database_url: Some(format!("{POSTGRES}\n").into()),
        amqp_url: Some(format!(" {RABBIT} ").into()),
        ..nothing()
    };
    assert_eq!(worker(&padded), worker(&services()));
}

#[test]
fn processes_need_postgres_and_rabbitmq() {
    for need in [Need::Intake, Need::Worker] {
        assert_eq!(
            errors(&nothing(), need),
            [
                "DATABASE_URL: is not set — set it to a PostgreSQL URL, e.g. \
                 postgres://user:password@localhost/longshore, or start `longshore dev`, which \
                 needs none",
                "AMQP_URL: is not set — set it to RabbitMQ's URL, e.g. \
                 amqp://guest:guest@localhost:5672",
            ]
        );
        let sqlite = SettingsArgs {
            database_url: Some("sqlite://my.db".into()),
            ..services()
        };
        assert_eq!(
            errors(&sqlite, need),
            [
                "DATABASE_URL: is SQLite, which serves a single process: `longshore dev` — set it \
                 to a PostgreSQL URL, e.g. postgres://user:password@localhost/longshore, or start \
                 `longshore dev`",
            ]
        );
    }
}

#[test]
fn operators_use_what_is_set() {
    let settings = services().validate(Need::Operator).unwrap();
    assert_eq!(
        settings.database(),
        Ok(&DatabaseUrl::Postgres(POSTGRES.into()))
    );
    assert!(settings.broker().is_ok());

    let store = SettingsArgs {
        amqp_url: None,
        ..services()
    };
    let settings = store.validate(Need::Operator).unwrap();
    assert_eq!(settings.broker().unwrap_err().message, "is not set");
}

#[test]
fn operators_find_the_data_of_dev() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().to_str().unwrap();
    let args = SettingsArgs {
        data_dir: some(data_dir),
        ..SettingsArgs::default()
    };
    assert_eq!(
        errors(&args, Need::Operator),
        [format!(
            "DATABASE_URL: is not set, and {data_dir} holds no data of `longshore dev` — set it, \
             e.g. postgres://user:password@localhost/longshore, or start `longshore dev`"
        )]
    );
    let file = folder.path().join("longshore.db");
    let named = SettingsArgs {
        database_url: Some(format!("sqlite://{}", file.display()).into()),
        ..nothing()
    };
    assert_eq!(
        errors(&named, Need::Operator),
        [format!(
            "DATABASE_URL: there is no database file {} — correct the path, or start `longshore \
             dev`, which creates it",
            file.display()
        )]
    );

    std::fs::write(&file, "").unwrap();
    for args in [args, named] {
        let settings = args.validate(Need::Operator).unwrap();
        assert_eq!(settings.database(), Ok(&DatabaseUrl::Sqlite(file.clone())));
        let error = settings.broker().unwrap_err();
        assert!(error.message.contains("inside that process"), "{error}");
        let error = args.validate(Need::Topology).unwrap_err();
        assert!(
            error[0].message.contains("inside that process"),
            "{error:?}"
        );
        assert!(
            args.validate(Need::Worker).is_err(),
            "a worker does not use it"
        );
    }
}

#[test]
fn topology_needs_only_the_broker_and_doctor_nothing() {
    let broker = SettingsArgs {
        database_url: None,
        ..services()
    };
    let settings = broker.validate(Need::Topology).unwrap();
    assert!(settings.broker().is_ok());
    assert_eq!(settings.database().unwrap_err().key, "DATABASE_URL");
    assert_eq!(
        errors(&nothing(), Need::Topology),
        ["AMQP_URL: is not set — set it to RabbitMQ's URL, e.g. amqp://guest:guest@localhost:5672"]
    );
    let settings = nothing().validate(Need::Doctor).unwrap();
    assert!(settings.database().is_err() && settings.broker().is_err());
}

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

/// A secret in every place where people get it wrong: `{}` stands for it.
fn broken() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}"),
        Just("{}://x"),
        Just("postgres://u:{}@h:port/db"),
        Just("postgres://u:1/{}@h/db"),
        Just("postgres://u:{}#x@h/db"),
        Just("postgres://h/db?password={}"),
        Just("postgres://u:{}@h/a/b"),
        Just("amqp://u:{}@[::1]"),
        Just("amqp://u:{}@h:x"),
        Just("amqp://h,amqp://u:{}@"),
        Just("amqp://u:{}@h?heartbeat={}"),
        Just("amqp://u:{} @h"),
        Just("smtp://u:{}@h?tls={}"),
        Just("smtp://u:{}@h/{}"),
        Just("smtps://u:{}@h?tls=none"),
        Just("smtps://u:{}@h?{}=1"),
        Just("https://u:{}@h"),
        Just("pk_{}"),
        Just("{} {}"),
        Just("sqlite://?{}"),
    ]
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn no_error_quotes_a_secret(shape in broken(), secret in "[a-z]{4}[0-9]{4}", need in 0usize..6) {
        let value = shape.replace("{}", &secret);
        let args = SettingsArgs {
            database_url: Some(value.as_str().into()),
            amqp_url: Some(value.as_str().into()),
            admin_key: Some(value.as_str().into()),
            smtp_url: Some(value.as_str().into()),
            stripe_api_key: Some(value.as_str().into()),
            stripe_api_base: Some(value),
            ..nothing()
        };
        let needs = [Need::Dev, Need::Intake, Need::Worker, Need::Operator, Need::Topology, Need::Doctor];
        let errors = args.validate(needs[need]).unwrap_err();
        let shown = format!("{errors:?} {}", errors.iter().map(SettingError::to_string).collect::<String>());
        prop_assert!(!shown.contains(&secret), "{shown}");
    }

    #[test]
    fn no_log_filter_panics(filter in "([ \\t]?[-a-zé:_¡ ]{0,4}[=,\\[\\]{}]?){0,8}", junk in "(?s).{0,40}") {
        for text in [filter, junk] {
            // What is accepted must also be taken by whoever sets up logging with it.
            if let Ok(filter) = log_filter(&text) {
                prop_assert!(EnvFilter::try_new(filter).is_ok());
            }
        }
    }

    #[test]
    fn no_value_panics(value in "(?s).{0,40}", near in "[a-z]{0,8}:?/{0,3}[-a-z0-9@:/?#%\\[\\].,=]{0,30}") {
        for text in [value, near] {
            let args = SettingsArgs {
                database_url: Some(text.as_str().into()),
                amqp_url: Some(text.as_str().into()),
                queues: Some(text.clone()),
                listen: Some(text.clone()),
                health_listen: Some(text.clone()),
                shutdown_deadline: Some(text.clone()),
                data_dir: None,
                admin_key: Some(text.as_str().into()),
                smtp_url: Some(text.as_str().into()),
                mail_from: Some(text.clone()),
                mail_templates: Some(text.clone()),
                stripe_api_key: Some(text.as_str().into()),
                stripe_api_base: Some(text.clone()),
                log: Some(text.clone()),
                log_format: Some(text),
            };
            let _ = args.validate(Need::Worker).map(|settings| format!("{settings:?}"));
        }
    }
}
