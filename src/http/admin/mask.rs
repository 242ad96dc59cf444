//! Settings as they may be told over the network: also what is no secret by its kind may have one in it (pure).

/// What is not told of a value.
const HIDDEN: &str = "***";

/// The value of a setting, without commands, and without what an address may have besides its place: a user, a password,
/// a query, and for model servers the path, which some fences take for a password.
pub(super) fn masked(key: &str, value: &str) -> String {
    match key {
        "providers.command.start" if value != "(not set)" => "(set)".to_owned(),
        _ => value.split(", ").map(|item| address(item, key == "upstreams.urls")).collect::<Vec<_>>().join(", "),
    }
}

fn address(text: &str, hides_path: bool) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (place, options) = rest.split_once('#').map_or((rest, None), |(place, options)| (place, Some(options)));
    let (place, query) = place.split_once('?').map_or((place, None), |(place, query)| (place, Some(query)));
    let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("{HIDDEN}@{host}"));
    let path = if hides_path && !path.trim_matches('/').is_empty() { format!("/{HIDDEN}") } else { path.to_owned() };
    let query = query.map_or(String::new(), |_| format!("?{HIDDEN}"));
    let options = options.map_or(String::new(), |options| format!("#{options}"));
    format!("{scheme}://{host}{path}{query}{options}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_and_what_opens_them_is_not() {
        for (key, value, expected) in [
            ("queue.limit", "100", "100"),
            ("upstreams.urls", "(not set)", "(not set)"),
            ("upstreams.urls", "ws://h:1", "ws://h:1"),
            ("upstreams.urls", "ws://h:1/", "ws://h:1/"),
            (
                "upstreams.urls",
                "wss://h:1/4af0/api/chat#capacity=2, ws://i#dns",
                "wss://h:1/***#capacity=2, ws://i#dns",
            ),
            ("upstreams.urls", "wss://me:pass@h/a?b=c", "wss://***@h/***?***"),
            ("recap.url", "https://me:p@ss@h:1/v1/chat?key=1", "https://***@h:1/v1/chat?***"),
            ("providers.command.start", "KEY=1 run", "(set)"),
            ("providers.command.start", "(not set)", "(not set)"),
            ("providers.docker.daemon", "unix:///run/docker.sock", "unix:///run/docker.sock"),
        ] {
            assert_eq!(masked(key, value), expected, "{key} = {value}");
        }
    }
}
