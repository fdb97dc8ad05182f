mod any_text;
mod errors;

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
