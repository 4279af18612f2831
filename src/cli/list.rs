//! `list`: byte for byte as kamal-proxy prints it (contract 1.7).

use serde::{Deserialize, Serialize};

use super::client::{Client, block_on};
use super::flags::Parsed;
use super::{Failed, print};
use crate::control::ServiceStatus;

/// What `GET /v1/services` answers.
#[derive(Serialize, Deserialize)]
struct Services {
    services: Vec<ServiceStatus>,
}

/// All services by name, in byte order.
pub(super) async fn services() -> Result<Vec<ServiceStatus>, Failed> {
    let mut services = Client::new().get::<Services>("/v1/services").await?.services;
    services.sort_by(|a, b| a.service.cmp(&b.service));
    Ok(services)
}

pub(super) fn list(parsed: Parsed) -> Result<(), Failed> {
    let mut services = block_on(services())?;
    // Those whose first deploy is under way are no services yet.
    services.retain(|service| !service.targets.is_empty());
    if parsed.bool("json") == Some(true) {
        print(&json(&services)?);
    } else {
        print(&table(&services));
    }
    Ok(())
}

/// One line of JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<String, Failed> {
    serde_json::to_string(value).map(|json| json + "\n").map_err(|error| error.to_string().into())
}

const HEADER: [&str; 6] = ["Service", "Host", "Path", "Target", "State", "TLS"];

fn table(services: &[ServiceStatus]) -> String {
    let rows: Vec<[String; 6]> = services.iter().map(row).collect();
    let mut widths = HEADER.map(str::len);
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.len().max(*width));
    }
    let mut text = line(HEADER.iter().map(|cell| ("3;94", *cell)), &widths);
    for row in &rows {
        let styles = ["1;34"].into_iter().chain(std::iter::repeat(""));
        text.push_str(&line(styles.zip(row.iter().map(String::as_str)), &widths));
    }
    text
}

fn row(service: &ServiceStatus) -> [String; 6] {
    let hosts = service.hosts.join(",");
    [
        service.service.clone(),
        if hosts.is_empty() { "*".into() } else { hosts },
        service.path_prefixes.join(","),
        service.targets.join(","),
        service.state.clone(),
        if service.tls { "yes".into() } else { "no".into() },
    ]
}

/// Padding counts bytes, and follows the end of the style.
fn line<'a>(cells: impl Iterator<Item = (&'static str, &'a str)>, widths: &[usize]) -> String {
    let cell = |((style, text), width): ((&str, &'a str), &usize)| {
        format!("\x1b[{style}m{text}\x1b[0m{}", " ".repeat(width - text.len() + 2))
    };
    cells.zip(widths).map(cell).collect::<String>() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, hosts: &[&str], targets: &[&str]) -> ServiceStatus {
        ServiceStatus {
            service: name.into(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            path_prefixes: vec!["/".into()],
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            state: "running".into(),
            ..ServiceStatus::default()
        }
    }

    #[test]
    fn looks_as_the_contract_shows_it() {
        let text = table(&[service("s1", &[""], &["127.0.0.1:19101"])]);
        assert_eq!(
            text.replace('\x1b', "^["),
            "^[[3;94mService^[[0m  ^[[3;94mHost^[[0m  ^[[3;94mPath^[[0m  ^[[3;94mTarget^[[0m           ^[[3;94mState^[[0m    ^[[3;94mTLS^[[0m  \n\
             ^[[1;34ms1^[[0m       ^[[m*^[[0m     ^[[m/^[[0m     ^[[m127.0.0.1:19101^[[0m  ^[[mrunning^[[0m  ^[[mno^[[0m   \n"
        );
    }

    #[test]
    fn an_empty_list_is_its_header() {
        assert_eq!(
            table(&[]).replace('\x1b', "^["),
            "^[[3;94mService^[[0m  ^[[3;94mHost^[[0m  ^[[3;94mPath^[[0m  ^[[3;94mTarget^[[0m  ^[[3;94mState^[[0m  ^[[3;94mTLS^[[0m  \n"
        );
    }

    #[test]
    fn lists_are_joined_and_padding_counts_bytes() {
        let text = table(&[service("é", &["a.test", "b.test"], &["ab", "cd"]), service("abc", &["", ""], &["ab"])]);
        let rows: Vec<&str> = text.lines().skip(1).collect();
        assert!(rows[0].starts_with("\x1b[1;34mé\x1b[0m       \x1b[ma.test,b.test\x1b[0m  "), "{:?}", rows[0]);
        assert!(rows[1].contains("\x1b[m,\x1b[0m"), "two empty hosts are not any host: {:?}", rows[1]);
    }
}
