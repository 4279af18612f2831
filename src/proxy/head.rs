//! A request's head: what must hold of it, and what the app gets to see of it (contract, chapter 4). All in place.

use std::cell::RefCell;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::Downstream;
use super::failure::Failure;
use crate::clock;
use crate::router::{self, Route};
use crate::service::Service;
use crate::spec;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KAMAL_TARGET: HeaderName = HeaderName::from_static("x-kamal-target");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const HTTP: HeaderValue = HeaderValue::from_static("http");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const UPGRADE_TOKEN: HeaderValue = HeaderValue::from_static("Upgrade");

/// Gives the request a start and an id, where it brings none.
pub(super) fn stamp(headers: &mut HeaderMap) {
    if headers.get(REQUEST_START).is_none_or(HeaderValue::is_empty) {
        headers.insert(REQUEST_START, start());
    }
    if headers.get(REQUEST_ID).is_none_or(HeaderValue::is_empty) {
        headers.insert(REQUEST_ID, id());
    }
}

/// The request's id, after [`stamp`].
pub(super) fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(REQUEST_ID)
}

/// The first X-Forwarded-For.
pub(super) fn forwarded_for(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(FORWARDED_FOR).filter(|value| !value.is_empty())
}

/// The client's address as the header of that name has it, put in the place of X-Forwarded-For.
pub(super) fn adopt_client_ip(headers: &mut HeaderMap, name: &str) -> Option<HeaderValue> {
    let address = headers.get(name).filter(|value| !value.is_empty())?.clone();
    headers.insert(FORWARDED_FOR, address.clone());
    Some(address)
}

/// `t=` and milliseconds; one value a millisecond and thread.
fn start() -> HeaderValue {
    thread_local! {
        static LAST: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static("t=0"))) };
    }
    let now = clock::unix_ms();
    LAST.with_borrow_mut(|(at, value)| {
        if *at != now {
            *at = now;
            *value = HeaderValue::try_from(format!("t={now}")).unwrap_or(HeaderValue::from_static("t=0"));
        }
        value.clone()
    })
}

/// A random UUID (RFC 9562, version 4).
fn id() -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bits = fastrand::u128(..) & !(0xF << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let mut text = Vec::with_capacity(36);
    for nibble in (0..32).rev() {
        if matches!(nibble, 23 | 19 | 15 | 11) {
            text.push(b'-');
        }
        let digit = usize::try_from(bits >> (4 * nibble) & 0xF).unwrap_or_default();
        text.extend(HEX.get(digit));
    }
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("-"))
}

/// What hyper leaves to us: exactly one valid Host (an absolute target's authority wins), no transfer coding but chunked,
/// no expectation but 100-continue, a target that is a path.
pub(super) fn check(head: &mut Parts) -> Result<(), Failure> {
    check_host(head)?;
    check_target(head)?;
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if codings.next().is_some_and(|c| !c.as_bytes().eq_ignore_ascii_case(b"chunked")) || codings.next().is_some() {
        return Err(Failure::Coding);
    }
    if head.headers.get(EXPECT).is_some_and(|e| !e.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Failure::Expectation);
    }
    Ok(())
}

fn check_host(head: &Parts) -> Result<(), Failure> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match hosts.next() {
        None if head.version == Version::HTTP_10 => return Ok(()),
        None => return Err(Failure::BadRequest("missing required Host header")),
        Some(host) if !host.as_bytes().iter().all(|b| is_host_byte(*b)) => {
            return Err(Failure::BadRequest("malformed Host header"));
        }
        Some(_) => {}
    }
    if hosts.next().is_some() {
        return Err(Failure::BadRequest("too many Host headers"));
    }
    Ok(())
}

fn check_target(head: &mut Parts) -> Result<(), Failure> {
    if head.method == Method::CONNECT {
        return Ok(());
    }
    if let Some(authority) = head.uri.authority() {
        if head.uri.scheme().is_none() {
            return Err(Failure::BadRequest("malformed request target"));
        }
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| Failure::BadRequest("malformed Host header"))?;
        head.headers.insert(HOST, host);
        head.uri = origin(&head.uri);
    }
    if has_broken_escape(head.uri.path()) {
        return Err(Failure::BadRequest("invalid URL escape"));
    }
    Ok(())
}

fn origin(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from)
}

fn has_broken_escape(path: &str) -> bool {
    let mut escapes = path.split('%');
    escapes.next();
    escapes.any(|rest| !rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}

/// The request's host, with its port; empty where there is none.
pub(super) fn host(headers: &HeaderMap) -> &str {
    headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// Where the request is sent instead, if it is (contract 4.1). Never to HTTPS: nothing serves it yet.
pub(super) fn redirect(head: &Parts, options: &spec::Options) -> Option<String> {
    let canonical = &options.canonical_host;
    if canonical.is_empty() || *canonical == router::host_of_request(host(&head.headers)) {
        return None;
    }
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    Some(format!("http://{canonical}{target}"))
}

/// The path as the app sees it; none: as it was sent.
pub(super) fn stripped(route: &Route<Service>, path: &str) -> Option<String> {
    if *route.prefix == *"/" || !route.service.options.load().strip_prefix {
        return None;
    }
    router::strip(path, &route.prefix)
}

/// The protocol that the client wants to change to.
pub(super) fn wanted_upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let wanted = headers.get(UPGRADE).filter(|value| !value.is_empty())?;
    has_token(headers, &CONNECTION, "upgrade").then_some(wanted)
}

/// What the head becomes on its way to the app.
pub(super) struct Toward<'a> {
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
    pub(super) fn prepare(&self, head: &mut Parts) {
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
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
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
    use http::Request;

    use super::*;

    fn head(target: &str, headers: &[(&str, &str)]) -> Parts {
        let request = headers.iter().fold(Request::builder().uri(target), |r, (name, value)| r.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn an_id_is_a_version_4_uuid() {
        let text = id().to_str().unwrap().to_owned();
        assert_eq!(text.len(), 36, "{text}");
        assert_eq!(text.as_bytes()[14], b'4', "{text}");
        assert!(b"89ab".contains(&text.as_bytes()[19]), "{text}");
        assert_ne!(id(), id());
    }

    #[test]
    fn exactly_one_valid_host_is_needed() {
        for (headers, fine) in [
            (&[("host", "a.test:80")][..], true),
            (&[("host", "")], true),
            (&[("host", "[::1]:80")], true),
            (&[], false),
            (&[("host", "a"), ("host", "a")], false),
            (&[("host", "a b")], false),
            (&[("host", "a/b")], false),
        ] {
            assert_eq!(check(&mut head("/", headers)).is_ok(), fine, "{headers:?}");
        }
    }

    #[test]
    fn an_absolute_targets_authority_wins() {
        let mut head = head("http://other.test/abc?x=1", &[("host", "x")]);
        check(&mut head).unwrap();
        assert_eq!((host(&head.headers), head.uri.to_string().as_str()), ("other.test", "/abc?x=1"));
    }

    #[test]
    fn only_chunked_and_100_continue_are_understood() {
        for (name, value, fine) in [
            ("transfer-encoding", "chunked", true),
            ("transfer-encoding", "Chunked", true),
            ("transfer-encoding", "gzip, chunked", false),
            ("transfer-encoding", "identity", false),
            ("expect", "100-Continue", true),
            ("expect", "200-ok", false),
        ] {
            assert_eq!(check(&mut head("/", &[("host", "a"), (name, value)])).is_ok(), fine, "{value}");
        }
        let twice = [("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert!(check(&mut head("/", &twice)).is_err());
    }

    #[test]
    fn escapes_must_be_whole() {
        for (target, fine) in [("/%41", true), ("/%zz", false), ("/a%4", false), ("/?%zz", true)] {
            assert_eq!(check(&mut head(target, &[("host", "a")])).is_ok(), fine, "{target}");
        }
    }

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
