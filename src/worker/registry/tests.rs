use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::job::Done;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Ring {
    bell: String,
}

impl Job for Ring {
    const KIND: &'static str = "bell.ring";
    type Context = ();

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        match self.bell.is_empty() {
            true => Err(vec![Invalid::new("/bell", "empty")]),
            false => Ok(()),
        }
    }

    /// Only the bell of the settings may be rung.
    fn door(settings: &WorkerSettings) -> Result<Door<Self>, Vec<SettingError>> {
        let bell = settings.mail_from.clone();
        if bell.is_empty() {
            return Err(vec![SettingError::new(
                "MAIL_FROM",
                "is no bell",
                "name one",
            )]);
        }
        Ok(Door::checking(move |ring: &Self| {
            let known = ring.bell == bell;
            let wrong = || vec![Invalid::new("/bell", format!("the bell is {bell}"))];
            if known { Ok(()) } else { Err(wrong()) }
        }))
    }

    async fn run(self, (): &(), _: &Attempt) -> JobResult {
        Ok(Done)
    }
}

fn settings(bell: &str) -> WorkerSettings {
    WorkerSettings {
        smtp_url: None,
        mail_from: bell.to_owned(),
        mail_templates: None,
        stripe_api_key: None,
        stripe_api_base: None,
        data_dir: ".".into(),
        dev: false,
    }
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry
        .add::<Ring, _>("bells", |_| Ok(Arc::new(())))
        .unwrap();
    registry
}

fn wrong(answer: Result<(), Vec<Invalid>>) -> Vec<String> {
    let wrong = answer.err().unwrap_or_default();
    wrong.iter().map(ToString::to_string).collect()
}

#[test]
fn a_door_is_made_of_the_settings_and_adds_to_what_the_type_checks() {
    let mut registry = registry();
    let check = |registry: &Registry, payload: &str| {
        wrong(registry.get("bell.ring").unwrap().check(payload.as_bytes()))
    };
    assert_eq!(check(&registry, r#"{"bell": "c"}"#), [""; 0]);
    registry.open_doors(&settings("b")).unwrap();
    assert_eq!(check(&registry, r#"{"bell": "b"}"#), [""; 0]);
    assert_eq!(
        check(&registry, r#"{"bell": "c"}"#),
        ["/bell: the bell is b"]
    );
    assert_eq!(
        check(&registry, r#"{"bell": ""}"#),
        ["/bell: empty", "/bell: the bell is b"]
    );
    let errors = registry.open_doors(&settings("")).unwrap_err();
    assert_eq!(errors[0].key, "MAIL_FROM");
}

#[tokio::test]
async fn a_worker_checks_with_the_door_what_it_adopts() {
    let registry = registry();
    let mut queues = Queues::built_in();
    let config = crate::config::QueueConfig::new(vec!["bell.ring".parse().unwrap()]);
    queues.insert("bells".parse().unwrap(), config);
    let names = ["bells".parse().unwrap()];
    let handlers = registry.handlers(&queues, &names, &settings("b")).unwrap();
    let handler = handlers.get(&"bell.ring".parse().unwrap()).unwrap();
    assert_eq!(
        wrong(handler.check(br#"{"bell": "c"}"#)),
        ["/bell: the bell is b"]
    );
    let errors = registry.handlers(&queues, &names, &settings(""));
    assert_eq!(errors.unwrap_err().len(), 1);
}
