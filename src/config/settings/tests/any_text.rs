use proptest::prelude::*;

use super::*;

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
