//! The operational log: one JSON object a line, `time`, `level`, `msg`, then fields in their order (contract 13.1).

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::clock;

/// Where finished lines go; must not block.
type Sink = fn(&[u8]);

/// Sends all events of this process to the sink from now on.
///
/// # Errors
/// Where that was done before.
pub(super) fn install(debug: bool, sink: Sink) -> Result<(), SetGlobalDefaultError> {
    let level = if debug { Level::DEBUG } else { Level::INFO };
    tracing::subscriber::set_global_default(Log { level, sink, spans: AtomicU64::new(1) })
}

struct Log {
    level: Level,
    sink: Sink,
    spans: AtomicU64,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        (self.sink)(line(&now(), event.metadata().level().as_str(), &fields).as_bytes());
    }

    // Spans carry nothing into the log.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn line(time: &str, level: &str, fields: &Fields) -> String {
    let mut line = format!("{{\"time\":\"{time}\",\"level\":\"{level}\",\"msg\":{}", quoted(&fields.message));
    line.push_str(&fields.rest);
    line.push_str("}\n");
    line
}

/// RFC 3339 in local time, as many digits as matter, `Z` where that is UTC.
fn now() -> String {
    let nanos = i128::try_from(clock::since_epoch().as_nanos()).unwrap_or_default();
    let stamp = Timestamp::from_nanosecond(nanos).unwrap_or_default();
    let local = stamp.to_zoned(TimeZone::system());
    if local.offset().is_zero() {
        return stamp.to_string();
    }
    local.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into());
    json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Fields {
    fn raw(&mut self, field: &Field, json: impl fmt::Display) {
        let _ = write!(self.rest, ",{}:{json}", quoted(field.name()));
    }

    fn text(&mut self, field: &Field, text: &str) {
        match field.name() {
            "message" => text.clone_into(&mut self.message),
            _ => self.raw(field, quoted(text)),
        }
    }
}

impl Visit for Fields {
    /// A list of texts (`targets = ?targets`) becomes a JSON array, all else a string.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match serde_json::from_str::<Vec<String>>(&text) {
            Ok(list) if field.name() != "message" => {
                let list: Vec<String> = list.iter().map(|text| quoted(text)).collect();
                self.raw(field, format_args!("[{}]", list.join(",")));
            }
            Ok(_) | Err(_) => self.text(field, &text),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.raw(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.raw(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match serde_json::to_string(&value) {
            Ok(json) => self.raw(field, json),
            Err(_) => self.raw(field, "null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

    fn keep(line: &[u8]) {
        LINES.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
    }

    #[test]
    fn a_line_has_its_fields_in_order_and_in_their_types() {
        let log = Log { level: Level::INFO, sink: keep, spans: AtomicU64::new(1) };
        tracing::subscriber::with_default(log, || {
            let targets = vec!["a:80".to_owned(), "b\"c".to_owned()];
            tracing::debug!("not seen");
            tracing::info!(service = "s\u{2028}\"1", targets = ?targets, tls = false, n = 3, error = %"[x", "Deploying <x>");
        });
        let lines = LINES.lock().unwrap();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        let tail = "\",\"level\":\"INFO\",\"msg\":\"Deploying <x>\",\"service\":\"s\\u2028\\\"1\",\
                    \"targets\":[\"a:80\",\"b\\\"c\"],\"tls\":false,\"n\":3,\"error\":\"[x\"}\n";
        assert!(line.starts_with("{\"time\":\"20") && line.ends_with(tail), "{line}");
    }
}
