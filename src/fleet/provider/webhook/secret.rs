//! What an answer may not repeat of what a webhook is asked with.

use secrecy::{ExposeSecret, SecretString};

use super::Settings;

/// Parts of URLs that are no secrets: without them, remarks would lose their plainest words.
const PLAIN: [&str; 16] = [
    "action", "api", "false", "hook", "hooks", "machine", "machines", "power", "restart", "start", "state", "status",
    "stop", "true", "webhook", "webhooks",
];

/// The signing key; each header, and what stands behind its first blank (`Bearer TOKEN`); each URL, and what may be secret
/// of it.
pub(super) fn of(settings: &Settings) -> Vec<SecretString> {
    let urls = [Some(&settings.start_url), Some(&settings.stop_url), settings.restart_url.as_ref()];
    let urls = urls.into_iter().chain([settings.status_url.as_ref()]).flatten().map(ExposeSecret::expose_secret);
    let headers = settings.headers.iter().map(|(_, value)| value.expose_secret());
    let credentials =
        headers.clone().filter_map(|value| value.split_once(' ')).map(|(_, credential)| credential.trim());
    let keys = settings.signing_key.iter().map(ExposeSecret::expose_secret);
    let whole = keys.chain(headers).chain(credentials).chain(urls.clone()).map(str::to_owned);
    whole.chain(urls.flat_map(parts)).map(SecretString::from).collect()
}

/// Name and password, the path's segments, and the query's names and values, without placeholders: as they are written, and
/// decoded.
fn parts(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let user = host.rsplit_once('@').map_or("", |(user, _)| user);
    let words = [user, path].into_iter().flat_map(|part| part.split(['/', '?', '&', '=', '#', ':', ';', ',']));
    let words = words.flat_map(|word| word.split("{machine}")).flat_map(|word| word.split("{action}"));
    let secret = words.filter(|word| !PLAIN.contains(&word.to_ascii_lowercase().as_str()));
    secret.flat_map(|word| [word.to_owned(), decoded(word)]).collect()
}

/// Without percent signs, as a server may repeat it.
fn decoded(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_of_a_url_is_found_and_nothing_plain_is() {
        let of = |url: &str| parts(url).into_iter().filter(|part| part.len() >= 4).collect::<Vec<_>>();
        for (url, found) in [
            ("https://host.example/{machine}/{action}", vec![]),
            ("https://host.example/hooks/S3CRET/start?x=1", vec!["S3CRET"]),
            ("https://me:passw0rd@host.example", vec!["passw0rd"]),
            ("https://host.example?t0ken", vec!["t0ken"]),
            (
                "https://host.example/a{machine}-k3y?token=t%2F0ken&state=t1ken",
                vec!["-k3y", "token", "t%2F0ken", "t/0ken", "t1ken"],
            ),
            ("/p4th", vec!["p4th"]),
            ("", vec![]),
        ] {
            let mut got = of(url);
            got.dedup();
            assert_eq!(got, found, "{url}");
        }
        assert_eq!(decoded("%41%zz%4"), "A%zz%4");
        assert_eq!(decoded("%é%+1"), "%é%+1".replace("%+1", "\u{1}"));
    }
}
