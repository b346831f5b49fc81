use std::io::Write;

use super::{Record, time::Clock};
use crate::config::{LogField, LogFormat};

/// Longer texts are cut, so that one request cannot fill a buffer.
const MAX_TEXT: usize = 1024;

/// Writes records as lines.
#[derive(Clone, Debug)]
pub(super) struct Formatter {
    format: LogFormat,
    fields: Vec<LogField>,
    clock: Clock,
}

impl Formatter {
    pub(super) fn new(format: LogFormat, fields: &[LogField]) -> Self {
        Self { format, fields: fields.to_vec(), clock: Clock::default() }
    }

    pub(super) fn line(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let json = self.format == LogFormat::Json;
        if json {
            out.push(b'{');
        }
        for (i, &field) in self.fields.iter().enumerate() {
            if i > 0 {
                out.push(if json { b',' } else { b' ' });
            }
            if json {
                out.push(b'"');
                out.extend_from_slice(field.as_str().as_bytes());
                out.extend_from_slice(b"\":");
            }
            let text = match field {
                LogField::Time => {
                    let quote: &[u8] = if json { b"\"" } else { b"" };
                    out.extend_from_slice(quote);
                    self.clock.write(record.time, out);
                    out.extend_from_slice(quote);
                    continue;
                }
                LogField::DurationUs => {
                    number(record.duration.as_micros().try_into().unwrap_or(u64::MAX), out);
                    continue;
                }
                LogField::BytesIn => {
                    number(record.bytes_in as u64, out);
                    continue;
                }
                LogField::BytesOut => {
                    number(record.bytes_out as u64, out);
                    continue;
                }
                LogField::Listener => record.listener,
                LogField::Route => record.route,
                LogField::Cluster => record.cluster,
                LogField::Endpoint => record.endpoint,
                LogField::Service => record.service,
                LogField::Method => record.method,
                LogField::Status => record.status.as_str(),
                LogField::Flag => record.reason.map_or("", wiremesh::Reason::flag),
                LogField::TraceId => record.trace_id,
                LogField::Client => record.client,
            };
            let text = &text[..text.floor_char_boundary(MAX_TEXT)];
            match self.format {
                LogFormat::Json if text.is_empty() => out.extend_from_slice(b"null"),
                LogFormat::Text if text.is_empty() => out.push(b'-'),
                LogFormat::Text if is_plain(text) => out.extend_from_slice(text.as_bytes()),
                LogFormat::Json | LogFormat::Text => quoted(text, out),
            }
        }
        out.extend_from_slice(if json { b"}\n" } else { b"\n" });
    }
}

/// Whether a text can stand between spaces as it is, and is not mistaken for another.
fn is_plain(text: &str) -> bool {
    text != "-" && !text.chars().any(|c| c.is_whitespace() || c == '"' || needs_escape(c))
}

/// What would end a line, or move a terminal's cursor, must not be written as it is: clients choose these texts.
fn needs_escape(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Writes a JSON string.
fn quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut done = 0;
    for (at, c) in text.char_indices() {
        if c != '"' && c != '\\' && !needs_escape(c) {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[done..at]);
        done = at + c.len_utf8();
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            // All that need an escape are below 0x10000, so one is enough. A Vec takes every write.
            _ => drop(write!(out, "\\u{:04x}", c as u32)),
        }
    }
    out.extend_from_slice(&text.as_bytes()[done..]);
    out.push(b'"');
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::{Value, json};
    use wiremesh::{Reason, Status};

    use super::*;

    fn record<'a>(service: &'a str, method: &'a str) -> Record<'a> {
        Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_260_600_000_042),
            listener: "bolt",
            route: "hello",
            cluster: "",
            endpoint: "[::1]:12200",
            service,
            method,
            status: Status::Unavailable,
            reason: Some(Reason::ConnectFailed),
            duration: Duration::from_nanos(1_234_567),
            bytes_in: 0,
            bytes_out: usize::MAX,
            trace_id: "",
            client: "127.0.0.1:4711",
        }
    }

    fn line(format: LogFormat, fields: &[LogField], record: &Record<'_>) -> String {
        let mut out = Vec::new();
        Formatter::new(format, fields).line(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_whole_line_of_text() {
        assert_eq!(
            line(LogFormat::Text, &LogField::ALL, &record("com.x.Hello:1.0", "plus")),
            "2026-11-21T11:30:00.000042Z bolt hello - [::1]:12200 com.x.Hello:1.0 plus unavailable UF \
             1234 0 18446744073709551615 - 127.0.0.1:4711\n"
        );
    }

    #[test]
    fn a_whole_line_of_json() {
        let line = line(LogFormat::Json, &LogField::ALL, &record("s", "plus"));
        assert_eq!(
            serde_json::from_str::<Value>(&line).unwrap(),
            json!({
                "time": "2026-11-21T11:30:00.000042Z", "listener": "bolt", "route": "hello", "cluster": null,
                "endpoint": "[::1]:12200", "service": "s", "method": "plus", "status": "unavailable",
                "flag": "UF", "duration_us": 1234, "bytes_in": 0, "bytes_out": usize::MAX, "trace_id": null,
                "client": "127.0.0.1:4711",
            })
        );
    }

    #[test]
    fn chosen_fields_keep_their_order() {
        let fields = [LogField::BytesIn, LogField::Method, LogField::Service];
        assert_eq!(line(LogFormat::Text, &fields, &record("s", "m")), "0 m s\n");
        let json = "{\"bytes_in\":0,\"method\":\"m\",\"service\":\"s\"}\n";
        assert_eq!(line(LogFormat::Json, &fields, &record("s", "m")), json);
    }

    const NASTY: [&str; 12] = [
        "a b",
        "-",
        "\"",
        "\\",
        "a\nb\r\n\tc",
        "\u{0}\u{1b}[2J\u{7f}",
        "\u{85}\u{9b}31m",
        "\u{2028}\u{2029}",
        "gr\u{fc}\u{df}e \u{1f600}",
        "{\"a\":1}",
        "null",
        "\u{feff}x\u{a0}y",
    ];

    #[test]
    fn no_text_breaks_out_of_its_place() {
        for nasty in NASTY {
            let json = line(LogFormat::Json, &[LogField::Service], &record(nasty, ""));
            let value: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(value["service"], nasty);

            let fields = [LogField::Method, LogField::Service, LogField::Flag];
            let text = line(LogFormat::Text, &fields, &record(nasty, "m"));
            let place = text.strip_prefix("m ").unwrap().strip_suffix(" UF\n").unwrap();
            if place.starts_with('"') {
                assert_eq!(serde_json::from_str::<String>(place).unwrap(), nasty);
            } else {
                assert_eq!(place, nasty);
                assert!(!place.contains(char::is_whitespace), "{place:?}");
            }
            for line in [json, text] {
                let line = line.strip_suffix('\n').unwrap();
                assert!(!line.chars().any(needs_escape), "{line:?}");
            }
        }
    }

    #[test]
    fn overlong_texts_are_cut_between_characters() {
        let long = "\u{fc}".repeat(MAX_TEXT);
        let text = line(LogFormat::Text, &[LogField::Service], &record(&long, ""));
        assert_eq!(text.len(), MAX_TEXT + 1);
        let odd = format!("x{long}");
        let text = line(LogFormat::Text, &[LogField::Service], &record(&odd, ""));
        assert_eq!(text.len(), MAX_TEXT);
    }
}
