//! Nothing outlives the test process, however that ends.
//!
//! `Drop` does not run when a test process is interrupted or killed. So one small shell per
//! test process reads the pids of what runs from a pipe; when the pipe closes, because the
//! test process is gone, it kills what is left. It has a process group of its own, so a Ctrl-C
//! on the terminal does not end it first.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

// Its children, looked up first, die with it: PostgreSQL's backends have left its group and,
// frozen, do not notice that it is gone. The third field of `stat`, after the name in
// parentheses, is the parent.
const SCRIPT: &str = r#"
live=" "
while read -r op pid; do
    case $op in
        +) live=" $pid$live" ;; # the last one first: a node before its port mapper
        -) live="${live%% "$pid" *} ${live#* "$pid" }" ;;
    esac
done
for pid in $live; do
    kill -s STOP "$pid"
    children=
    for stat in /proc/[0-9]*/stat; do
        read -r line <"$stat" || continue
        set -- ${line##*) }
        [ "$2" != "$pid" ] || children="$children ${line%% *}"
    done
    kill -s KILL -- "-$pid"
    for each in $pid $children; do kill -s KILL "$each"; done
done
"#;

/// Watches the leader of a process group.
pub fn watch(pid: u32) {
    tell('+', pid);
}

/// It was reaped: its number may soon belong to somebody else.
pub fn forget(pid: u32) {
    tell('-', pid);
}

fn tell(op: char, pid: u32) {
    static WATCHDOG: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = WATCHDOG.get_or_init(|| Mutex::new(start()));
    writeln!(pipe.lock().expect("watchdog"), "{op} {pid}").expect("the watchdog reads");
}

fn start() -> ChildStdin {
    Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("sh")
        .stdin
        .expect("piped")
}
