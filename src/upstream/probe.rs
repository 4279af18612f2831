//! One health request (contract, chapter 6).

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, HOST, LOCATION, REFERER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::connect::{ConnectError, connect};
use crate::spec::{HealthCheck, Target};

const MAX_REDIRECTS: usize = 10;

/// Why a target is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It answered something else than 2xx.
    #[error("unexpected status ({})", .0.as_u16())]
    Status(StatusCode),
    /// It did not answer in time.
    #[error("request timed out")]
    TimedOut,
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No HTTP, or a connection that broke.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// A redirect that leads nowhere.
    #[error("{0}")]
    Redirect(&'static str),
}

impl ProbeError {
    /// Whether an app was there to answer, even if not well.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Redirect(_))
    }
}

/// Asks once whether a target is healthy, within the check's time-out, on a connection of its own. Runs on any runtime;
/// cancel-safe.
///
/// # Errors
/// [`ProbeError`] says why it is not.
pub async fn probe(target: &Target, check: &HealthCheck) -> Result<(), ProbeError> {
    // Go's dialler has no time left at all with a time-out of zero; neither have we.
    if check.timeout.is_zero() {
        return Err(ProbeError::TimedOut);
    }
    tokio::time::timeout(check.timeout.max(Duration::from_millis(1)), follow(target, check))
        .await
        .map_err(|_| ProbeError::TimedOut)?
}

async fn follow(target: &Target, check: &HealthCheck) -> Result<(), ProbeError> {
    let mut hop = Hop::first(target, check);
    for _ in 0..=MAX_REDIRECTS {
        let response = hop.ask().await?;
        let status = response.status();
        if status.is_success() {
            // A slow or endless body does not make it unhealthy.
            return Ok(());
        }
        let Some(location) = response.headers().get(LOCATION).filter(|_| status.is_redirection()) else {
            return Err(ProbeError::Status(status));
        };
        hop = hop.next(location)?;
    }
    Err(ProbeError::Redirect("stopped after 10 redirects"))
}

struct Hop {
    target: Target,
    port: Option<u16>,
    host: String,
    path: String,
    referer: Option<String>,
}

impl Hop {
    fn first(target: &Target, check: &HealthCheck) -> Self {
        let port = Some(check.port).filter(|port| *port > 0);
        let own = match port {
            Some(port) => format!("{}:{port}", target.host()),
            None => target.to_string(),
        };
        let host = if check.host.is_empty() { own } else { check.host.clone() };
        Self { target: target.clone(), port, host, path: join_path(&check.path), referer: None }
    }

    async fn ask(&self) -> Result<http::Response<Incoming>, ProbeError> {
        let stream = connect(&self.target, self.port).await?;
        let (mut sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
        let request = self.request();
        tokio::pin!(connection);
        let mut answer = std::pin::pin!(sender.send_request(request));
        let response = tokio::select! {
            biased;
            response = &mut answer => response?,
            ended = &mut connection => { ended?; answer.await? }
        };
        Ok(response)
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        if let Ok(path) = PathAndQuery::try_from(self.path.as_str()) {
            *request.uri_mut() = path.into();
        }
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&self.host).unwrap_or(HeaderValue::from_static("")));
        headers.insert(USER_AGENT, HeaderValue::from_static("kamal-proxy"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if let Some(referer) = self.referer.as_ref().and_then(|r| HeaderValue::from_str(r).ok()) {
            headers.insert(REFERER, referer);
        }
        request
    }

    fn next(self, location: &HeaderValue) -> Result<Self, ProbeError> {
        let location = location.to_str().map_err(|_| ProbeError::Redirect("failed to parse Location header"))?;
        let referer = Some(format!("http://{}{}", self.host, self.path));
        let Some(rest) = location.strip_prefix("http://").or_else(|| location.strip_prefix("//")) else {
            if location.starts_with("https://") {
                return Err(ProbeError::Redirect("the health check is redirected to https"));
            }
            let path = if location.starts_with('/') { location.to_owned() } else { beside(&self.path, location) };
            return Ok(Self { path: without_fragment(&path), referer, ..self });
        };
        let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(cut);
        let target = Target::parse(authority).map_err(|_| ProbeError::Redirect("failed to parse Location header"))?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { target, port: None, host: authority.to_owned(), path: without_fragment(&path), referer })
    }
}

fn without_fragment(path: &str) -> String {
    path.split('#').next().unwrap_or_default().to_owned()
}

fn beside(path: &str, relative: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    format!("{parent}/{relative}")
}

/// Go's `JoinPath`: slash in front, dot segments and double slashes cleaned, a trailing slash kept, `?` and `#` escaped.
fn join_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut joined = format!("/{}", parts.join("/"));
    if path.ends_with('/') && joined.len() > 1 {
        joined.push('/');
    }
    joined.replace('?', "%3F").replace('#', "%23").replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::{join_path, probe};
    use crate::spec::{HealthCheck, Target};

    /// Gives these answers, one a connection, and tells what it was asked; then it keeps silent.
    fn app(answers: &'static [&'static str]) -> (Target, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            let mut answers = answers.iter();
            let mut silent = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let mut stream = BufReader::new(stream);
                let lines: Vec<String> =
                    (&mut stream).lines().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
                match answers.next() {
                    Some(answer) => stream.get_mut().write_all(answer.as_bytes()).unwrap(),
                    None => silent.push(stream),
                }
                tell.send(lines.join("\n").to_lowercase()).ok();
            }
        });
        (target, asked)
    }

    fn ask(target: &Target, check: &HealthCheck) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(probe(target, check)).map_err(|error| error.to_string())
    }

    #[test]
    fn any_2xx_is_healthy_and_the_request_is_the_contracts() {
        let (target, asked) = app(&["HTTP/1.1 204 No Content\r\n\r\n"]);
        assert_eq!(ask(&target, &HealthCheck::default()), Ok(()));
        let asked = asked.recv().unwrap();
        let host = format!("host: {target}");
        for line in ["get /up http/1.1", &host, "user-agent: kamal-proxy", "accept-encoding: gzip"] {
            assert!(asked.lines().any(|asked| asked == line), "{line} in {asked}");
        }
    }

    #[test]
    fn the_reason_is_told_in_the_contracts_words() {
        let (target, _asked) = app(&["HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"]);
        let check = HealthCheck { timeout: Duration::from_millis(200), ..HealthCheck::default() };
        assert_eq!(ask(&target, &check), Err("unexpected status (500)".into()));
        assert_eq!(ask(&target, &check), Err("request timed out".into()));
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = ask(&Target::parse(&free.to_string()).unwrap(), &check);
        assert_eq!(refused, Err(format!("dial tcp {free}: connect: connection refused")));
    }

    #[test]
    fn redirects_are_followed_with_the_host_that_was_asked_for() {
        let (target, asked) = app(&[
            "HTTP/1.1 302 Found\r\nLocation: /elsewhere?x\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ]);
        let check = HealthCheck { host: "shop.test".into(), ..HealthCheck::default() };
        assert_eq!(ask(&target, &check), Ok(()));
        assert!(asked.recv().unwrap().contains("host: shop.test"));
        let second = asked.recv().unwrap();
        assert!(second.starts_with("get /elsewhere?x ") && second.contains("host: shop.test"), "{second}");
        assert!(second.contains("referer: http://shop.test/up"), "{second}");
    }

    #[test]
    fn a_circle_of_redirects_ends() {
        const AROUND: &str = "HTTP/1.1 302 Found\r\nLocation: /up\r\nContent-Length: 0\r\n\r\n";
        let (target, asked) = app(&[AROUND; 20]);
        assert_eq!(ask(&target, &HealthCheck::default()), Err("stopped after 10 redirects".into()));
        assert_eq!(asked.try_iter().count(), 11);
    }

    #[test]
    fn joins_the_health_path_as_go_does() {
        for (path, joined) in [
            ("", "/"),
            ("/", "/"),
            ("up", "/up"),
            ("/up", "/up"),
            ("/up/", "/up/"),
            ("//a//b/../c", "/a/c"),
            ("/up?x=1", "/up%3Fx=1"),
        ] {
            assert_eq!(join_path(path), joined);
        }
    }
}
