//! The log: lines on standard error, as text or as JSON. Standard output belongs to the greeting.

use std::fmt;
use std::io::IsTerminal as _;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, LogFormat};
use crate::http::request_context::RequestContext;

/// Starts logging as the settings say; further calls do nothing.
pub fn start(config: &Config) {
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(is_terminal);
    let lines = match config.log_format {
        LogFormat::Text => lines.map_event_format(|format| WithRequest { format, is_json: false }).boxed(),
        LogFormat::Json => {
            lines.json().map_event_format(|format| WithRequest { format, is_json: true }).boxed()
        }
    };
    let log = tracing_subscriber::registry().with(lines.with_filter(config.log_filter.clone()));
    if log.try_init().is_err() {
        tracing::debug!("logging was started before");
    }
}

/// Adds the request that is being served to the lines of a format.
struct WithRequest<F> {
    format: F,
    is_json: bool,
}

impl<S, N, F> FormatEvent<S, N> for WithRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(request) = RequestContext::current() else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        let mut plain = Writer::new(&mut line);
        self.format.format_event(context, plain.by_ref(), event)?;
        let line = line.trim_end();
        if self.is_json {
            let fields: Map<_, _> =
                request.fields().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
            let object = line.strip_suffix('}').ok_or(fmt::Error)?;
            return writeln!(writer, "{object},\"request\":{}}}", Value::Object(fields));
        }
        writer.write_str(line)?;
        for (name, value) in request.fields() {
            // Quoted: a path is the client's text.
            write!(writer, " {name}={value:?}")?;
        }
        writeln!(writer)
    }
}
