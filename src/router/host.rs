//! Hosts as the router compares them.

use std::borrow::Cow;

/// The host of a Host header or authority: without port, in lower case, without a trailing dot.
#[must_use]
pub fn of_request(host: &str) -> Cow<'_, str> {
    normal(without_port(host))
}

/// In lower case, without a trailing dot: names differ in neither (RFC 9110 4.2.3, RFC 1034 3.1).
pub(super) fn normal(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) { host.to_ascii_lowercase().into() } else { host.into() }
}

/// `a.example.com` -> `.example.com`, what a `*` stands before.
pub(super) fn after_first_label(host: &str) -> Option<&str> {
    let dot = host.find('.').filter(|at| *at > 0)?;
    host.get(dot..)
}

/// `[::1]:80` -> `::1`; what cannot be split stays whole, as `[::1]` and `::1` do.
fn without_port(host: &str) -> &str {
    let Some((name, _)) = host.rsplit_once(':').filter(|(name, _)| !name.is_empty()) else { return host };
    match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        Some(address) => address,
        None if name.contains([':', '[', ']']) => host,
        None => name,
    }
}
