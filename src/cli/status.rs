//! `status`: gates, queues and handoffs under way.

use super::client::block_on;
use super::flags::Parsed;
use super::list::{json, services};
use super::table::{millis, or_dash, table};
use super::{Failed, print};
use crate::control::ServiceStatus;

pub(super) fn status(parsed: Parsed) -> Result<(), Failed> {
    let all = block_on(services())?;
    let chosen = choose(all, &parsed.names)?;
    if parsed.bool("json") == Some(true) {
        print(&json(&chosen)?);
        return Ok(());
    }
    let header = ["SERVICE", "STATE", "GATE", "HELD", "WAIT", "IN FLIGHT", "EPOCH", "KEEPER", "TARGET"];
    print(&table(&header, &chosen.iter().map(row).collect::<Vec<_>>()));
    for service in chosen.iter().filter(|service| !service.note.is_empty()) {
        print(&format!("{}: {}\n", service.service, service.note));
    }
    Ok(())
}

/// Those named, in that order; all if none is.
fn choose(all: Vec<ServiceStatus>, names: &[String]) -> Result<Vec<ServiceStatus>, Failed> {
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| all.iter().find(|service| service.service == *name).cloned();
    names.iter().map(|name| find(name).ok_or_else(|| "service not found".into())).collect()
}

fn row(service: &ServiceStatus) -> Vec<String> {
    let gate = match &service.phase {
        Some(phase) => format!("{} ({phase})", gate(service)),
        None => gate(service),
    };
    vec![
        service.service.clone(),
        service.state.clone(),
        gate,
        service.held.to_string(),
        if service.held == 0 { "-".into() } else { millis(service.longest_wait_ms as f64) },
        service.in_flight.to_string(),
        or_dash(service.epoch.map(|epoch| epoch.to_string()).unwrap_or_default()),
        or_dash(service.keeper.clone().unwrap_or_default()),
        service.targets.join(","),
    ]
}

fn gate(service: &ServiceStatus) -> String {
    if service.closed.is_empty() { "open".into() } else { format!("closed: {}", service.closed.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_says_why_and_in_which_phase() {
        let service = ServiceStatus {
            service: "shop".into(),
            state: "paused".into(),
            closed: vec!["handoff".into(), "paused".into()],
            held: 2,
            longest_wait_ms: 1_500,
            phase: Some("drain".into()),
            ..ServiceStatus::default()
        };
        assert_eq!(row(&service)[..5], ["shop", "paused", "closed: handoff, paused (drain)", "2", "1.50s"]);
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert_eq!(choose(Vec::new(), &["x".into()]).unwrap_err().error, "service not found");
    }
}
