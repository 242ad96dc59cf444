//! The log: structured lines, for people or for machines. Below it: spans, for those who look at whole requests.

#[cfg(not(feature = "otlp"))]
mod absent;
#[cfg(feature = "otlp")]
mod otlp;
pub mod parent;
pub mod span;

use std::{io::IsTerminal, sync::OnceLock};

use tracing_subscriber::{EnvFilter, Registry, fmt, prelude::*, reload};

/// Of the log that was started.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// Starts writing the log to standard error. `level` is one of error, warn, info, debug and trace; a second call in one
/// process changes nothing.
pub fn start(format: Format, level: &str) {
    let json = match format {
        Format::Auto => !std::io::stderr().is_terminal(),
        Format::Pretty => false,
        Format::Json => true,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let (filter, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        registry.with(lines.json().flatten_event(true).with_current_span(true).with_span_list(false)).try_init()
    } else {
        registry.with(lines.with_target(false)).try_init()
    };
    // Somebody else's subscriber is in place otherwise: a test's, then.
    if started.is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Writes lines of this level and of more important ones from now on, if a log was started.
pub fn set_level(level: &str) {
    if let Some(handle) = FILTER.get() {
        // It fails with the log itself, which cannot tell of that any more.
        let _ = handle.reload(filter(level));
    }
}

/// The libraries below stay at their warnings whatever the level: their traces hold request lines, and request lines
/// hold prompts and tickets. The HTTP parser's errors are off: any stranger can cause them.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("warn,tandem={level},actix_http=off,awc=error,h2=error,rustls=error"))
}
