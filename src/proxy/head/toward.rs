//! What the app gets to see of a request's head (contract, chapter 4).

use http::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri, Version};

use super::{FORWARDED_FOR, stripped};
use crate::proxy::Downstream;
use crate::router::Route;
use crate::service::Service;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KAMAL_TARGET: HeaderName = HeaderName::from_static("x-kamal-target");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const HTTP: HeaderValue = HeaderValue::from_static("http");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const UPGRADE_TOKEN: HeaderValue = HeaderValue::from_static("Upgrade");

/// The protocol that the client wants to change to.
pub(in crate::proxy) fn wanted_upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let wanted = headers.get(UPGRADE).filter(|value| !value.is_empty())?;
    has_token(headers, &CONNECTION, "upgrade").then_some(wanted)
}

/// What the head becomes on its way to the app.
pub(in crate::proxy) struct Toward<'a> {
    /// Whence.
    pub client: &'a Downstream,
    /// By which route.
    pub route: &'a Route<Service>,
    /// Where to.
    pub target: &'a HeaderValue,
    /// Whether the client's X-Forwarded-* count.
    pub forward: bool,
    /// Whether a body follows.
    pub has_body: bool,
}

impl Toward<'_> {
    /// Makes the head the app's.
    pub(in crate::proxy) fn prepare(&self, head: &mut Parts) {
        let upgrade = wanted_upgrade(&head.headers).cloned();
        let headers = &mut head.headers;
        let trailers = has_token(headers, &TE, "trailers");
        strip_hop_by_hop(headers);
        headers.remove(FORWARDED);
        if !self.has_body {
            headers.remove(TRAILER);
        }
        if trailers {
            headers.insert(TE, TRAILERS);
        }
        if let Some(protocol) = upgrade {
            headers.insert(CONNECTION, UPGRADE_TOKEN);
            headers.insert(UPGRADE, protocol);
        }
        self.forwarded(headers);
        headers.entry(HOST).or_insert_with(|| self.target.clone());
        if let Some(path) = stripped(self.route, head.uri.path()) {
            head.uri = with_path(&head.uri, &path);
        }
        head.version = Version::HTTP_11;
    }

    fn forwarded(&self, headers: &mut HeaderMap) {
        let peer = &self.client.peer_ip;
        let host = headers.get(HOST).cloned().unwrap_or(HeaderValue::from_static(""));
        if self.forward {
            let path = joined(headers, &FORWARDED_FOR, peer);
            headers.insert(FORWARDED_FOR, path);
            keep_or_insert(headers, FORWARDED_HOST, host);
            keep_or_insert(headers, FORWARDED_PROTO, HTTP);
            let targets = joined(headers, &KAMAL_TARGET, self.target);
            headers.insert(KAMAL_TARGET, targets);
        } else {
            headers.insert(FORWARDED_FOR, peer.clone());
            headers.insert(FORWARDED_HOST, host);
            headers.insert(FORWARDED_PROTO, HTTP);
            headers.insert(KAMAL_TARGET, self.target.clone());
        }
    }
}

/// Takes away what concerns one connection only. `Trailer` stays: without it hyper passes no trailers on.
pub(in crate::proxy) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(CONNECTION).iter().cloned();
    let (first, more): (_, Vec<HeaderValue>) = (lines.next(), lines.collect());
    headers.remove(CONNECTION);
    for line in first.into_iter().chain(more) {
        strip_named(headers, &line);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE]
    {
        headers.remove(name);
    }
}

fn strip_named(headers: &mut HeaderMap, connection: &HeaderValue) {
    let tokens = connection.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    for token in tokens {
        let known = [&b"close"[..], b"keep-alive", b"upgrade"].iter().any(|known| token.eq_ignore_ascii_case(known));
        let Some(name) = HeaderName::from_bytes(token).ok().filter(|_| !known) else { continue };
        // The message's own frame and address are not the client's to take away.
        if name != HOST && name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|part| {
        let part = part.split(|byte| *byte == b';').next().unwrap_or_default();
        part.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
    })
}

fn joined(headers: &HeaderMap, name: &HeaderName, last: &HeaderValue) -> HeaderValue {
    let mut values = headers.get_all(name).iter().peekable();
    if values.peek().is_none() {
        return last.clone();
    }
    let parts: Vec<&[u8]> = values.chain([last]).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&parts.join(&b", "[..])).unwrap_or_else(|_| last.clone())
}

fn keep_or_insert(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    let first = headers.get(&name).filter(|first| !first.is_empty()).cloned();
    headers.insert(name, first.unwrap_or(value));
}

fn with_path(uri: &Uri, path: &str) -> Uri {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(text).map_or_else(|_| uri.clone(), Uri::from)
}

#[cfg(test)]
mod tests {
    use super::super::tests::head;
    use super::*;

    #[test]
    fn what_concerns_one_connection_is_taken_away() {
        let mut head = head(
            "/",
            &[
                ("host", "a"),
                ("connection", "X-Foo, close, Host"),
                ("connection", "x-bar"),
                ("x-foo", "1"),
                ("x-bar", "1"),
                ("x-kept", "1"),
                ("keep-alive", "5"),
                ("proxy-authorization", "x"),
                ("te", "trailers, deflate"),
                ("transfer-encoding", "chunked"),
            ],
        );
        strip_hop_by_hop(&mut head.headers);
        let left: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["host", "x-kept"]);
    }
}
