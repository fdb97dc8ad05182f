use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::dir::TestDir;
use super::epmd::Epmd;
use super::places;
use super::port::free_port;
use super::process::Tree;
use super::wait::{PATIENCE, until};

/// For a node to start, and for `rabbitmqctl`, which starts another Erlang machine: three at once
/// on two busy cores take minutes.
const ERLANG: Duration = Duration::from_secs(360);

/// A RabbitMQ node of the test's own. It listens on loopback and keeps its port and its data
/// from one start to the next.
#[derive(Debug)]
pub struct Rabbit {
    // Dropped in this order: the node before the port mapper, the folder last.
    node: Option<Tree>,
    epmd: Arc<Epmd>,
    port: u16,
    distribution_port: u16,
    dir: TestDir,
}

impl Rabbit {
    /// Starts one; returns when it speaks AMQP.
    pub async fn start() -> Self {
        let [node] = Self::cluster().await;
        node
    }

    /// Starts so many, which are one cluster; returns when all speak AMQP.
    pub async fn cluster<const N: usize>() -> [Self; N] {
        let epmd = Arc::new(Epmd::start().await);
        let mut nodes = std::array::from_fn(|_| Self {
            node: None,
            epmd: epmd.clone(),
            port: free_port(),
            distribution_port: free_port(),
            dir: TestDir::new("rabbitmq"),
        });
        let names: Vec<String> = nodes.iter().map(Self::name).collect();
        for node in &nodes {
            node.configure(&names);
        }
        futures::future::join_all(nodes.iter_mut().map(Self::boot)).await;
        nodes
    }

    /// What the node is called in its cluster.
    pub fn name(&self) -> String {
        format!("test-{}@localhost", self.port)
    }

    /// The default virtual host, as the default user.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL. Returns when nothing of it is left.
    pub fn kill(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.kill();
        }
    }

    /// Asks it to end, and waits.
    pub async fn stop(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.signal(Signal::SIGTERM);
            node.wait(PATIENCE).await;
        }
    }

    /// Stops it if it runs, and starts it on the same port and data.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.boot().await;
    }

    /// Removes every queue, message, user and setting. Only while it is down.
    pub fn wipe(&self) {
        assert!(self.node.is_none(), "stop or kill it first");
        fs::remove_dir_all(self.dir.join("data")).expect("wipe");
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&mut self) {
        self.running().signal_all(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.running().signal_all(Signal::SIGCONT);
    }

    /// `rabbitmqctl`, for example `&["list_queues", "name", "messages"]`: its output without
    /// headings. Panics when it fails.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let output = tokio::process::Command::new(places::rabbitmq_sbin().join("rabbitmqctl"))
            .arg("--silent")
            .args(arguments)
            .env_clear()
            .envs(self.environment())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(ERLANG, output)
            .await
            .expect("rabbitmqctl answers")
            .expect("rabbitmqctl starts");
        assert!(
            output.status.success(),
            "rabbitmqctl {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A new, empty virtual host: its URL.
    pub async fn vhost(&self) -> String {
        let name = format!("test-{}", uuid::Uuid::now_v7());
        self.ctl(&["add_vhost", &name]).await;
        self.ctl(&["set_permissions", "-p", &name, "guest", ".*", ".*", ".*"])
            .await;
        format!("amqp://guest:guest@127.0.0.1:{}/{name}", self.port)
    }

    /// True when it greets a client within a second.
    pub fn answers(&self) -> bool {
        greets(self.port)
    }

    fn running(&mut self) -> &mut Tree {
        self.node.as_mut().expect("it is down")
    }

    async fn boot(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("node.log"))
            .expect("log");
        let mut command = Command::new(places::rabbitmq_sbin().join("rabbitmq-server"));
        command
            .env_clear()
            .envs(self.environment())
            .stdout(log.try_clone().expect("log"))
            .stderr(log);
        let node = self.node.insert(Tree::spawn(&mut command));
        let (port, log) = (self.port, self.dir.join("node.log"));
        until("RabbitMQ answers", ERLANG, async || {
            assert!(
                node.is_running(),
                "RabbitMQ ended: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            greets(port).then_some(())
        })
        .await;
    }

    /// `cluster`: the names of its nodes.
    fn configure(&self, cluster: &[String]) {
        let mut config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\n\
             disk_free_limit.absolute = 50MB\n\
             log.file.level = info\n",
            self.port
        );
        if cluster.len() > 1 {
            config += "cluster_formation.peer_discovery_backend = classic_config\n";
            for (index, name) in cluster.iter().enumerate() {
                let key = format!("cluster_formation.classic_config.nodes.{}", index + 1);
                config += &format!("{key} = {name}\n");
            }
        }
        fs::write(self.dir.join("rabbitmq.conf"), config).expect("config");
        fs::write(self.dir.join("plugins"), "[].\n").expect("config");
        fs::write(self.dir.join("rabbitmq-env.conf"), "").expect("config");
        let cookie = self.dir.join(".erlang.cookie");
        fs::write(&cookie, &self.epmd.cookie).expect("cookie");
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o600)).expect("cookie");
    }

    /// Everything that keeps this node apart from any other on the machine.
    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let erlang = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}";
        vec![
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("LANG", "C.UTF-8".into()),
            ("HOME", self.dir.path().into()),
            ("ERL_EPMD_PORT", self.epmd.port.to_string().into()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODENAME", self.name().into()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODE_PORT", self.port.to_string().into()),
            (
                "RABBITMQ_DIST_PORT",
                self.distribution_port.to_string().into(),
            ),
            ("RABBITMQ_MNESIA_BASE", self.dir.join("data").into()),
            ("RABBITMQ_LOG_BASE", self.dir.join("log").into()),
            (
                "RABBITMQ_GENERATED_CONFIG_DIR",
                self.dir.join("config").into(),
            ),
            (
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                self.dir.join("plugins").into(),
            ),
            ("RABBITMQ_CONFIG_FILE", self.dir.join("rabbitmq").into()),
            (
                "RABBITMQ_CONF_ENV_FILE",
                self.dir.join("rabbitmq-env.conf").into(),
            ),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang.into()),
            ("RABBITMQ_CTL_ERL_ARGS", erlang.into()),
        ]
    }
}

/// Opens AMQP 0-9-1 on this port and waits, a second at most, for a method frame: the broker's
/// greeting.
fn greets(port: u16) -> bool {
    let second = Duration::from_secs(1);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let greeting = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect_timeout(&address, second)?;
        stream.set_read_timeout(Some(second))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first[0])
    };
    greeting().is_ok_and(|frame_type| frame_type == 1)
}
