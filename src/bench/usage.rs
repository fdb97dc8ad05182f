use std::fs;
use std::time::Duration;

/// Clock ticks a second in `/proc`: 100 on every Linux that is not built otherwise.
const TICKS: u64 = 100;

/// The processes of a server on this machine: one and its children.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree(u32);

impl Tree {
    pub(super) const fn of(pid: u32) -> Self {
        Self(pid)
    }

    /// Whoever listens on this port of this machine, if `host` is this machine and the kernel
    /// lets us look.
    pub(super) fn listening(host: &str, port: u16) -> Option<Self> {
        if !matches!(host, "127.0.0.1" | "localhost" | "::1" | "[::1]") {
            return None;
        }
        let socket = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .find_map(|table| listener(&table, port))?;
        let wanted = format!("socket:[{socket}]");
        processes()
            .filter(|pid| holds(*pid, &wanted))
            .min()
            .map(Self)
    }

    /// Time on a processor since its start, with children that have ended.
    pub(super) fn cpu(self) -> Option<Duration> {
        let own = stat(self.0)?;
        let children = processes().filter_map(stat).filter(|s| s.parent == self.0);
        let ticks = own.ticks + own.reaped + children.map(|s| s.ticks + s.reaped).sum::<u64>();
        Some(Duration::from_millis(ticks * 1000 / TICKS))
    }

    /// Resident memory now and at its highest, in bytes, of the process itself.
    pub(super) fn memory(self) -> Option<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        Some((kib(&status, "VmRSS:")?, kib(&status, "VmHWM:")?))
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
    reaped: u64,
}

/// See proc_pid_stat(5). The second field is a name in parentheses, which may hold anything.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)?,
        reaped: number(13)? + number(14)?,
    })
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn holds(pid: u32, socket: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| target.to_str() == Some(socket))
}

/// The inode of the socket that listens on `port`, from a table of the kernel: the second column
/// is the address with the port in hex, the fourth the state (0A listens), the tenth the inode.
fn listener(table: &str, port: u16) -> Option<String> {
    let port = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let found = columns.get(1)?.ends_with(&port) && *columns.get(3)? == "0A";
        found
            .then(|| columns.get(9).map(|inode| (*inode).to_owned()))
            .flatten()
    })
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_its_port_and_has_used_time_and_memory() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let tree = Tree::listening("127.0.0.1", port).unwrap();
        assert_eq!(tree.0, std::process::id());
        let (now, highest) = tree.memory().unwrap();
        assert!(now > 1_000_000 && highest >= now);
        let before = tree.cpu().unwrap();
        while tree.cpu().unwrap() < before + Duration::from_millis(20) {
            std::hint::black_box((0..100_000u64).sum::<u64>());
        }
        assert!(Tree::listening("db.example.org", port).is_none());
        drop(listener);
        assert!(Tree::listening("127.0.0.1", port).is_none());
    }
}
