//! What options must hold together (contract 1.4), in the contract's words and order.

use super::Options;
use super::url::{UrlError, check_on_demand};

/// Options that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An on-demand URL asks for TLS.
    #[error("service options invalid: TLS must be enabled to use a TLS on-demand URL")]
    OnDemandWithoutTls,
    /// On demand means any host.
    #[error("service options invalid: cannot set hosts when using a TLS on-demand URL")]
    OnDemandWithHosts,
    /// On demand means certificates by ACME.
    #[error("service options invalid: cannot use a custom TLS certificate with a TLS on-demand URL")]
    OnDemandWithCertificate,
    /// On demand means any host.
    #[error("service options invalid: cannot set a canonical host when using a TLS on-demand URL")]
    OnDemandWithCanonicalHost,
    /// The URL itself is wrong.
    #[error("service options invalid: {0}")]
    OnDemandUrl(#[from] UrlError),
    /// Certificates are for hosts.
    #[error("service options invalid: host must be set when using TLS")]
    TlsWithoutHost,
    /// A host's TLS belongs to the service at its root.
    #[error("service options invalid: TLS settings must be specified on the root path service")]
    TlsBelowRoot,
    /// The canonical host would redirect to where nobody answers.
    #[error("service options invalid: canonical-host '{0}' must be present in the hosts list: [{1}]")]
    CanonicalHostUnknown(String, String),
}

impl Options {
    /// Checks what must hold together.
    ///
    /// # Errors
    /// The first [`OptionsError`] in the contract's order.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let any_host = matches!(self.hosts.as_slice(), [] | [_]) && self.hosts.iter().all(String::is_empty);
        let on_demand = !self.tls_on_demand_url.is_empty();
        if on_demand && !self.tls_enabled {
            return Err(OptionsError::OnDemandWithoutTls);
        }
        if on_demand {
            self.validate_on_demand(any_host)?;
        } else if self.tls_enabled && self.hosts.iter().any(String::is_empty) {
            return Err(OptionsError::TlsWithoutHost);
        }
        if self.tls_enabled && !self.path_prefixes.iter().any(|prefix| prefix == "/") {
            return Err(OptionsError::TlsBelowRoot);
        }
        let canonical = &self.canonical_host;
        let first_is_named = self.hosts.first().is_some_and(|host| !host.is_empty());
        if !canonical.is_empty() && first_is_named && !self.hosts.contains(canonical) {
            return Err(OptionsError::CanonicalHostUnknown(canonical.clone(), self.hosts.join(" ")));
        }
        Ok(())
    }

    fn validate_on_demand(&self, any_host: bool) -> Result<(), OptionsError> {
        if !any_host {
            return Err(OptionsError::OnDemandWithHosts);
        }
        if !self.tls_certificate_path.is_empty() {
            return Err(OptionsError::OnDemandWithCertificate);
        }
        if !self.canonical_host.is_empty() {
            return Err(OptionsError::OnDemandWithCanonicalHost);
        }
        Ok(check_on_demand(&self.tls_on_demand_url)?)
    }
}

/// Hosts as routes have them: none given = any host, one empty string.
#[must_use]
pub fn normalise_hosts(hosts: Vec<String>) -> Vec<String> {
    if hosts.is_empty() { vec![String::new()] } else { hosts }
}

/// Prefixes as routes have them (contract 3.3): one `/` in front, none behind; none given = `/`.
#[must_use]
pub fn normalise_prefixes(prefixes: &[String]) -> Vec<String> {
    if prefixes.is_empty() {
        return vec!["/".into()];
    }
    prefixes.iter().map(|prefix| format!("/{}", prefix.trim_matches('/'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(change: impl FnOnce(&mut Options)) -> String {
        let mut options = Options { tls_enabled: true, ..Options::default() };
        change(&mut options);
        options.validate().map_or_else(|error| error.to_string(), |()| "fine".into())
    }

    #[test]
    fn tls_needs_hosts_and_the_root_path() {
        let missing = "service options invalid: host must be set when using TLS";
        let below = "service options invalid: TLS settings must be specified on the root path service";
        assert_eq!(tls(|_| {}), missing);
        assert_eq!(tls(|o| o.hosts = vec!["*.e.test".into(), String::new()]), missing);
        assert_eq!(tls(|o| o.hosts = vec!["e.test".into()]), "fine");
        let api = |o: &mut Options| {
            o.hosts = vec!["e.test".into()];
            o.path_prefixes = normalise_prefixes(&["api/".into()]);
        };
        assert_eq!(tls(api), below);
    }

    #[test]
    fn an_on_demand_url_stands_alone() {
        let prefix = "service options invalid: ";
        let with = |change: fn(&mut Options)| {
            tls(|o| {
                o.tls_on_demand_url = "/x".into();
                change(o);
            })
        };
        assert_eq!(with(|_| {}), "fine");
        assert_eq!(
            with(|o| o.hosts = vec!["e.test".into()]),
            format!("{prefix}cannot set hosts when using a TLS on-demand URL")
        );
        assert_eq!(
            with(|o| o.tls_certificate_path = "c".into()),
            format!("{prefix}cannot use a custom TLS certificate with a TLS on-demand URL")
        );
        assert_eq!(
            with(|o| o.canonical_host = "e.test".into()),
            format!("{prefix}cannot set a canonical host when using a TLS on-demand URL")
        );
        assert_eq!(with(|o| o.tls_enabled = false), format!("{prefix}TLS must be enabled to use a TLS on-demand URL"));
        assert_eq!(
            with(|o| o.path_prefixes = vec!["/api".into()]),
            format!("{prefix}TLS settings must be specified on the root path service")
        );
    }

    #[test]
    fn the_canonical_host_is_one_of_the_hosts() {
        let canonical = |host: &str, hosts: &[&str]| {
            let hosts = normalise_hosts(hosts.iter().map(|host| (*host).to_owned()).collect());
            let options = Options { canonical_host: host.into(), hosts, ..Options::default() };
            options.validate().map_err(|error| error.to_string())
        };
        assert_eq!(
            canonical("api.example.com", &["example.com", "www.example.com"]).unwrap_err(),
            "service options invalid: canonical-host 'api.example.com' must be present in the hosts list: [example.com \
             www.example.com]"
        );
        canonical("example.com", &["example.com", "www.example.com"]).unwrap();
        canonical("example.com", &[]).unwrap();
    }

    #[test]
    fn prefixes_begin_with_a_slash_and_do_not_end_with_one() {
        let given: Vec<String> = ["api/", "", "/a/b//", "/"].map(str::to_owned).to_vec();
        assert_eq!(normalise_prefixes(&given), ["/api", "/", "/a/b", "/"]);
        assert_eq!(normalise_prefixes(&[]), ["/"]);
    }
}
