use super::Findings;
use crate::broker::{BrokerError, NodeStatus, ObjectStatus};
use crate::cli::open;
use crate::config::{Queues, Settings};

/// The oldest RabbitMQ whose quorum queues do all that is asked of them.
const OLDEST: (u32, u32) = (3, 10);

const MISSING: &str = "missing";

pub(super) async fn examine(settings: &Settings, queues: &Queues, findings: &mut Findings) {
    let broker = match open::reachable_broker(settings, queues) {
        Ok(Some(broker)) => broker,
        Ok(None) => return findings.ok("broker", "embedded"),
        Err(error) => return findings.problem("broker", error.text(), "set AMQP_URL"),
    };
    examine_nodes(&broker.nodes().await, findings);
    // Listing the objects takes a login; the version alone does not.
    match broker.version().await {
        Ok(version) if is_too_old(&version) => {
            let (major, minor) = OLDEST;
            let fix = format!("update it: RabbitMQ {major}.{minor} or newer is needed");
            findings.problem("broker", format!("{version} is too old"), &fix);
        }
        Ok(version) => findings.ok("broker", version),
        Err(error) => findings.problem("broker", error.to_string(), error.fix()),
    }
    match broker.topology().await {
        Ok(objects) => {
            examine_objects(&objects, findings);
            // Without it there is no way for a message, which is said.
            let no_exchange = |o: &ObjectStatus| o.object == "exchange" && o.status == MISSING;
            if !objects.iter().any(no_exchange) {
                match broker.round_trip().await {
                    Ok(()) => findings.ok("publishing", "a message of its own went there and back"),
                    Err(error) => findings.problem("publishing", error.to_string(), error.fix()),
                }
            }
        }
        // Said above, where it is the same.
        Err(error @ BrokerError::Unavailable(_)) if findings.has_problem("broker") => drop(error),
        Err(error) => findings.problem("broker", error.to_string(), error.fix()),
    }
    broker.close().await;
}

/// With several URLs a node that is down is not noticed otherwise: the others do its work, as
/// long as there is a majority. That none answers is said of the broker as a whole.
fn examine_nodes(nodes: &[NodeStatus], findings: &mut Findings) {
    let silent = nodes.iter().filter(|node| node.version.is_err()).count();
    if silent == nodes.len() {
        return;
    }
    for node in nodes {
        if let Err(reason) = &node.version {
            let detail = format!("{} does not answer: {reason}", node.address);
            let fix = "start that node, or correct AMQP_URL";
            findings.warning("broker", detail, fix);
        }
    }
    if silent * 2 > nodes.len() {
        let detail = format!(
            "{silent} of {} nodes are down: queues stand still",
            nodes.len()
        );
        let fix = "start most of the nodes that hold the queues (`rabbitmq-queues quorum_status \
                   QUEUE` names them); jobs are safe in the store meanwhile";
        findings.problem("broker", detail, fix);
    }
}

fn is_too_old(version: &str) -> bool {
    let Some(numbers) = version.strip_prefix("RabbitMQ ") else {
        return false;
    };
    let mut parts = numbers.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < OLDEST,
        _ => false,
    }
}

fn examine_objects(objects: &[ObjectStatus], findings: &mut Findings) {
    let mut missing = Vec::new();
    for object in objects.iter().filter(|object| object.status != "declared") {
        let name = format!("{} {}", object.object, object.name);
        if object.status == MISSING {
            missing.push(name);
            continue;
        }
        let detail = match &object.detail {
            Some(detail) => format!("{name}: {} ({detail})", object.status),
            None => format!("{name}: {}", object.status),
        };
        let fix = "drain and delete it, then longshore topology --apply; the store fills it again";
        findings.problem("topology", detail, fix);
    }
    let all = objects.len();
    if !missing.is_empty() {
        let detail = match missing.len() {
            none if none == all => format!("all {all} objects are missing"),
            some => format!("{some} of {all} objects missing: {}", missing.join(", ")),
        };
        let fix = "longshore topology --apply, or start a process";
        findings.warning("topology", detail, fix);
    }
    if objects.iter().all(|object| object.status == "declared") {
        findings.ok("topology", format!("{all} objects declared"));
    }
}

#[cfg(test)]
mod tests {
    use super::is_too_old;

    #[test]
    fn versions_are_numbers() {
        for old in ["RabbitMQ 3.9.29", "RabbitMQ 2.8.1", "RabbitMQ 3.8"] {
            assert!(is_too_old(old), "{old}");
        }
        for new in [
            "RabbitMQ 3.10.8",
            "RabbitMQ 4.1.0",
            "RabbitMQ 3.13.7-rc",
            "LavinMQ 2.0",
        ] {
            assert!(!is_too_old(new), "{new}");
        }
    }
}
