//! Answers of our own.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};

use super::body::Source;

/// nginx's number for a client that left; only the log sees it.
pub(super) const CLIENT_LEFT: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Seconds. A hold lasts about as long as an app takes to boot.
const RETRY: HeaderValue = HeaderValue::from_static("2");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// No body.
pub(super) fn empty(status: StatusCode) -> Response<Source> {
    response(status, Source::Empty)
}

/// A line for programs, which ends the connection.
pub(super) fn plain(status: StatusCode, reason: &str) -> Response<Source> {
    let text = format!("{status}: {reason}");
    let mut response = response(status, Source::Page(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// A page for people; `message` is the operator's, may be empty.
pub(super) fn page(status: StatusCode, message: &str) -> Response<Source> {
    let html = match words(status) {
        Some((title, text)) => designed(status, title, if message.is_empty() { text } else { message }),
        None => format!("<h1>{status}</h1>"),
    };
    let mut response = response(status, Source::Page(Bytes::from(html)));
    response.headers_mut().insert(CONTENT_TYPE, HTML);
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) {
        response.headers_mut().insert(RETRY_AFTER, RETRY);
    }
    response
}

/// 301, as the contract has it (4.1).
pub(super) fn redirect(method: &Method, location: &str) -> Response<Source> {
    let html = match *method {
        Method::GET => format!("<a href=\"{}\">Moved Permanently</a>.\n\n", escape(location)),
        _ => String::new(),
    };
    let source = if html.is_empty() { Source::Empty } else { Source::Page(Bytes::from(html)) };
    let mut response = response(StatusCode::MOVED_PERMANENTLY, source);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, CLOSE);
    if let Ok(location) = HeaderValue::from_str(location) {
        headers.insert(LOCATION, location);
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        headers.insert(CONTENT_TYPE, HTML);
    }
    response
}

fn response(status: StatusCode, source: Source) -> Response<Source> {
    let mut response = Response::new(source);
    *response.status_mut() = status;
    response
}

/// Title and text of the statuses that people see.
fn words(status: StatusCode) -> Option<(&'static str, &'static str)> {
    Some(match status {
        StatusCode::NOT_FOUND => ("Not Found", "There is nothing at this address."),
        StatusCode::REQUEST_TIMEOUT => {
            ("Request Timeout", "Your request took too long to arrive. Please send it again.")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("Content Too Large", "What you sent is larger than allowed here."),
        StatusCode::BAD_GATEWAY => {
            ("Bad Gateway", "The application could not be reached. Please try again in a moment.")
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            ("Service Temporarily Unavailable", "This will be back shortly. Please try again in a moment.")
        }
        StatusCode::GATEWAY_TIMEOUT => {
            ("Gateway Timeout", "The application took too long to answer. Please try again in a moment.")
        }
        _ => return None,
    })
}

fn designed(status: StatusCode, title: &str, text: &str) -> String {
    let (code, text) = (status.as_u16(), escape(text));
    let mut html = String::with_capacity(1_200 + text.len());
    // Writing to a string never fails.
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{code} — {title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<p class=\"code\">{code}</p>\n<h1>{title}</h1>\n<p>{text}</p>\n</main>\n</body>\n</html>\n"
    );
    html
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2733;--soft:#5b6877;--ground:#f6f7f9;--line:#2f6fde}\
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf1;--soft:#9aa7b5;--ground:#12171d;--line:#6ea0ff}}\
*{margin:0}body{min-height:100vh;display:grid;place-items:center;padding:2rem;background:var(--ground);color:var(--ink);\
font:1.05rem/1.6 system-ui,sans-serif}\
main{max-width:32rem;border-left:4px solid var(--line);padding:.25rem 0 .25rem 1.5rem}\
.code{color:var(--soft);font-variant-numeric:tabular-nums;letter-spacing:.08em}\
h1{font-size:1.6rem;line-height:1.25;margin-bottom:.5rem}p{overflow-wrap:anywhere}";

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: Response<Source>) -> String {
        match response.into_body() {
            Source::Page(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Source::Empty | Source::Answer(_) => String::new(),
        }
    }

    #[test]
    fn the_operators_message_is_escaped() {
        let page = text(page(StatusCode::SERVICE_UNAVAILABLE, "Hi <b> \"q\""));
        assert!(page.contains("503 — Service Temporarily Unavailable"));
        assert!(page.contains("Hi &lt;b&gt; &#34;q&#34;"));
    }

    #[test]
    fn a_status_without_a_page_gets_a_line() {
        assert_eq!(text(page(StatusCode::BAD_REQUEST, "")), "<h1>400 Bad Request</h1>");
    }
}
