//! What an app says before its answer: 103 Early Hints and the like. hyper's server has no way for it.

use http::{HeaderMap, Request, StatusCode, Version};

use super::{Downstream, head};
use crate::upstream::Outgoing;

/// Has each 1xx of the app but 100 and 101 passed on to the client, where that one can know what it is (RFC 9110 15.2).
/// 100 is said by us, when the body is wanted.
pub(super) fn pass_on(client: &Downstream, version: Version, request: &mut Request<Outgoing>) {
    if version != Version::HTTP_11 {
        return;
    }
    let (talk, number) = (client.talk.clone(), client.talk.number());
    hyper::ext::on_informational(request, move |said| {
        if said.status() != StatusCode::CONTINUE {
            talk.say(number, &text(said.status(), said.headers().clone()));
        }
    });
}

fn text(status: StatusCode, mut headers: HeaderMap) -> Vec<u8> {
    head::strip_hop_by_hop(&mut headers);
    let mut text =
        format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default()).into_bytes();
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text
}
