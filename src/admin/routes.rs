//! Which request does what.

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::{Service, ServiceBuilder};

use super::answer::{self, Body, Complaint, json};
use super::deployment;
use super::request::{DeployRequest, PauseRequest, ResumeRequest, StopRequest};
use super::socket::Peer;
use crate::config::Settings;
use crate::control::{Control, Failure, Outcome};
use crate::spec::unescape_name;

/// The longest body that is read.
const MAX_BODY: usize = 1 << 20;

/// How many records `handoffs` gives unless asked.
const DEFAULT_LIMIT: usize = 20;

type Asked = Request<Limited<Incoming>>;

/// What the routes need.
pub(super) struct Api {
    pub(super) control: Arc<Control>,
    pub(super) settings: Arc<Settings>,
}

/// The service of one connection.
pub(super) fn stack(
    api: Arc<Api>,
    peer: Peer,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send {
    ServiceBuilder::new()
        .map_request(|request: Request<Incoming>| request.map(|body| Limited::new(body, MAX_BODY)))
        .map_response(|mut response: Response<Body>| {
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        })
        .service_fn(move |request| {
            let api = Arc::clone(&api);
            async move { Ok(api.answer(request, peer).await.unwrap_or_else(answer::failure)) }
        })
}

impl Api {
    async fn answer(&self, request: Asked, peer: Peer) -> Result<Response<Body>, Failure> {
        if !peer.may_command() {
            let error = "not permitted".into();
            let hint = "only root and the user that lockgate runs as may command it".into();
            return Ok(json(StatusCode::FORBIDDEN, &Complaint { error, hint }));
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["v1"]) => Ok(about()),
            ("GET", ["v1", "services"]) => Ok(json(StatusCode::OK, &Services { services: self.control.list() })),
            ("GET", ["v1", "services", name]) => self.status(name),
            ("DELETE", ["v1", "services", name]) => outcome(self.control.remove(service(name)?).await),
            ("POST", ["v1", "services", name, "deploy"]) => self.deploy(service(name)?, request, peer).await,
            ("POST", ["v1", "services", name, "abort"]) => outcome(self.control.abort(service(name)?).await),
            ("GET", ["v1", "services", name, "handoffs"]) => self.handoffs(name, request.uri().query()).await,
            ("GET", ["v1", "handoffs"]) => self.all_handoffs(request.uri().query()).await,
            ("POST", ["v1", "pause"]) => {
                let pause = body::<PauseRequest>(request).await?.into_spec()?;
                outcome(self.control.pause(pause).await)
            }
            ("POST", ["v1", "stop"]) => {
                let stop = body::<StopRequest>(request).await?.into_spec()?;
                outcome(self.control.stop(stop).await)
            }
            ("POST", ["v1", "resume"]) => {
                let services = body::<ResumeRequest>(request).await?.into_spec()?;
                outcome(self.control.resume(services).await)
            }
            (_, parts) => Ok(unknown(&method, &path, parts)),
        }
    }

    fn status(&self, name: &str) -> Result<Response<Body>, Failure> {
        Ok(json(StatusCode::OK, &self.control.status(&service(name)?)?))
    }

    async fn deploy(&self, name: String, request: Asked, peer: Peer) -> Result<Response<Body>, Failure> {
        let deploy = body::<DeployRequest>(request).await?;
        let (warnings, settings) = (deploy.warnings(), self.settings.for_service(&name));
        let deploy = deploy.into_spec(name, peer.name(), settings)?;
        Ok(deployment::answer(Arc::clone(&self.control), deploy, warnings).await)
    }

    async fn handoffs(&self, name: &str, query: Option<&str>) -> Result<Response<Body>, Failure> {
        let handoffs = self.control.handoffs(&service(name)?, limit(query)?).await?;
        Ok(json(StatusCode::OK, &Handoffs { handoffs }))
    }

    async fn all_handoffs(&self, query: Option<&str>) -> Result<Response<Body>, Failure> {
        let handoffs = self.control.all_handoffs(limit(query)?).await?;
        Ok(json(StatusCode::OK, &Handoffs { handoffs }))
    }
}

fn limit(query: Option<&str>) -> Result<usize, Failure> {
    let Some(query) = query else { return Ok(DEFAULT_LIMIT) };
    let limit = query.strip_prefix("limit=").ok_or_else(|| Failure::invalid("unknown query, expected limit=N"))?;
    limit.parse().map_err(|_| Failure::invalid(format!("limit: expected a number, not {limit:?}")))
}

#[derive(Serialize)]
struct Services<T> {
    services: Vec<T>,
}

#[derive(Serialize)]
struct Handoffs<T> {
    handoffs: Vec<T>,
}

#[derive(Serialize)]
struct About {
    version: &'static str,
    pid: u32,
}

fn about() -> Response<Body> {
    json(StatusCode::OK, &About { version: env!("CARGO_PKG_VERSION"), pid: std::process::id() })
}

fn outcome(result: Result<Outcome, Failure>) -> Result<Response<Body>, Failure> {
    result.map(|outcome| json(StatusCode::OK, &outcome))
}

/// A known path under another method is 405, else 404.
fn unknown(method: &Method, path: &str, parts: &[&str]) -> Response<Body> {
    let allow = match parts {
        ["v1"] | ["v1", "services" | "handoffs"] | ["v1", "services", _, "handoffs"] => "GET",
        ["v1", "services", _] => "GET, DELETE",
        ["v1", "services", _, "deploy" | "abort"] | ["v1", "pause" | "stop" | "resume"] => "POST",
        _ => {
            let error = format!("no such path: {path}");
            return json(StatusCode::NOT_FOUND, &Complaint { error, hint: "docs/admin-api.md lists them".into() });
        }
    };
    let complaint = Complaint { error: format!("{path} does not take {method}"), hint: format!("it takes {allow}") };
    let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &complaint);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

fn service(escaped: &str) -> Result<String, Failure> {
    unescape_name(escaped)
        .ok_or_else(|| Failure::invalid(format!("{escaped:?} is no service name in a URL: escape as %XX")))
}

/// The body as JSON; none at all counts as `{}`.
async fn body<T: DeserializeOwned>(request: Asked) -> Result<T, Failure> {
    let bytes =
        request.into_body().collect().await.map_err(|error| Failure::invalid(format!("reading the body: {error}")))?;
    let bytes = bytes.to_bytes();
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    // Serde would take an array for the fields in their order.
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(Failure::invalid("expected a JSON object, not an array"));
    }
    serde_json::from_slice(text).map_err(|error| Failure::invalid(error.to_string()))
}
