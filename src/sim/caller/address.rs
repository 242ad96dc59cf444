//! Where to call, and the request target of a call.

use std::fmt;
use std::net::IpAddr;

use form_urlencoded::Serializer;
use secrecy::{ExposeSecret, SecretString};
use tokio_tungstenite::tungstenite::http::Uri;

use super::error::CallerError;
use super::settings::{Audio, CallerSettings, Credential, NATIVE_PATH, Wire};

/// The path at which PersonaPlex, and Tandem in its stead, takes calls.
const MOSHI_PATH: &str = "/api/chat";

/// What PersonaPlex is told when the caller has no wish; it ends calls that lack either.
const MOSHI_VOICE: &str = "NATF0.pt";
const MOSHI_PROMPT: &str = "You are a friendly assistant.";

/// A server's address: what a URL says without its query.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether the connection is encrypted (`https`, `wss`).
    pub tls: bool,
    /// A name or an IP address, IPv6 without brackets.
    pub host: String,
    /// The port; 80 or 443 when the URL has none.
    pub port: u16,
    /// What stands before every path, without a slash at its end.
    pub prefix: String,
}

impl Address {
    /// Reads a URL of scheme `http`, `https`, `ws` or `wss` with neither user name nor query.
    pub fn parse(url: &str) -> Result<Address, CallerError> {
        let bad = |reason| CallerError::BadUrl { reason };
        let uri: Uri = url.trim().parse().map_err(|_| bad("it is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            Some(_) => return Err(bad("its scheme is none of http, https, ws and wss")),
            None => return Err(bad("it has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it has a user name; tokens are given apart from it"));
        }
        if uri.query().is_some() {
            return Err(bad("it has a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(port) if port > 0 => port,
            None if !has_port && tls => 443,
            None if !has_port => 80,
            Some(_) | None => return Err(bad("its port is not one of 1 to 65535")),
        };
        Ok(Address { tls, host: host.to_owned(), port, prefix: uri.path().trim_end_matches('/').to_owned() })
    }

    /// Host and port, as a `Host` header and an error message have them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether the server is on this machine, so that a self-signed certificate is good enough.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The request target of a call; it carries the prompt and the ticket, so it does not print.
    pub(super) fn call_target(&self, settings: &CallerSettings) -> SecretString {
        let mut query = Serializer::new(String::new());
        let path = match settings.wire {
            Wire::Native(audio) => {
                append_format(&mut query, audio);
                NATIVE_PATH
            }
            Wire::Moshi => MOSHI_PATH,
        };
        append_prompts(&mut query, settings);
        if !settings.waits {
            query.append_pair("wait", "0");
        }
        if let Credential::Ticket(ticket) = &settings.credential {
            query.append_pair("ticket", ticket.expose_secret());
        }
        // A URL that already names the door is taken as it is.
        let prefix = self.prefix.strip_suffix(path).unwrap_or(&self.prefix);
        SecretString::from(format!("{prefix}{path}?{}", query.finish()))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({}://{}{})", if self.tls { "wss" } else { "ws" }, self.authority(), self.prefix)
    }
}

fn append_format(query: &mut Serializer<'_, String>, audio: Audio) {
    match audio {
        Audio::Pcm16 { rate_hz } => {
            query.append_pair("audio", "pcm16").append_pair("rate", &rate_hz.to_string());
        }
        Audio::Opus => {
            query.append_pair("audio", "opus");
        }
        Audio::OggOpus => {
            query.append_pair("audio", "ogg-opus");
        }
    }
}

fn append_prompts(query: &mut Serializer<'_, String>, settings: &CallerSettings) {
    if let Some(persona) = &settings.persona {
        query.append_pair("persona", persona);
    }
    // A model server hangs up without these; a gateway that was told a persona would say them in its place.
    let needed = settings.wire == Wire::Moshi && settings.persona.is_none();
    let moshi = settings.wire == Wire::Moshi;
    match &settings.voice {
        Some(voice) if moshi && !voice.contains('.') => {
            query.append_pair("voice_prompt", &format!("{voice}.pt"));
        }
        Some(voice) => {
            query.append_pair("voice_prompt", voice);
        }
        None if needed => {
            query.append_pair("voice_prompt", MOSHI_VOICE);
        }
        None => {}
    }
    match &settings.text_prompt {
        Some(prompt) => {
            query.append_pair("text_prompt", prompt.expose_secret());
        }
        None if needed => {
            query.append_pair("text_prompt", MOSHI_PROMPT);
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_their_defaults() {
        for (url, tls, host, port, prefix) in [
            ("http://127.0.0.1:8080", false, "127.0.0.1", 8080, ""),
            ("ws://localhost/", false, "localhost", 80, ""),
            ("wss://voice.example.com/a/b/", true, "voice.example.com", 443, "/a/b"),
            ("https://[::1]:8443", true, "::1", 8443, ""),
        ] {
            let expected = Address { tls, host: host.into(), port, prefix: prefix.into() };
            assert_eq!(Address::parse(url), Ok(expected), "{url}");
        }
        assert_eq!(Address::parse("https://[::1]:8443").unwrap().authority(), "[::1]:8443");
    }

    #[test]
    fn bad_urls_say_what_is_expected() {
        for url in [
            "",
            "127.0.0.1:8080",
            "ftp://x",
            "http://",
            "http://u:p@x",
            "http://x?token=y",
            "http://x:0",
            "ws://x:99999",
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(error.to_string().contains("expected one like http://127.0.0.1:8080"), "{url}: {error}");
        }
    }

    #[test]
    fn a_call_names_its_format_its_wishes_and_its_ticket() {
        let mut settings = CallerSettings::new("ws://h/p");
        let target = |settings: &CallerSettings| {
            let address = Address::parse(&settings.url).unwrap();
            address.call_target(settings).expose_secret().to_owned()
        };
        assert_eq!(target(&settings), "/p/v1/voice?audio=pcm16&rate=24000");
        settings.voice = Some("NATM1".into());
        settings.text_prompt = Some("Be kind & brief.".to_owned().into());
        settings.credential = Credential::Ticket("t1".to_owned().into());
        settings.wire = Wire::Native(Audio::OggOpus);
        settings.persona = Some("listener".into());
        settings.url = "ws://h/p/v1/voice".into();
        let wishes = "persona=listener&voice_prompt=NATM1&text_prompt=Be+kind+%26+brief.&ticket=t1";
        assert_eq!(target(&settings), format!("/p/v1/voice?audio=ogg-opus&{wishes}"));
    }

    #[test]
    fn a_model_server_is_always_told_a_voice_and_a_prompt() {
        let mut settings = CallerSettings::new("ws://h");
        settings.wire = Wire::Moshi;
        let target = Address::parse("ws://h").unwrap().call_target(&settings);
        let expected = "/api/chat?voice_prompt=NATF0.pt&text_prompt=You+are+a+friendly+assistant.";
        assert_eq!(target.expose_secret(), expected);
        settings.voice = Some("VARM2".into());
        assert!(Address::parse("ws://h").unwrap().call_target(&settings).expose_secret().contains("VARM2.pt"));
    }
}
