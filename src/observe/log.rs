//! The operational log: `tracing` events as lines `time, level, msg, attributes`. A list of texts (`targets = ?targets`)
//! becomes a JSON array.

use std::error::Error;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::json::{push_number, push_text};
use super::{Channel, Output, push_time};

/// From now on all events of the process go to this output; DEBUG ones only if asked for. The first call counts.
pub fn install(output: &Output, debug: bool) {
    let max = if debug { Level::DEBUG } else { Level::INFO };
    let lines = Lines { channel: output.channel(), max };
    // A second call finds the first one's in place: so be it.
    let _ = tracing::subscriber::set_global_default(lines);
}

struct Lines {
    channel: Channel,
    max: Level,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.max
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.channel.say(|out| {
            out.extend_from_slice(b"{\"time\":\"");
            push_time(out);
            out.extend_from_slice(b"\",\"level\":\"");
            out.extend_from_slice(event.metadata().level().as_str().as_bytes());
            out.extend_from_slice(b"\",\"msg\":");
            push_text(out, line.message.as_bytes());
            out.append(&mut line.attributes);
            out.extend_from_slice(b"}\n");
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    attributes: Vec<u8>,
}

impl Line {
    fn key(&mut self, name: &str) -> &mut Vec<u8> {
        self.attributes.push(b',');
        push_text(&mut self.attributes, name.as_bytes());
        self.attributes.push(b':');
        &mut self.attributes
    }

    fn raw(&mut self, field: &Field, text: &str) {
        self.key(field.name()).extend_from_slice(text.as_bytes());
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            text.clone_into(&mut self.message);
        } else {
            push_text(self.key(field.name()), text.as_bytes());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a string fails only where the value's own Debug does.
        let _ = write!(text, "{value:?}");
        match serde_json::from_str::<Vec<String>>(&text) {
            Ok(list) if field.name() != "message" => push_list(self.key(field.name()), &list),
            Ok(_) | Err(_) => self.record_str(field, &text),
        }
    }

    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        self.record_str(field, &error.to_string());
    }

    fn record_i64(&mut self, field: &Field, number: i64) {
        push_number(self.key(field.name()), number);
    }

    fn record_u64(&mut self, field: &Field, number: u64) {
        push_number(self.key(field.name()), number);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field, if value { "true" } else { "false" });
    }

    fn record_f64(&mut self, field: &Field, number: f64) {
        self.raw(field, &number.to_string());
    }
}

fn push_list(out: &mut Vec<u8>, list: &[String]) {
    out.push(b'[');
    for (at, text) in list.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_text(out, text.as_bytes());
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc;

    use super::*;

    struct Sink(mpsc::Sender<Vec<u8>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn events_become_lines_in_slogs_order() {
        let (written, seen) = mpsc::channel();
        let output = Output::to(Sink(written)).unwrap();
        let lines = Lines { channel: output.channel(), max: Level::INFO };
        tracing::subscriber::with_default(lines, || {
            tracing::debug!("not asked for");
            let error = io::Error::other("it \"broke\"");
            tracing::warn!(targets = ?["a:1", "b\"c"], http = 80, tls = false, %error, "Two {}", "words");
        });
        let line = String::from_utf8(seen.recv().unwrap()).unwrap();
        let tail = line.split_once("\",\"level\"").unwrap().1;
        let expected =
            r#":"WARN","msg":"Two words","targets":["a:1","b\"c"],"http":80,"tls":false,"error":"it \"broke\""}"#;
        assert_eq!(tail.trim_end(), expected);
        assert!(line.starts_with("{\"time\":\""));
    }
}
