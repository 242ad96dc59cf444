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

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::config;

    fn judged(variables: &[(&str, &str)]) -> Result<Option<TelemetrySettings>, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = config::load(None, &variables.collect()).map_err(|error| error.to_string())?;
        Ok(settings.telemetry)
    }

    #[test]
    fn a_collector_is_where_the_standard_variable_or_our_own_says() {
        const STANDARD: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const OWN: &str = "TANDEM__TELEMETRY__OTLP_ENDPOINT";
        for (variables, url) in [
            (&[][..], None),
            (&[(STANDARD, "http://collector:4318")], Some("http://collector:4318/v1/traces")),
            (&[(STANDARD, "https://c.example.org/otlp/")], Some("https://c.example.org/otlp/v1/traces")),
            (&[(STANDARD, "http://a:1"), (OWN, "http://[::1]:4318")], Some("http://[::1]:4318/v1/traces")),
            (&[(STANDARD, "http://a:1"), (OWN, "off")], None),
        ] {
            let telemetry = judged(variables).unwrap();
            assert_eq!(telemetry.map(|telemetry| telemetry.endpoint).as_deref(), url, "{variables:?}");
        }
    }

    #[test]
    fn headers_are_read_as_the_standard_has_them_and_never_shown() {
        for (written, read) in [
            ("", Some(&[][..])),
            ("a=1, B = two ,", Some(&[("a", "1"), ("b", "two")])),
            ("authorization=Basic%20a+b%3D%2C&c=", Some(&[("authorization", "Basic a+b=,&c=")])),
            ("planted", None),
            ("=planted", None),
            ("a b=planted", None),
            ("a=planted%0A", None),
        ] {
            let endpoint = ("TANDEM__TELEMETRY__OTLP_ENDPOINT", "http://c");
            let told = judged(&[endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", written)]);
            let headers = told.as_ref().ok().map(|telemetry| &telemetry.as_ref().unwrap().headers);
            let pairs: Option<Vec<_>> = headers
                .map(|headers| headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect());
            assert_eq!(pairs.as_deref(), read, "{written}");
            assert!(!format!("{told:?}").contains("planted"), "{told:?}");
        }
    }

    #[test]
    fn an_address_with_a_secret_is_refused_and_not_repeated() {
        for wrong in
            ["http://u:planted@c", "http://c?k=planted", "http://c#planted", "c:planted", "ftp://c", "http://", "grpc"]
        {
            let error = judged(&[("OTEL_EXPORTER_OTLP_ENDPOINT", wrong)]).unwrap_err();
            assert!(error.contains("telemetry.otlp_endpoint (OTEL_EXPORTER_OTLP_ENDPOINT"), "{error}");
            assert!(!error.contains("planted"), "{error}");
        }
    }
}
