//! A target's address.

use std::fmt;

/// `host` or `host:port` as the contract allows it (1.4): one word character, then one or more of `[A-Za-z0-9_.+-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    text: String,
    host_len: usize,
    port: u32,
}

/// The text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} :invalid host pattern")]
pub struct TargetError(pub String);

impl Target {
    /// Parses `host` (port 80) or `host:port`.
    ///
    /// # Errors
    /// [`TargetError`] with the contract's text. Any number passes as a port: see [`Target::port`].
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let error = || TargetError(text.to_owned());
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let [first, rest @ ..] = host.as_bytes() else { return Err(error()) };
        let valid = word(*first) && !rest.is_empty() && rest.iter().all(|b| word(*b) || b"-.+".contains(b));
        if !valid {
            return Err(error());
        }
        let port = match port {
            None => 80,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().unwrap_or(u32::MAX)
            }
            Some(_) => return Err(error()),
        };
        Ok(Self { text: text.to_owned(), host_len: host.len(), port })
    }

    /// The name or IPv4 address to resolve at each connect.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text.get(..self.host_len).unwrap_or_default()
    }

    /// The port; none where the number is none that can be dialled.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        u16::try_from(self.port).ok().filter(|port| *port != 0)
    }

    /// Whether it can only be on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host() == "localhost" || self.host().parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The same port at the host of another address; none where that is this very target.
    #[must_use]
    pub fn at_host_of(&self, address: &str) -> Option<Self> {
        let (host, _) = address.rsplit_once(':')?;
        let there = Self::parse(&format!("{host}:{}", self.port()?)).ok()?;
        let same = there.host() == self.host() || (there.is_loopback() && self.is_loopback());
        (!same).then_some(there)
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn accepts_what_the_contract_accepts() {
        for (text, host, port) in [("ab", "ab", 80), ("x_y.z:99", "x_y.z", 99), ("127.0.0.1:8080", "127.0.0.1", 8080)] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.host(), target.port(), target.as_str()), (host, Some(port), text));
        }
        for text in ["x_y.z:99999", "x_y.z:65536", "x_y.z:0"] {
            assert_eq!(Target::parse(text).unwrap().port(), None);
        }
    }

    #[test]
    fn refuses_what_the_contract_refuses() {
        for text in ["a:80", "http://x:80", "[::1]:80", "foo/bar", "_", "/", "", "ab:", "ab:x", "é1"] {
            assert_eq!(Target::parse(text).unwrap_err().to_string(), format!("{text} :invalid host pattern"));
        }
    }
}
