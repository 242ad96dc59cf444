//! HTTP heads as the real server (aiohttp 3.10) reads and answers them (pure).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The name under which the server answers.
pub const SERVER: &str = "Python/3.11 aiohttp/3.10.11";

/// The longest request target that is read, in bytes.
pub const MAX_TARGET_BYTES: usize = 8190;

/// The longest head that is read, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

const MAX_HEADERS: usize = 100;
const CHAT_PATH: &str = "/api/chat";

/// A request that asks for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Path and query as they were sent.
    pub target: String,
    /// The `Sec-WebSocket-Key`.
    pub key: String,
    /// Whether permessage-deflate was offered. The real server would accept it; this one never compresses.
    pub deflate_offered: bool,
}

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A call.
    Upgrade(Upgrade),
    /// A status and a text.
    Text(TextReply),
}

/// An answer that is not a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextReply {
    status: &'static str,
    body: String,
    /// For HEAD: the headers of the body without the body.
    head_only: bool,
    /// Refused by the parser, which answers as HTTP/1.0 and hangs up.
    unparsed: bool,
    allow: bool,
    /// Whether the connection goes on after it.
    pub keep_alive: bool,
}

/// One request's head, or why there is none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// More bytes are needed.
    Partial,
    /// The answer to a head of this many bytes.
    Whole(usize, Reply),
}

/// Reads one request's head and decides what the server says to it.
pub fn read(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(bytes);
    let target_bytes = request.path.map_or_else(|| unfinished_target_bytes(bytes), str::len);
    if target_bytes > MAX_TARGET_BYTES {
        let text = format!("Got more than 8190 bytes ({target_bytes}) when reading Status line is too long.");
        return Head::Whole(bytes.len(), Reply::Text(TextReply::unparsed(text)));
    }
    match parsed {
        Ok(httparse::Status::Complete(length)) => Head::Whole(length, answer(&request)),
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD_BYTES => Head::Partial,
        _ => Head::Whole(bytes.len(), Reply::Text(TextReply::unparsed("Bad status line or header".to_owned()))),
    }
}

/// The length of a target whose end has not come yet.
fn unfinished_target_bytes(bytes: &[u8]) -> usize {
    let line = bytes.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    line.split(|&byte| byte == b' ').nth(1).map_or(0, <[u8]>::len)
}

fn answer(request: &httparse::Request<'_, '_>) -> Reply {
    let header = |name: &str| {
        let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(found.value).into_owned())
    };
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut reply = if path != CHAT_PATH {
        TextReply::new("404 Not Found", "404: Not Found".to_owned())
    } else if !matches!(method, "GET" | "HEAD") {
        TextReply { allow: true, ..TextReply::new("405 Method Not Allowed", "405: Method Not Allowed".to_owned()) }
    } else {
        match upgrade(target, &header) {
            Ok(upgrade) => return Reply::Upgrade(upgrade),
            Err(text) => TextReply::new("400 Bad Request", text),
        }
    };
    reply.head_only = method == "HEAD";
    // A request with a body would have to be read to its end; nobody sends one here, so the connection ends instead.
    let has_body =
        header("content-length").is_some_and(|length| length != "0") || header("transfer-encoding").is_some();
    let asks_to_close = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    reply.keep_alive = request.version == Some(1) && !has_body && !asks_to_close;
    Reply::Text(reply)
}

/// The checks of the WebSocket handshake, in the real server's order and words.
fn upgrade(target: &str, header: &impl Fn(&str) -> Option<String>) -> Result<Upgrade, String> {
    let quoted = |value: Option<String>| value.map_or("None".to_owned(), |value| format!("'{value}'"));
    let asked = header("upgrade");
    if !asked.as_deref().unwrap_or_default().trim().eq_ignore_ascii_case("websocket") {
        let asked = asked.unwrap_or_else(|| "None".to_owned());
        return Err(format!("No WebSocket UPGRADE hdr: {asked}\n Can \"Upgrade\" only to \"WebSocket\"."));
    }
    let connection = header("connection");
    if !connection.as_deref().unwrap_or_default().to_ascii_lowercase().contains("upgrade") {
        return Err(format!("No CONNECTION upgrade hdr: {}", connection.unwrap_or_else(|| "None".to_owned())));
    }
    let version = header("sec-websocket-version").unwrap_or_default();
    if !matches!(&*version, "13" | "8" | "7") {
        return Err(format!("Unsupported version: {version}"));
    }
    let key = header("sec-websocket-key");
    if !key.as_deref().is_some_and(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)) {
        return Err(format!("Handshake error: {}", quoted(key)));
    }
    let extensions = header("sec-websocket-extensions").unwrap_or_default();
    let deflate_offered = extensions.contains("permessage-deflate");
    Ok(Upgrade { target: target.to_owned(), key: key.unwrap_or_default(), deflate_offered })
}

impl Upgrade {
    /// The 101, `date` being the time as HTTP writes it.
    pub fn accepted(&self, date: &str) -> String {
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(self.key.as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nDate: {date}\r\nServer: {SERVER}\r\n\r\n"
        )
    }
}

impl TextReply {
    fn new(status: &'static str, body: String) -> Self {
        Self { status, body, head_only: false, unparsed: false, allow: false, keep_alive: false }
    }

    fn unparsed(body: String) -> Self {
        Self { unparsed: true, ..Self::new("400 Bad Request", body) }
    }

    /// The whole answer, `date` being the time as HTTP writes it.
    pub fn write(&self, date: &str) -> String {
        let version = if self.unparsed { "HTTP/1.0" } else { "HTTP/1.1" };
        let allow = if self.allow { "Allow: GET,HEAD\r\n" } else { "" };
        let connection = if self.keep_alive || self.unparsed { "" } else { "Connection: close\r\n" };
        let body = if self.head_only { "" } else { &self.body };
        format!(
            "{version} {}\r\nContent-Type: text/plain; charset=utf-8\r\n{allow}Content-Length: {}\r\nDate: {date}\r\n\
             Server: {SERVER}\r\n{connection}\r\n{body}",
            self.status,
            self.body.len(),
        )
    }
}

/// A time as HTTP writes it, from seconds since 1970.
pub fn http_date(unix_seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Days to a civil date: years begin in March so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[month as usize]);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn text(head: &str) -> TextReply {
        match read(head.as_bytes()) {
            Head::Whole(length, Reply::Text(reply)) => {
                assert_eq!(length, head.len());
                reply
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_a_call_is_answered_in_the_recorded_words() {
        let no_upgrade = "No WebSocket UPGRADE hdr: None\n Can \"Upgrade\" only to \"WebSocket\".";
        let rows = [
            ("GET /api/chat HTTP/1.1\r\n\r\n", "400 Bad Request", no_upgrade),
            ("HEAD /api/chat?x=y HTTP/1.1\r\n\r\n", "400 Bad Request", no_upgrade),
            ("POST /api/chat HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "405: Method Not Allowed"),
            ("OPTIONS /api/chat HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "405: Method Not Allowed"),
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found", "404: Not Found"),
            ("POST /health HTTP/1.1\r\n\r\n", "404 Not Found", "404: Not Found"),
            ("GET /api/chat/ HTTP/1.1\r\n\r\n", "404 Not Found", "404: Not Found"),
        ];
        for (head, status, body) in rows {
            let reply = text(head);
            assert_eq!((reply.status, &*reply.body), (status, body), "{head}");
            assert!(reply.keep_alive);
            assert_eq!(reply.write("D").ends_with(body), !head.starts_with("HEAD"), "{head}");
            assert_eq!(reply.write("D").contains("\r\nAllow: GET,HEAD\r\n"), status.starts_with("405"), "{head}");
        }
    }

    #[test]
    fn the_accepting_head_is_the_recorded_one() {
        let head = format!("GET /api/chat?a=b HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n");
        let Head::Whole(length, Reply::Upgrade(upgrade)) = read(head.as_bytes()) else { panic!("no upgrade") };
        assert_eq!((length, &*upgrade.target, upgrade.deflate_offered), (head.len(), "/api/chat?a=b", false));
        assert_eq!(
            upgrade.accepted("Thu, 01 Jan 1970 00:00:00 GMT"),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Server: Python/3.11 aiohttp/3.10.11\r\n\r\n"
        );
    }

    #[test]
    fn a_bad_handshake_is_refused_before_it_is_a_call() {
        for (from, to, body) in [
            (
                "Upgrade: websocket",
                "Upgrade: h2c",
                "No WebSocket UPGRADE hdr: h2c\n Can \"Upgrade\" only to \"WebSocket\".",
            ),
            ("Connection: Upgrade", "Connection: close", "No CONNECTION upgrade hdr: close"),
            ("Version: 13", "Version: 12", "Unsupported version: 12"),
            ("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: abc", "Handshake error: 'abc'"),
        ] {
            let head = format!("GET /api/chat HTTP/1.1\r\n{UPGRADE}\r\n").replace(from, to);
            assert_eq!(text(&head).body, body);
        }
    }

    #[test]
    fn the_offer_of_compression_is_seen() {
        let head = format!(
            "GET /api/chat HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        );
        assert!(matches!(read(head.as_bytes()), Head::Whole(_, Reply::Upgrade(Upgrade { deflate_offered: true, .. }))));
    }

    #[test]
    fn a_target_of_8190_bytes_passes_and_one_more_does_not() {
        let head = |bytes: usize| format!("GET {:x<bytes$} HTTP/1.1\r\n\r\n", "/api/chat?text_prompt=");
        assert_eq!(text(&head(8190)).status, "400 Bad Request");
        assert!(text(&head(8190)).body.starts_with("No WebSocket"));
        let refused = text(&head(8191)).write("D");
        assert!(refused.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{refused}");
        assert!(refused.ends_with("\r\n\r\nGot more than 8190 bytes (8191) when reading Status line is too long."));
        // It is refused before its end has come, too.
        assert!(matches!(read(&head(9000).as_bytes()[..8400]), Head::Whole(8400, Reply::Text(_))));
    }

    #[test]
    fn dates_are_written_as_http_has_them() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(seconds), date);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_or_awaited(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Head::Whole(length, _) = read(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
