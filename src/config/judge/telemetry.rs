//! Where spans go.

use secrecy::SecretString;

use super::super::authority::Authority;
use super::super::raw::RawTelemetry;
use super::super::settings::TelemetrySettings;
use super::{Judge, set};

/// What a collector takes spans at, behind its base address (OTLP/HTTP).
const PATH: &str = "/v1/traces";
/// Says that nothing is sent, whatever the platform sets for all its services.
const OFF: &str = "off";

impl Judge {
    pub(super) fn telemetry(&mut self, raw: RawTelemetry) -> Option<TelemetrySettings> {
        let base = set(raw.otlp_endpoint).filter(|base| base != OFF)?;
        let base = base.trim_end_matches('/');
        if !is_base(base) {
            // Not shown: people write passwords into addresses.
            let expected = "off, or http or https with a host and nothing secret, such as http://collector:4318";
            self.value("telemetry.otlp_endpoint", "not understood", expected);
        }
        let headers = raw.otlp_headers.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        let headers: Option<Vec<_>> = headers.map(header).collect();
        if headers.is_none() {
            let expected = "name=value, with commas in between, and %2C for a comma in a value";
            self.value("telemetry.otlp_headers", "not understood", expected);
        }
        if raw.service_name.is_empty() {
            self.value("telemetry.service_name", "empty", "a name such as tandem");
        }
        Some(TelemetrySettings {
            endpoint: format!("{base}{PATH}"),
            headers: headers.unwrap_or_default(),
            service_name: raw.service_name,
            sample_ratio: raw.sample_ratio,
        })
    }
}

/// An address without user, query or fragment: no part of it is a secret.
fn is_base(base: &str) -> bool {
    let Some((scheme, rest)) = base.split_once("://") else { return false };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
    matches!(scheme, "http" | "https") && Authority::parse(authority).is_ok() && path.bytes().all(plain)
}

/// One header as the standard variable has it: a name, and a value that may be percent-encoded.
fn header(pair: &str) -> Option<(String, SecretString)> {
    let (name, value) = pair.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    // A form's encoding, except for its plus and its ampersand.
    let value = value.replace('+', "%2B").replace('&', "%26");
    let value = form_urlencoded::parse(format!("={value}").as_bytes()).next()?.1.into_owned();
    let is_value = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (is_name && is_value).then(|| (name.to_ascii_lowercase(), value.into()))
}
