//! What the log will say about a request. Dropped, it says it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version};

use super::upload::Upload;
use super::{Downstream, Worker, head, page};
use crate::observe::access::Line;
use crate::router::{self, Route};
use crate::service::Service;
use crate::spec::TargetOptions;

/// Empty once it is discarded or taken.
pub(super) struct Record {
    inner: Option<Box<Inner>>,
}

struct Inner {
    worker: Arc<Worker>,
    client: SocketAddr,
    arrival: Instant,
    uri: Uri,
    method: http::Method,
    version: Version,
    host: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    content_type: Option<HeaderValue>,
    content_length: Option<u64>,
    user_agent: Option<HeaderValue>,
    remote_addr: Option<HeaderValue>,
    route: Option<Arc<Route<Service>>>,
    target: Option<HeaderValue>,
    status: StatusCode,
    response_type: Option<HeaderValue>,
    sent: u64,
    extra: Vec<(String, Vec<u8>)>,
    is_held: bool,
    held: Option<Duration>,
}

impl Record {
    pub(super) fn begin(client: &Downstream, head: &Parts, upload: &Upload, arrival: Instant) -> Self {
        let own = |name| head.headers.get(name).cloned();
        let inner = Box::new(Inner {
            worker: client.worker.clone(),
            client: client.peer,
            arrival,
            uri: head.uri.clone(),
            method: head.method.clone(),
            version: head.version,
            host: own(http::header::HOST),
            request_id: head::request_id(&head.headers).cloned(),
            content_type: own(CONTENT_TYPE),
            content_length: upload.length(),
            user_agent: own(USER_AGENT),
            remote_addr: head::forwarded_for(&head.headers).cloned(),
            route: None,
            target: None,
            status: page::CLIENT_LEFT,
            response_type: None,
            sent: 0,
            extra: Vec::new(),
            is_held: false,
            held: None,
        });
        Self { inner: Some(inner) }
    }

    /// Nothing is logged.
    pub(super) fn discard(&mut self) {
        self.inner = None;
    }

    /// What was to be logged is logged elsewhere.
    pub(super) fn take(&mut self) -> Self {
        Self { inner: self.inner.take() }
    }

    /// The service is found; it may know the client's address better.
    pub(super) fn routed(&mut self, route: &Arc<Route<Service>>, headers: &mut HeaderMap) {
        let options = route.service.options.load();
        let adopted = match options.client_ip_header.as_str() {
            "" => None,
            name => head::adopt_client_ip(headers, name),
        };
        if let Some(inner) = &mut self.inner {
            inner.route = Some(route.clone());
            if adopted.is_some() {
                inner.remote_addr = adopted;
            }
        }
    }

    /// It goes to a target.
    pub(super) fn targeted(&mut self, target: &HeaderValue) {
        if let Some(inner) = &mut self.inner {
            inner.target = Some(target.clone());
        }
    }

    /// The headers of a request that the service wants logged; once, however often its target changes.
    pub(super) fn request_headers(&mut self, options: &TargetOptions, headers: &HeaderMap) {
        if let Some(inner) = &mut self.inner {
            inner.extra.clear();
        }
        self.extra("req", options.log_request_headers.as_deref(), headers);
    }

    /// The headers of a response that the service wants logged.
    pub(super) fn response_headers(&mut self, options: &TargetOptions, headers: &HeaderMap) {
        self.extra("resp", options.log_response_headers.as_deref(), headers);
    }

    fn extra(&mut self, kind: &str, names: Option<&[String]>, headers: &HeaderMap) {
        let (Some(inner), Some(names)) = (&mut self.inner, names) else { return };
        for name in names {
            let values: Vec<&[u8]> = headers.get_all(name.as_str()).iter().map(HeaderValue::as_bytes).collect();
            let field = format!("{kind}_{}", name.to_ascii_lowercase().replace('-', "_"));
            inner.extra.push((field, values.join(&b","[..])));
        }
    }

    /// It waits at the gate.
    pub(super) fn held(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.is_held = true;
        }
    }

    /// It waits no longer.
    pub(super) fn released(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.release();
        }
    }

    /// The head of its answer is on its way.
    pub(super) fn answered(&mut self, status: StatusCode, content_type: Option<&HeaderValue>) {
        if let Some(inner) = &mut self.inner {
            inner.status = status;
            inner.response_type = content_type.cloned();
        }
    }

    /// So many more bytes of its answer are.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(inner) = &mut self.inner {
            inner.sent += bytes as u64;
        }
    }

    /// For other lines of the log about the same request.
    pub(super) fn service(&self) -> &str {
        self.inner.as_ref().map(|inner| inner.service()).unwrap_or_default()
    }

    /// See [`Record::service`].
    pub(super) fn target(&self) -> &str {
        self.inner.as_ref().map(|inner| inner.target()).unwrap_or_default()
    }

    /// See [`Record::service`].
    pub(super) fn path(&self) -> &str {
        self.inner.as_ref().map(|inner| inner.uri.path()).unwrap_or_default()
    }
}

impl Inner {
    fn service(&self) -> &str {
        self.route.as_ref().map(|route| &*route.service.name).unwrap_or_default()
    }

    fn target(&self) -> &str {
        self.target.as_ref().and_then(|target| target.to_str().ok()).unwrap_or_default()
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.is_held) {
            self.held = Some(self.arrival.elapsed());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.release();
        let Some(access) = &self.worker.access else { return };
        let line = Line {
            host: bytes(&self.host),
            port: self.worker.shared.http_port,
            path: &router::decode(self.uri.path()),
            request_id: bytes(&self.request_id),
            status: self.status.as_u16(),
            service: self.service(),
            target: self.target(),
            duration: self.arrival.elapsed(),
            method: self.method.as_str(),
            req_content_length: self.content_length,
            req_content_type: bytes(&self.content_type),
            resp_content_length: self.sent,
            resp_content_type: bytes(&self.response_type),
            client: self.client,
            remote_addr: self.remote_addr.as_ref().map(HeaderValue::as_bytes),
            user_agent: bytes(&self.user_agent),
            proto: if self.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
            scheme: "http",
            query: self.uri.query().unwrap_or_default().as_bytes(),
            extra: &self.extra,
            held: self.held,
        };
        access.say(|out| line.push(out));
    }
}

fn bytes(value: &Option<HeaderValue>) -> &[u8] {
    value.as_ref().map(HeaderValue::as_bytes).unwrap_or_default()
}
