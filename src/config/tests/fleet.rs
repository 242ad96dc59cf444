//! Machines that sleep, as they are configured.

use super::*;
use crate::fleet::lifecycle::Policy;
use crate::fleet::provider::{
    BuildError, CommandOutput, Exchange, Machine, docker::Daemon, kubernetes, railway::Token,
};

const URL: &str = "PERSONAPLEX_SERVER_URL";

/// One server of each provider.
const ALL: &str = "ws://a:1#provider=runpod:pod,ws://b:1#provider=vast:7,ws://c:1#provider=railway:env/svc,\
                   ws://localhost:8998#provider=command:big,ws://e:1#provider=webhook:rack/1,ws://f:1,ws://g:1#provider=docker:voice,\
                   ws://h:1#provider=kubernetes:ns/deployment/voice";

/// What all of them need.
const NEEDED: [(&str, &str); 8] = [
    ("RUNPOD_API_KEY", "hush-runpod\n"),
    ("VAST_API_KEY", "hush-vast"),
    ("RAILWAY_TOKEN", "hush-railway"),
    ("TANDEM__PROVIDERS__COMMAND__START", "serve --host {host} --port {port}"),
    ("TANDEM__PROVIDERS__KUBERNETES__TOKEN", "hush-kubernetes"),
    ("TANDEM__PROVIDERS__KUBERNETES__BASE_URL", "https://k8s:6443"),
    ("TANDEM__PROVIDERS__WEBHOOK__START_URL", "https://hush.example/{action}"),
    ("TANDEM__PROVIDERS__WEBHOOK__STOP_URL", "http://hush.example/{machine}/off"),
];

/// All of them, with these variables besides.
fn all<const N: usize>(more: [(&str, &str); N]) -> Result<Settings, ConfigError> {
    let mut variables = environment(NEEDED);
    variables.insert(URL.to_owned(), ALL.to_owned());
    variables.extend(environment(more));
    load(None, &variables)
}

#[test]
fn the_written_rules_are_those_of_the_fleet() {
    let fleet = with([]).unwrap().fleet;
    assert_eq!(fleet.policy, Policy::default());
    assert_eq!((fleet.ticket_hold, fleet.restart_stuck.as_secs()), (Some(Duration::from_secs(60)), 300));
    assert!(fleet.keep_warm.is_empty());
}

#[test]
fn every_rule_of_the_fleet_can_be_set() {
    let text = "[fleet]\nidle_seconds = 0\nmin_awake_seconds = 1\nwake_timeout_seconds = 10\nreconcile_seconds = 5\n\
                ticket_hold_seconds = 0\nwarm_up = false\nrestart_stuck_seconds = 0\nkeep_warm = \"Mon 08:00-20:00 UTC\"\n";
    let fleet = load(Some(&file(text)), &environment([])).unwrap().fleet;
    let seconds = [fleet.policy.idle, fleet.policy.min_awake, fleet.policy.wake_deadline, fleet.policy.reconcile];
    assert_eq!(seconds.map(|time| time.as_secs()), [0, 1, 10, 5]);
    assert_eq!((fleet.ticket_hold, fleet.policy.warm_up, fleet.restart_stuck.as_secs()), (None, false, 0));
    // The first Monday of all.
    assert!(fleet.keep_warm.is_on(4 * 86_400 + 8 * 3_600) && !fleet.keep_warm.is_on(0));
    let told = flaws(with([("TANDEM__FLEET__KEEP_WARM", "Mon 08:00-20:00 UTC; nights")]));
    let begin = "fleet.keep_warm (TANDEM__FLEET__KEEP_WARM) is \"Mon 08:00-20:00 UTC; nights\"; expected days, hours and a \
                 time zone in window 2;";
    assert!(told.len() == 1 && told[0].starts_with(begin), "{told:?}");
}

#[test]
fn a_provider_without_its_credential_is_told_with_the_variable_to_set_wherever_tandem_runs() {
    for mode in [("TANDEM_MODE", "development"), ("TANDEM_MODE", "production")] {
        let told = flaws(with([mode, (URL, ALL), ("JWT_SECRET", SECRET)]));
        let sets = [
            "set RUNPOD_API_KEY.",
            "set VAST_API_KEY.",
            "set RAILWAY_TOKEN (or, for a token of the account, RAILWAY_API_TOKEN).",
            "set TANDEM__PROVIDERS__COMMAND__START.",
            "set TANDEM__PROVIDERS__WEBHOOK__START_URL.",
            "set TANDEM__PROVIDERS__WEBHOOK__STOP_URL.",
        ];
        assert_eq!(told.len(), sets.len(), "{told:#?}");
        for (flaw, set) in told.iter().zip(sets) {
            assert!(flaw.starts_with("providers.") && flaw.ends_with(set), "{flaw}\ndoes not say\n{set}");
        }
    }
    let one = flaws(with([(URL, "ws://a:1#provider=runpod:x,ws://b:1#provider=runpod:y"), ("VAST_API_KEY", "k")]));
    assert_eq!(one.len(), 1, "once for all machines of a provider: {one:?}");
    assert!(
        one[0]
            .starts_with("providers.runpod.api_key (RUNPOD_API_KEY or TANDEM__PROVIDERS__RUNPOD__API_KEY) is not set")
    );
    assert_eq!(flaws(with([("RUNPOD_API_KEY", "a key that nothing needs")])), Vec::<String>::new());
}

#[test]
fn every_server_gets_the_provider_of_its_address() {
    let settings = all([]).unwrap();
    let exchange = Exchange::new(Exchange::TIMEOUT);
    let made = settings.upstreams.urls.iter().map(|url| match settings.fleet.provider(url, &exchange) {
        Ok(provider) => provider.name(),
        Err(BuildError::NotBuiltIn(name)) => name,
        Err(error) => panic!("{error}"),
    });
    assert_eq!(
        made.collect::<Vec<_>>(),
        ["runpod", "vast", "railway", "command", "webhook", "none", "docker", "kubernetes"]
    );
    let machine = settings.upstreams.urls[2].options.machine.clone();
    assert_eq!(machine, Some(Machine::Railway { environment: "env".to_owned(), service: "svc".to_owned() }));
}

#[test]
fn the_usual_variables_are_read_and_what_surrounds_a_key_is_not_part_of_it() {
    let access = all([("RAILWAY_API_TOKEN", "account")]).unwrap().fleet.access;
    assert_eq!(access.runpod.as_ref().unwrap().api_key.expose_secret(), "hush-runpod");
    assert_eq!(access.vast.as_ref().unwrap().api_key.expose_secret(), "hush-vast");
    let Some(Token::Project(token)) = access.railway.map(|railway| railway.token) else {
        panic!("the narrower one counts")
    };
    assert_eq!(token.expose_secret(), "hush-railway");
    let account = with([("RAILWAY_API_TOKEN", "account"), (URL, "ws://c:1#provider=railway:env/svc")]).unwrap();
    let Some(Token::Account(token)) = account.fleet.access.railway.map(|railway| railway.token) else {
        panic!("another")
    };
    assert_eq!(token.expose_secret(), "account");
    let long = all([("TANDEM__PROVIDERS__RUNPOD__API_KEY", "long")]).unwrap().fleet.access;
    assert_eq!(long.runpod.unwrap().api_key.expose_secret(), "long", "the long name wins");
}

#[test]
fn credentials_come_from_a_file_as_well() {
    let text = "[upstreams]\nurls = [\"ws://a:1#provider=runpod:pod\"]\n[providers.runpod]\napi_key = \"hush\"\nport = 0\n\
                base_url = \"http://127.0.0.1:9/v2/\"\n[providers.vast]\nport = 1\n";
    let settings = load(Some(&file(text)), &environment([])).unwrap();
    let runpod = settings.fleet.access.runpod.as_ref().unwrap();
    assert_eq!((runpod.api_key.expose_secret(), runpod.port), ("hush", None));
    assert_eq!(runpod.base_url, "http://127.0.0.1:9/v2");
    assert!(settings.fleet.access.vast.is_none());
    assert_eq!(line(&settings, "providers.runpod.api_key"), ("(set)", "tandem.toml"));
}

#[test]
fn everything_of_a_command_and_of_a_webhook_can_be_set() {
    let access = all([
        ("TANDEM__STATE__DIR", "state"),
        ("TANDEM__PROVIDERS__COMMAND__ENVIRONMENT", "HF_TOKEN, _X1"),
        ("TANDEM__PROVIDERS__COMMAND__DIRECTORY", "/opt"),
        ("TANDEM__PROVIDERS__COMMAND__GRACE_SECONDS", "3"),
        ("TANDEM__PROVIDERS__WEBHOOK__RESTART_URL", "https://r"),
        ("TANDEM__PROVIDERS__WEBHOOK__STATUS_URL", "https://s"),
        ("TANDEM__PROVIDERS__WEBHOOK__STATE_POINTER", ""),
        ("TANDEM__PROVIDERS__WEBHOOK__ADDRESS_POINTER", "/at"),
        ("TANDEM__PROVIDERS__WEBHOOK__SECRET", "sign"),
        ("TANDEM__PROVIDERS__WEBHOOK__AUTHORIZATION", "Bearer x"),
    ])
    .unwrap()
    .fleet
    .access;
    let command = access.command.unwrap();
    assert_eq!(command.start.fill("n", "h", 1), ["serve", "--host", "h", "--port", "1"]);
    assert_eq!(
        (command.variables, command.grace),
        (vec!["HF_TOKEN".to_owned(), "_X1".to_owned()], Duration::from_secs(3))
    );
    assert_eq!(
        (command.directory.unwrap().to_str(), command.pid_file.as_str()),
        (Some("/opt"), "state/command-{name}.pid")
    );
    assert_eq!(command.output, CommandOutput::Discard, "a stock server prints its prompts");
    let webhook = access.webhook.unwrap();
    let urls =
        [Some(webhook.start_url), Some(webhook.stop_url), webhook.restart_url, webhook.status_url, webhook.signing_key];
    let urls = urls.map(|url| url.unwrap().expose_secret().to_owned());
    let written =
        ["https://hush.example/{action}", "http://hush.example/{machine}/off", "https://r", "https://s", "sign"];
    assert_eq!(urls, written);
    assert_eq!((webhook.state_pointer.as_str(), webhook.address_pointer.as_deref()), ("/state", Some("/at")));
    assert_eq!((webhook.headers[0].0.as_str(), webhook.headers[0].1.expose_secret()), ("authorization", "Bearer x"));
    let file = CommandOutput::File { path: "logs/{name}".to_owned(), max_bytes: 10 << 20 };
    for (written, output) in
        [("off", CommandOutput::Discard), ("inherit", CommandOutput::Inherit), ("logs/{name}", file)]
    {
        let settings = all([("TANDEM__PROVIDERS__COMMAND__OUTPUT", written)]).unwrap();
        assert_eq!(settings.fleet.access.command.unwrap().output, output);
    }
}

#[test]
fn docker_and_kubernetes_have_defaults_for_where_they_run_and_can_be_elsewhere() {
    let access = with([]).unwrap().fleet.access;
    let docker = access.docker.unwrap();
    assert_eq!((docker.daemon, docker.grace.as_secs()), (Daemon::Socket("/var/run/docker.sock".into()), 20));
    let found = access.kubernetes.unwrap();
    assert!(found.base_url.is_none() && found.ca_file.is_none() && found.token.is_none(), "as kubectl finds it");
    assert_eq!(found.replicas, 1);
    let text = "[providers.kubernetes]\nbase_url = \"https://kubernetes.default.svc/\"\n";
    let inside = load(Some(&file(text)), &environment([])).unwrap().fleet.access.kubernetes.unwrap();
    assert_eq!(inside.base_url.as_deref(), Some(kubernetes::Settings::IN_POD_URL));
    assert_eq!(inside.ca_file.unwrap().to_str(), Some(kubernetes::Settings::IN_POD_CA_FILE));
    let Some(kubernetes::Token::File(path)) = inside.token else { panic!("a pod has its token in a file") };
    assert_eq!(path.to_str(), Some(kubernetes::Settings::IN_POD_TOKEN_FILE));
    let text = "[providers.docker]\ndaemon = \"http://10.0.0.2:2375/\"\ngrace_seconds = 1\n[providers.kubernetes]\n\
                base_url = \"https://k8s:6443\"\ntoken = \"hush\"\nreplicas = 2\n";
    let access = load(Some(&file(text)), &environment([])).unwrap().fleet.access;
    let docker = access.docker.unwrap();
    assert_eq!((docker.daemon, docker.grace.as_secs()), (Daemon::Url("http://10.0.0.2:2375".to_owned()), 1));
    let outside = access.kubernetes.unwrap();
    assert_eq!((outside.base_url.as_deref(), outside.replicas), (Some("https://k8s:6443"), 2));
    assert_eq!(outside.ca_file, None);
    assert!(matches!(outside.token, Some(kubernetes::Token::Fixed(token)) if token.expose_secret() == "hush"));
    let text = "[upstreams]\nurls = [\"ws://h:1#provider=kubernetes:ns/statefulset/voice\"]\n[providers.kubernetes]\n\
                base_url = \"https://k8s:6443\"\n[providers.docker]\ndaemon = \"tcp://hush\"\n";
    let told = flaws(load(Some(&file(text)), &environment([])));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].ends_with(
            "expected the path of a socket such as /var/run/docker.sock, or a URL that begins with http://."
        )
    );
    assert!(told[1].contains("set TANDEM__PROVIDERS__KUBERNETES__TOKEN, or") && !told[0].contains("hush"), "{told:?}");
}

#[test]
fn what_a_provider_cannot_use_is_told_and_no_secret_is_repeated() {
    let told = flaws(all([
        ("TANDEM__PROVIDERS__RUNPOD__BASE_URL", "http://api.runpod.io/v2"),
        ("TANDEM__PROVIDERS__VAST__BASE_URL", "https://u:hush@h"),
        ("TANDEM__PROVIDERS__RAILWAY__BASE_URL", "https://h/x?hush=1"),
        ("TANDEM__PROVIDERS__COMMAND__ENVIRONMENT", "HF_TOKEN,HF_TOKEN=hush"),
        ("TANDEM__PROVIDERS__COMMAND__START", "serve {pid}"),
        ("TANDEM__PROVIDERS__WEBHOOK__STATE_POINTER", "state"),
        ("TANDEM__PROVIDERS__WEBHOOK__ADDRESS_POINTER", "at"),
        ("TANDEM__PROVIDERS__WEBHOOK__RESTART_URL", "hush.example"),
        ("TANDEM__PROVIDERS__WEBHOOK__STATUS_URL", "https://hush example"),
        ("TANDEM__PROVIDERS__WEBHOOK__START_URL", "ftp://hush"),
        ("TANDEM__PROVIDERS__WEBHOOK__STOP_URL", "https://"),
        ("TANDEM__FLEET__WAKE_TIMEOUT_SECONDS", "9"),
    ]));
    let begins = [
        "fleet.wake_timeout_seconds (TANDEM__FLEET__WAKE_TIMEOUT_SECONDS) is 9 in TANDEM__FLEET__WAKE_TIMEOUT_SECONDS;",
        "providers.runpod.base_url (TANDEM__PROVIDERS__RUNPOD__BASE_URL) is a value that is not shown; expected https://",
        "providers.vast.base_url (TANDEM__PROVIDERS__VAST__BASE_URL) is a value that is not shown; expected https://",
        "providers.railway.base_url (TANDEM__PROVIDERS__RAILWAY__BASE_URL) is a value that is not shown; expected https://",
        "providers.command.environment (TANDEM__PROVIDERS__COMMAND__ENVIRONMENT) is wrong in its part 2; expected names of",
        "providers.command.start (TANDEM__PROVIDERS__COMMAND__START) is \"serve {pid}\"; expected no other places than {name},",
        "providers.webhook.state_pointer (TANDEM__PROVIDERS__WEBHOOK__STATE_POINTER) is \"state\"; expected a JSON pointer",
        "providers.webhook.address_pointer (TANDEM__PROVIDERS__WEBHOOK__ADDRESS_POINTER) is \"at\"; expected a JSON pointer",
        "providers.webhook.restart_url (TANDEM__PROVIDERS__WEBHOOK__RESTART_URL) is a value that is not shown; expected a URL",
        "providers.webhook.status_url (TANDEM__PROVIDERS__WEBHOOK__STATUS_URL) is a value that is not shown; expected a URL",
        "providers.webhook.start_url (TANDEM__PROVIDERS__WEBHOOK__START_URL) is a value that is not shown; expected a URL",
        "providers.webhook.stop_url (TANDEM__PROVIDERS__WEBHOOK__STOP_URL) is a value that is not shown; expected a URL",
    ];
    assert_eq!(told.len(), begins.len(), "{told:#?}");
    for (flaw, begin) in told.iter().zip(begins) {
        assert!(flaw.starts_with(begin) && !flaw.contains("hush"), "{flaw}\ndoes not begin with\n{begin}");
    }
}

#[test]
fn a_machine_has_one_server() {
    let twice = "ws://a:1#provider=vast:7,ws://b:1#provider=runpod:7,ws://c:1#provider=vast:007,ws://d:1,ws://e:1,\
                 wss://f:1#dns&provider=vast:8";
    let told = flaws(with([(URL, twice), ("VAST_API_KEY", "k"), ("RUNPOD_API_KEY", "k")]));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].ends_with("is wrong in its part 3 (a machine again); expected every machine once."), "{told:?}");
    assert!(told[1].contains("is wrong in its part 6; expected only one of dns and provider"), "{told:?}");
    let commands = "ws://localhost:1#provider=command:a,ws://localhost:2#provider=command:b";
    let start = NEEDED[3];
    let output = |path| flaws(with([(URL, commands), start, ("TANDEM__PROVIDERS__COMMAND__OUTPUT", path)]));
    assert!(output("/log/all")[0].contains("is \"/log/all\"; expected a path with {name} in it"));
    assert_eq!(output("/log/{name}"), Vec::<String>::new());
}

#[test]
fn no_credential_is_printed() {
    let more = [
        ("RAILWAY_API_TOKEN", "hush-account"),
        ("TANDEM__PROVIDERS__WEBHOOK__STATUS_URL", "https://hush.example/status"),
        ("TANDEM__PROVIDERS__WEBHOOK__RESTART_URL", "https://hush.example/restart"),
        ("TANDEM__PROVIDERS__WEBHOOK__SECRET", "hush-sign"),
        ("TANDEM__PROVIDERS__WEBHOOK__AUTHORIZATION", "Bearer hush"),
    ];
    let settings = all(more).unwrap();
    let exchange = Exchange::new(Exchange::TIMEOUT);
    let providers: Vec<_> = settings.upstreams.urls.iter().map(|url| settings.fleet.provider(url, &exchange)).collect();
    let printed = format!("{settings:?} {:?} {providers:?}", settings.describe());
    assert!(!printed.contains("hush"), "{printed}");
    for key in KEYS.iter().filter(|key| key.path.starts_with("providers.") && key.kind == Kind::Secret) {
        assert_eq!(line(&settings, key.path).0, "(set)");
    }
}

#[test]
fn sections_within_sections_are_named_when_something_is_unknown() {
    let text = "[providers.runpd]\napi_key = \"hush\"\n[providers.vast]\nkey = 1\n[providers]\nruntime = {}\n";
    let told = flaws(load(Some(&file(text)), &environment([("TANDEM__PROVIDERS__VAST__KEY", "hush")])));
    let begins = [
        "\"providers.runpd\" in tandem.toml names no setting; section providers has runpod, vast, railway, docker, kubernetes, command, webhook.",
        "\"providers.runtime\" in tandem.toml names no setting; section providers has runpod,",
        "\"providers.vast.key\" in tandem.toml names no setting; section providers.vast has api_key, base_url, port.",
        "\"TANDEM__PROVIDERS__VAST__KEY\" in the environment names no setting; there are TANDEM__PROVIDERS__VAST__API_KEY, T",
    ];
    assert_eq!(told.len(), begins.len(), "{told:#?}");
    for (flaw, begin) in told.iter().zip(begins) {
        assert!(flaw.starts_with(begin) && !flaw.contains("hush"), "{flaw}\ndoes not begin with\n{begin}");
    }
}
