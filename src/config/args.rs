use super::secret::Secret;

/// The settings as they were given, by flag or environment variable; flags win.
///
/// Flatten it into a command, and turn it into [`Settings`](super::Settings) with
/// [`SettingsArgs::validate`](super::SettingsArgs::validate). The flags are global: they may
/// stand before or after a subcommand.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// Where jobs are stored: postgres://user:password@host/database. `dev` may use
    /// sqlite://file, and does unless this is set (dev: longshore.db in the data folder)
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub database_url: Option<Secret>,

    /// RabbitMQ: one or more amqp:// or amqps:// URLs, comma-separated
    /// (dev: embedded, no server needed)
    #[arg(
        long,
        env = "AMQP_URL",
        hide_env_values = true,
        value_name = "URLS",
        global = true
    )]
    pub amqp_url: Option<Secret>,

    /// The queue file (default: queues.toml if it exists, else the built-in copy)
    #[arg(
        long,
        env = "LONGSHORE_QUEUES",
        hide_env_values = true,
        value_name = "FILE",
        global = true
    )]
    pub queues: Option<String>,

    /// Address of the HTTP API and the dashboard (default: 127.0.0.1:7070)
    #[arg(
        long,
        env = "LONGSHORE_LISTEN",
        hide_env_values = true,
        value_name = "IP:PORT",
        global = true
    )]
    pub listen: Option<String>,

    /// Address of a worker's health and metrics (default: 127.0.0.1:7071, or a free port if
    /// that one is taken)
    #[arg(
        long,
        env = "LONGSHORE_HEALTH_LISTEN",
        hide_env_values = true,
        value_name = "IP:PORT",
        global = true
    )]
    pub health_listen: Option<String>,

    /// How long a process that is told to stop may finish its work (default: 25s)
    #[arg(
        long,
        env = "LONGSHORE_SHUTDOWN_DEADLINE",
        hide_env_values = true,
        value_name = "DURATION",
        global = true
    )]
    pub shutdown_deadline: Option<String>,

    /// The data folder: the embedded database and mail of `dev` (default: .longshore)
    #[arg(
        long,
        env = "LONGSHORE_DATA_DIR",
        hide_env_values = true,
        value_name = "FOLDER",
        global = true
    )]
    pub data_dir: Option<String>,

    /// An API key with all scopes, for the first start; 32 characters or more, as
    /// `openssl rand -hex 32` prints (default: none)
    #[arg(
        long,
        env = "LONGSHORE_ADMIN_KEY",
        hide_env_values = true,
        value_name = "KEY",
        global = true
    )]
    pub admin_key: Option<Secret>,

    /// The mail server: smtp(s)://user:password@host:port?tls=none|opportunistic|required, or
    /// file://folder (dev: the folder `mail` in the data folder)
    #[arg(
        long,
        env = "SMTP_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub smtp_url: Option<Secret>,

    /// Sender of mail that names none (default: longshore@localhost)
    #[arg(
        long,
        env = "MAIL_FROM",
        hide_env_values = true,
        value_name = "ADDRESS",
        global = true
    )]
    pub mail_from: Option<String>,

    /// Folder of mail templates: NAME.subject, NAME.txt, NAME.html (default: none). The intake
    /// checks mails with them, the email workers fill them in
    #[arg(
        long,
        env = "MAIL_TEMPLATES",
        hide_env_values = true,
        value_name = "FOLDER",
        global = true
    )]
    pub mail_templates: Option<String>,

    /// Key of the payment gateway; `sandbox` is the built-in one (dev: sandbox)
    #[arg(
        long,
        env = "STRIPE_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        global = true
    )]
    pub stripe_api_key: Option<Secret>,

    /// Address of the payment gateway (default: Stripe's)
    #[arg(
        long,
        env = "STRIPE_API_BASE",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub stripe_api_base: Option<String>,

    /// What is logged: a level or a tracing filter, such as info,longshore=debug
    /// (default: info)
    #[arg(
        long,
        env = "LONGSHORE_LOG",
        hide_env_values = true,
        value_name = "FILTER",
        global = true
    )]
    pub log: Option<String>,

    /// How it is logged: text or json (default: text on a terminal, else json)
    #[arg(
        long,
        env = "LONGSHORE_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT",
        global = true
    )]
    pub log_format: Option<String>,
}

impl SettingsArgs {
    /// What was given, as variables for another process of this program.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let hidden = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_owned());
        let given = [
            ("DATABASE_URL", hidden(&self.database_url)),
            ("AMQP_URL", hidden(&self.amqp_url)),
            ("LONGSHORE_QUEUES", self.queues.clone()),
            ("LONGSHORE_LISTEN", self.listen.clone()),
            ("LONGSHORE_HEALTH_LISTEN", self.health_listen.clone()),
            (
                "LONGSHORE_SHUTDOWN_DEADLINE",
                self.shutdown_deadline.clone(),
            ),
            ("LONGSHORE_DATA_DIR", self.data_dir.clone()),
            ("LONGSHORE_ADMIN_KEY", hidden(&self.admin_key)),
            ("SMTP_URL", hidden(&self.smtp_url)),
            ("MAIL_FROM", self.mail_from.clone()),
            ("MAIL_TEMPLATES", self.mail_templates.clone()),
            ("STRIPE_API_KEY", hidden(&self.stripe_api_key)),
            ("STRIPE_API_BASE", self.stripe_api_base.clone()),
            ("LONGSHORE_LOG", self.log.clone()),
            ("LONGSHORE_LOG_FORMAT", self.log_format.clone()),
        ];
        given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use clap::{CommandFactory, Parser, Subcommand};

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(subcommand)]
        command: Option<Process>,
    }

    #[derive(Debug, Subcommand)]
    enum Process {
        Work { queues: Vec<String> },
    }

    const VARIABLES: [&str; 15] = [
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
        "MAIL_TEMPLATES",
        "STRIPE_API_KEY",
        "STRIPE_API_BASE",
        "LONGSHORE_LOG",
        "LONGSHORE_LOG_FORMAT",
    ];

    #[test]
    fn the_command_is_well_formed() {
        Program::command().debug_assert();
    }

    #[test]
    fn every_variable_has_its_flag_and_stands_in_the_help() {
        let help = Program::command().render_long_help().to_string();
        for variable in VARIABLES {
            let name = variable.strip_prefix("LONGSHORE_").unwrap_or(variable);
            let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
            assert!(
                help.contains(&format!("[env: {variable}]")),
                "{variable} in {help}"
            );
            assert!(help.contains(&format!("{flag} <")), "{flag} in {help}");
        }
        assert!(help.contains("\nSettings:\n"), "{help}");
        assert_eq!(help.matches("[env: ").count(), VARIABLES.len(), "{help}");
    }

    /// A variable that is missing here would not reach the processes that measure.
    #[test]
    fn every_variable_is_handed_on() {
        let given = SettingsArgs {
            database_url: Some(Secret::new("x")),
            amqp_url: Some(Secret::new("x")),
            queues: Some("x".to_owned()),
            listen: Some("x".to_owned()),
            health_listen: Some("x".to_owned()),
            shutdown_deadline: Some("x".to_owned()),
            data_dir: Some("x".to_owned()),
            admin_key: Some(Secret::new("x")),
            smtp_url: Some(Secret::new("x")),
            mail_from: Some("x".to_owned()),
            mail_templates: Some("x".to_owned()),
            stripe_api_key: Some(Secret::new("x")),
            stripe_api_base: Some("x".to_owned()),
            log: Some("x".to_owned()),
            log_format: Some("x".to_owned()),
        };
        let names: Vec<&str> = given.environment().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, VARIABLES);
        assert!(SettingsArgs::default().environment().is_empty());
    }

    const CHILD: &str = "CHILD_ARGUMENTS";

    /// What a process with this environment and these arguments reads for `listen` and
    /// `data_dir`. The environment of a running test cannot be changed safely, so the test
    /// binary runs itself.
    fn read(environment: &[(&str, &str)], arguments: &str) -> String {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "config::args::tests::flags_beat_the_environment",
            ])
            .env_clear()
            .env(CHILD, arguments)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, rest) = text.split_once("<<").expect(&text);
        rest.split_once(">>").expect(&text).0.to_owned()
    }

    #[test]
    fn flags_beat_the_environment() {
        if let Ok(arguments) = std::env::var(CHILD) {
            let arguments = std::iter::once("longshore").chain(arguments.split_whitespace());
            let program = Program::try_parse_from(arguments).unwrap();
            let given = program.settings;
            print!(
                "<<{:?} {:?} {:?}>>",
                given.listen, given.data_dir, given.database_url
            );
            if let Some(Process::Work { queues }) = program.command {
                assert_eq!(queues, ["email"]);
            }
            return;
        }
        let environment = [("LONGSHORE_LISTEN", "env:1"), ("DATABASE_URL", "hunter2")];
        assert_eq!(read(&[], ""), "None None None");
        assert_eq!(
            read(&environment, ""),
            "Some(\"env:1\") None Some(Secret(***))"
        );
        for arguments in [
            "--listen flag:1 --data-dir d",
            "--listen flag:1 --data-dir d work email",
            "work email --listen flag:1 --data-dir d",
            "--listen flag:1 work email --data-dir d",
        ] {
            assert_eq!(
                read(&environment, arguments),
                "Some(\"flag:1\") Some(\"d\") Some(Secret(***))",
                "{arguments}"
            );
        }
    }
}
