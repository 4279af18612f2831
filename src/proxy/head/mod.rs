//! A request's head: what must hold of it, and what the app gets to see of it. All in place.

mod check;
mod toward;

use std::cell::RefCell;

use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};

use crate::clock;
use crate::router::{self, Route};
use crate::service::Service;
use crate::spec;

pub(super) use check::{check, check_answer};
pub(super) use toward::{Toward, strip_hop_by_hop, wanted_upgrade};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    pub(super) fn head(target: &str, headers: &[(&str, &str)]) -> Parts {
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
}
