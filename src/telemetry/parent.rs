//! The trace of whoever asks, as its headers say it (W3C Trace Context). Pure.

use std::fmt;

/// The header with the ids.
pub const TRACEPARENT: &str = "traceparent";

/// The header with what other tracing systems keep there.
pub const TRACESTATE: &str = "tracestate";

/// The longest `tracestate` that is passed on, in bytes; the standard asks for so many at least (3.3.1.5).
const MAX_STATE_BYTES: usize = 512;

/// Version, trace, parent and flags, with a dash between each two.
const HEADER_BYTES: usize = 55;

/// The id of a trace: what all spans of one request have in common, through every service. Never all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The span in which somebody else asks. Its `Debug` leaves out what other systems keep there.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The id of the span. Never all zeros.
    pub span: [u8; 8],
    /// Whether the trace is kept: what is not kept there is not kept here either.
    pub sampled: bool,
    /// What other tracing systems keep there; empty: nothing.
    #[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "nothing is exported"))]
    pub(super) state: String,
}

impl TraceParent {
    /// Reads a `traceparent`. What is malformed is none, as the standard has it: the trace then begins here.
    pub fn parse(header: &str) -> Option<Self> {
        let header = header.trim_matches([' ', '\t']);
        let (known, rest) = header.split_at_checked(HEADER_BYTES)?;
        let [version, trace, span, flags] = known.split('-').collect::<Vec<_>>()[..] else { return None };
        let [version]: [u8; 1] = bytes(version)?;
        // Later versions may say more behind a further dash.
        let fits = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        let (trace, span): ([u8; 16], [u8; 8]) = (bytes(trace)?, bytes(span)?);
        let [flags]: [u8; 1] = bytes(flags)?;
        let is_one = version != 0xff && fits && trace != [0; 16] && span != [0; 8];
        is_one.then(|| Self { trace: TraceId(trace), span, sampled: flags & 1 == 1, state: String::new() })
    }

    /// The same with a `tracestate`, which is left out where it is long, or is more than printable ASCII.
    #[must_use]
    pub fn with_state(self, state: &str) -> Self {
        let is_one = state.len() <= MAX_STATE_BYTES && state.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        Self { state: if is_one { state.to_owned() } else { String::new() }, ..self }
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, sampled, .. } = self;
        f.debug_struct("TraceParent").field("trace", trace).field("sampled", sampled).finish_non_exhaustive()
    }
}

/// Digits as they have to be: lower case, and no more and no fewer.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

const fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_read_as_the_standard_has_it() {
        for (header, sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-00"), Some(false)),
            (format!("00-{TRACE}-{SPAN}-02"), Some(false)),
            (format!("00-{TRACE}-{SPAN}-ff"), Some(true)),
            (format!(" 00-{TRACE}-{SPAN}-01\t"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01.what"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{SPAN}-01", TRACE.replace('4', "g")), None),
            (format!("00-{TRACE}-{SPAN}-1"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("0-{TRACE}-{SPAN}-001"), None),
            (format!("00_{TRACE}_{SPAN}_01"), None),
            (String::new(), None),
        ] {
            let read = TraceParent::parse(&header);
            assert_eq!(read.as_ref().map(|parent| parent.sampled), sampled, "{header}");
            assert!(read.is_none_or(|parent| parent.trace.to_string() == TRACE && parent.span[7] == 0xb7), "{header}");
        }
    }

    #[test]
    fn a_state_is_kept_within_bounds_and_never_shown() {
        let parent = TraceParent::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        for (state, kept) in [("shop=7f", true), ("a=b, c=d", true), ("a=\u{e9}", false), ("a=\u{1}", false)] {
            let parent = parent.clone().with_state(state);
            assert_eq!(parent.state, if kept { state } else { "" });
            assert!(!format!("{parent:?}").contains("shop"), "{parent:?}");
        }
        assert_eq!(parent.clone().with_state(&"x".repeat(512)).state.len(), 512);
        assert_eq!(parent.with_state(&"x".repeat(513)).state, "");
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd(header in "\\PC{0,80}", tail in "[-0-9a-f]{0,60}") {
            for text in [header.clone(), tail.clone(), format!("00-{tail}"), format!("00-{TRACE}-{header}")] {
                if let Some(parent) = TraceParent::parse(&text) {
                    prop_assert_ne!(parent.trace.0, [0; 16]);
                    prop_assert_ne!(parent.span, [0; 8]);
                }
            }
        }
    }
}
