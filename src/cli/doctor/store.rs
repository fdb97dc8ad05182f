use super::Findings;
use crate::store::Condition;

/// A machine's clock may be this far from the database's before people are misled, in seconds.
const SKEW: f64 = 5.0;
/// Free bytes below which a disk counts as nearly full.
const NEARLY_FULL: u64 = 512 * 1024 * 1024;

pub(super) fn examine(condition: &Condition, findings: &mut Findings) {
    if let Some(version) = &condition.too_old {
        let detail = format!("{version} is too old");
        findings.problem("store", detail, "update PostgreSQL: 15 or newer is needed");
    }
    if let Some(why) = &condition.read_only {
        let fix = "point DATABASE_URL at a server and role that write; a file and its folder must be this user's";
        findings.problem("store", format!("nothing can be written: {why}"), fix);
    }
    if let Some(why) = &condition.cannot_work {
        let fix = "connect as the role that ran `longshore migrate`, or make this one a member of \
                   it (GRANT … TO …)";
        findings.problem("store", why.clone(), fix);
    } else if let Some(why) = &condition.cannot_create {
        let fix = "run `longshore migrate` as a role that may: the owner of the database, or \
                   GRANT CREATE ON DATABASE … TO …";
        findings.warning("store", why.clone(), fix);
    }
    if let Some(room) = condition.connections {
        let free = room.most.saturating_sub(room.taken);
        if room.most < room.needed {
            let detail = format!(
                "at most {} connections, but one process opens up to {}",
                room.most, room.needed
            );
            let fix = "raise max_connections, or the CONNECTION LIMIT of role or database";
            findings.problem("connections", detail, fix);
        } else if free < room.needed {
            let detail = format!(
                "{} of {} are taken; another process wants up to {}",
                room.taken, room.most, room.needed
            );
            let fix = "raise max_connections, or put PgBouncer in transaction mode in front";
            findings.warning("connections", detail, fix);
        } else {
            findings.ok(
                "connections",
                format!("{} of {} are taken", room.taken, room.most),
            );
        }
    }
    if condition.clock_ahead.abs() > SKEW {
        let (seconds, way) = match condition.clock_ahead {
            ahead if ahead > 0.0 => (ahead, "ahead of"),
            behind => (-behind, "behind"),
        };
        let detail = format!("the database's is {seconds:.0} s {way} this machine's");
        let fix = "keep both by NTP; jobs run by the database's clock alone";
        findings.warning("clock", detail, fix);
    }
    if let Some(free) = condition.free_bytes {
        let megabytes = free / (1024 * 1024);
        if free < NEARLY_FULL {
            let detail = format!("{megabytes} MiB are free where the database file is");
            findings.problem("disk", detail, "make room, or move LONGSHORE_DATA_DIR");
        } else {
            findings.ok("disk", format!("{megabytes} MiB free"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Room;

    fn told(condition: &Condition) -> Vec<(&'static str, &'static str)> {
        let mut findings = Findings::default();
        examine(condition, &mut findings);
        let each = findings.0.iter();
        each.map(|finding| (finding.check, finding.status))
            .collect()
    }

    #[test]
    fn each_condition_has_its_finding() {
        let room = |most, taken| Condition {
            connections: Some(Room {
                most,
                taken,
                needed: 18,
            }),
            ..Condition::default()
        };
        assert_eq!(told(&room(100, 20)), [("connections", "ok")]);
        assert_eq!(told(&room(100, 90)), [("connections", "warning")]);
        assert_eq!(told(&room(10, 0)), [("connections", "problem")]);
        for ahead in [-9.0, 9.0] {
            let condition = Condition {
                clock_ahead: ahead,
                ..Condition::default()
            };
            assert_eq!(told(&condition), [("clock", "warning")]);
        }
        let full = Condition {
            free_bytes: Some(1000),
            ..Condition::default()
        };
        assert_eq!(told(&full), [("disk", "problem")]);
        let old = Condition {
            too_old: Some("version 13".to_owned()),
            ..Condition::default()
        };
        assert_eq!(told(&old), [("store", "problem")]);
        assert!(told(&Condition::default()).is_empty());
    }
}
