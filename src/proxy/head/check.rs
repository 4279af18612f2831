//! What must hold of a head that hyper leaves to us.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::proxy::failure::Failure;

/// What hyper leaves to us: exactly one valid Host (an absolute target's authority wins), no transfer coding but chunked,
/// no expectation but 100-continue, a target that is a path.
pub(in crate::proxy) fn check(head: &mut Parts) -> Result<(), Failure> {
    check_host(head)?;
    check_target(head)?;
    if is_coded_otherwise(&head.headers) {
        return Err(Failure::Coding);
    }
    if head.headers.get(EXPECT).is_some_and(|e| !e.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Failure::Expectation);
    }
    Ok(())
}

/// The same of an answer's head: no transfer coding but chunked, beside which a Content-Length says nothing (RFC 9112 6.3).
pub(in crate::proxy) fn check_answer(headers: &mut HeaderMap) -> Result<(), Failure> {
    if is_coded_otherwise(headers) {
        return Err(Failure::AppCoding);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    Ok(())
}

/// Than not at all, or by chunked alone.
fn is_coded_otherwise(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|c| !c.as_bytes().eq_ignore_ascii_case(b"chunked")) || codings.next().is_some()
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

#[cfg(test)]
mod tests {
    use super::super::host;
    use super::super::tests::head;
    use super::*;

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
}
