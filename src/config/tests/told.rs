//! Which model servers may be told of callers.

use super::*;

#[test]
fn what_opens_doors_as_it_is_sent_is_long_and_good_for_nothing_else() {
    let (key, token) = ("an operator's key that is long enough", "an admin's token that is long enough");
    let both = with([("TANDEM_OPERATOR_KEY", key), ("TANDEM_ADMIN_TOKEN", token)]).unwrap();
    assert_eq!(both.auth.admin_token.as_ref().unwrap().expose_secret(), token);
    assert_eq!(line(&both, "auth.admin_token"), ("(set)", "TANDEM_ADMIN_TOKEN"));
    assert!(with([]).unwrap().auth.admin_token.is_none(), "there is no default");
    for (variables, expected) in [
        ([("TANDEM_ADMIN_TOKEN", "short"), ("PORT", "0")], "is 5 bytes long; expected at least 32 bytes"),
        ([("TANDEM_ADMIN_TOKEN", &"a".repeat(40)), ("PORT", "0")], "made of a few characters"),
        ([("TANDEM_ADMIN_TOKEN", key), ("TANDEM_OPERATOR_KEY", key)], "expected a secret of its own"),
        ([("TANDEM_ADMIN_TOKEN", SECRET), ("JWT_SECRET", SECRET)], "expected a secret of its own"),
    ] {
        let told = flaws(with(variables));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("auth.admin_token (TANDEM_ADMIN_TOKEN or ") && told[0].contains(expected),
            "{told:?}"
        );
        assert!(!told[0].contains("short") && !told[0].contains("key that"), "{told:?}");
    }
}

/// Production with these servers, and what is said of telling.
fn production(urls: &str, telling: &str, mongodb: &str) -> Result<Settings, ConfigError> {
    with([
        ("TANDEM_MODE", "production"),
        ("JWT_SECRET", SECRET),
        ("PERSONAPLEX_SERVER_URL", urls),
        ("TANDEM__UPSTREAMS__PERSONAL_CONTEXT", telling),
        ("MONGODB_URI", mongodb),
    ])
}

fn told(settings: &Settings) -> Vec<bool> {
    settings.upstreams.servers().map(|seed| seed.upstream.endpoint.may_be_told()).collect()
}

#[test]
fn servers_are_told_of_callers_if_that_is_said_of_them_or_of_all_and_in_development_on_this_machine() {
    const THREE: &str = "ws://127.0.0.1:1,wss://a.example:1#personal_context,wss://b.example:1";
    let development = with([("PERSONAPLEX_SERVER_URL", THREE)]).unwrap();
    assert_eq!(told(&development), [true, true, false]);
    assert_eq!(told(&production(THREE, "marked", "").unwrap()), [false, true, false]);
    assert_eq!(told(&production(THREE, "all", "").unwrap()), [true, true, true]);
    assert_eq!(told(&production(THREE, "none", "").unwrap()), [false, false, false]);
    let private = "ws://voice.railway.internal:1#personal_context=plaintext";
    assert_eq!(told(&production(private, "marked", "").unwrap()), [true]);
}

#[test]
fn keys_that_encrypt_are_judged_and_never_shown() {
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    assert!(!with([]).unwrap().store.seal.is_on());
    for variable in ["TANDEM_ENCRYPTION_KEY", "TANDEM__STORE__ENCRYPTION_KEY"] {
        let settings = with([(variable, KEY)]).unwrap();
        assert!(settings.store.seal.is_on());
        assert_eq!(line(&settings, "store.encryption_key"), ("(set)", variable));
        assert!(!format!("{settings:?}").contains(KEY));
        let told = flaws(with([(variable, "hush")]));
        assert!(told.len() == 1 && told[0].contains("key 1 is not 32 bytes"), "{told:?}");
        assert!(told[0].contains("openssl rand -base64 32") && !told[0].contains("hush"), "{told:?}");
    }
}

#[test]
fn what_is_said_in_the_open_is_refused_unless_the_network_is_private() {
    for (urls, telling) in [
        ("ws://10.0.0.7:1#personal_context", "marked"),
        ("wss://10.0.0.7:1#insecure&personal_context", "marked"),
        ("ws://10.0.0.7:1", "all"),
    ] {
        let told = flaws(production(urls, telling, ""));
        assert!(told.len() == 1 && told[0].starts_with("upstreams.urls"), "{urls}: {told:?}");
        assert!(told[0].contains("in its part 1") && told[0].contains("personal_context=plaintext"), "{told:?}");
    }
    let everywhere = with([
        ("PERSONAPLEX_SERVER_URL", "wss://10.0.0.7:1#personal_context"),
        ("TANDEM__UPSTREAMS__INSECURE_TLS", "true"),
    ]);
    assert_eq!(flaws(everywhere).len(), 1, "nobody looks at certificates");
    assert_eq!(flaws(production("ws://10.0.0.7:1#personal_context", "none", "")), Vec::<String>::new());
}

#[test]
fn production_with_users_in_mongodb_says_which_server_may_be_told_of_them_or_that_none_may() {
    const USERS: &str = "mongodb://127.0.0.1:27017/app";
    let told = flaws(production("wss://a.example:1", "marked", USERS));
    assert!(told.len() == 1 && told[0].starts_with("upstreams.personal_context"), "{told:?}");
    for word in ["config/personaplex/launch.py", "personal_context behind the #", "or none here"] {
        assert!(told[0].contains(word), "{told:?}");
    }
    for (urls, telling, mongodb) in [
        ("wss://a.example:1,wss://b.example:1#personal_context", "marked", USERS),
        ("wss://a.example:1", "all", USERS),
        ("wss://a.example:1", "none", USERS),
        ("wss://a.example:1", "marked", ""),
    ] {
        assert_eq!(flaws(production(urls, telling, mongodb)), Vec::<String>::new(), "{urls} {telling}");
    }
    assert!(with([("PERSONAPLEX_SERVER_URL", "wss://a.example:1"), ("MONGODB_URI", USERS)]).is_ok(), "development");
}
