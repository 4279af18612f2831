//! The line of a request (contract 13.2).

use std::net::SocketAddr;
use std::time::Duration;

use super::json::{push_number, push_text};
use super::push_time;

/// What is said about one request. Texts are the bytes that were received.
pub struct Line<'a> {
    /// Host as received, with port.
    pub host: &'a [u8],
    /// Our configured port.
    pub port: u16,
    /// Decoded path as received.
    pub path: &'a [u8],
    /// `X-Request-ID`, ours or the client's.
    pub request_id: &'a [u8],
    /// What was answered; 499 where the client left before.
    pub status: u16,
    /// Empty where no service was found.
    pub service: &'a str,
    /// Empty where no target was used.
    pub target: &'a str,
    /// Hold included.
    pub duration: Duration,
    /// As received.
    pub method: &'a str,
    /// None: unknown.
    pub req_content_length: Option<u64>,
    /// Empty where there is none.
    pub req_content_type: &'a [u8],
    /// Bytes of the body that were passed on.
    pub resp_content_length: u64,
    /// Empty where there is none.
    pub resp_content_type: &'a [u8],
    /// Who connected to us.
    pub client: SocketAddr,
    /// The client as others say; none: as who connected.
    pub remote_addr: Option<&'a [u8]>,
    /// Empty where there is none.
    pub user_agent: &'a [u8],
    /// `HTTP/1.1`.
    pub proto: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Without `?`.
    pub query: &'a [u8],
    /// `req_...` and `resp_...` fields that the service asked for.
    pub extra: &'a [(String, Vec<u8>)],
    /// How long it was held, if it was.
    pub held: Option<Duration>,
}

impl Line<'_> {
    /// Appends the line, ended.
    pub fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        push_time(out);
        out.extend_from_slice(b"\",\"level\":\"INFO\",\"msg\":\"Request\"");
        text(out, b",\"host\":", self.host);
        number(out, b",\"port\":", self.port);
        text(out, b",\"path\":", self.path);
        text(out, b",\"request_id\":", self.request_id);
        number(out, b",\"status\":", self.status);
        text(out, b",\"service\":", self.service.as_bytes());
        text(out, b",\"target\":", self.target.as_bytes());
        number(out, b",\"duration\":", u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX));
        text(out, b",\"method\":", self.method.as_bytes());
        let length = self.req_content_length.map_or(-1, |length| i64::try_from(length).unwrap_or(i64::MAX));
        number(out, b",\"req_content_length\":", length);
        text(out, b",\"req_content_type\":", self.req_content_type);
        number(out, b",\"resp_content_length\":", self.resp_content_length);
        text(out, b",\"resp_content_type\":", self.resp_content_type);
        self.push_client(out);
        text(out, b",\"user_agent\":", self.user_agent);
        text(out, b",\"proto\":", self.proto.as_bytes());
        text(out, b",\"scheme\":", self.scheme.as_bytes());
        text(out, b",\"query\":", self.query);
        self.push_extra(out);
        out.extend_from_slice(b"}\n");
    }

    fn push_client(&self, out: &mut Vec<u8>) {
        use std::io::Write as _;
        // Writing to a Vec never fails.
        let _ = write!(out, ",\"client_addr\":\"{}\",\"client_port\":\"", self.client.ip());
        push_number(out, self.client.port());
        out.push(b'"');
        match self.remote_addr {
            Some(address) => text(out, b",\"remote_addr\":", address),
            None => {
                let _ = write!(out, ",\"remote_addr\":\"{}\"", self.client.ip());
            }
        }
    }

    fn push_extra(&self, out: &mut Vec<u8>) {
        for (name, value) in self.extra {
            out.push(b',');
            text(out, b"", name.as_bytes());
            text(out, b":", value);
        }
        if let Some(held) = self.held {
            number(out, b",\"held_ms\":", u64::try_from(held.as_millis()).unwrap_or(u64::MAX));
        }
    }
}

fn text(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    push_text(out, value);
}

fn number(out: &mut Vec<u8>, key: &[u8], value: impl itoa::Integer) {
    out.extend_from_slice(key);
    push_number(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_contracts_fields_in_its_order() {
        let line = Line {
            host: b"127.0.0.1:18080",
            port: 18080,
            path: b"/echo",
            request_id: b"d63a",
            status: 200,
            service: "s1",
            target: "127.0.0.1:19101",
            duration: Duration::from_nanos(2_144_375),
            method: "GET",
            req_content_length: Some(0),
            req_content_type: b"",
            resp_content_length: 332,
            resp_content_type: b"text/plain",
            client: ([127, 0, 0, 1], 50494).into(),
            remote_addr: None,
            user_agent: b"curl/7.88.1",
            proto: "HTTP/1.1",
            scheme: "http",
            query: b"",
            extra: &[("req_cache_control".into(), b"no".to_vec())],
            held: Some(Duration::from_millis(12)),
        };
        let mut out = Vec::new();
        line.push(&mut out);
        let text = String::from_utf8(out).unwrap();
        let expected = concat!(
            r#""level":"INFO","msg":"Request","host":"127.0.0.1:18080","port":18080,"path":"/echo","request_id":"d63a","#,
            r#""status":200,"service":"s1","target":"127.0.0.1:19101","duration":2144375,"method":"GET","#,
            r#""req_content_length":0,"req_content_type":"","resp_content_length":332,"#,
            r#""resp_content_type":"text/plain","client_addr":"127.0.0.1","client_port":"50494","#,
            r#""remote_addr":"127.0.0.1","user_agent":"curl/7.88.1","proto":"HTTP/1.1","scheme":"http","query":"","#,
            r#""req_cache_control":"no","held_ms":12}"#,
            "\n"
        );
        assert_eq!(text.split_once(',').unwrap().1, expected);
    }
}
