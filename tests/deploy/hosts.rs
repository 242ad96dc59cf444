//! The files with which Tandem is put on hosts: they are read by their own formats, name what exists, and allow a drain.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::Command,
};

use serde_json::Value;
use tandem::config::{self, Environment};

use crate::{assert_content, documents, files, path, run, text};

const MANIFESTS: &str = "deploy/kubernetes";

/// Every variable that the program reads.
fn known_variables() -> Vec<String> {
    let defaults = text("config/default.toml");
    let lines = defaults.lines().filter_map(|line| line.strip_prefix("# Environment: "));
    lines.flat_map(|line| line.split(" or ").map(str::to_owned)).collect()
}

/// That the program knows these variables, and starts with them and the secrets that no file has. Says how long it drains.
#[track_caller]
fn assert_settings(file: &str, variables: &[(String, String)]) -> u64 {
    let known = known_variables();
    for (name, _) in variables {
        assert!(known.contains(name), "{file}: nothing reads {name}");
    }
    let mut environment: Environment = variables.iter().cloned().collect();
    for (name, value) in [
        ("JWT_SECRET", "a secret of thirty-two bytes or more"),
        ("TANDEM_MODE", "production"),
        ("PERSONAPLEX_SERVER_URL", "ws://10.0.0.7:8999"),
    ] {
        environment.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    let settings = config::load(None, &environment).unwrap_or_else(|error| panic!("{file}: {error}"));
    settings.drain.deadline.as_secs()
}

fn json(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// `NAME=value` from lines that begin so.
fn assignments(text: &str, before: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(before));
    let words = lines.flat_map(str::split_whitespace).filter_map(|word| word.split_once('='));
    words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// `NAME: "value"` of the gateway in railway.ts; what is preserved there has no value.
fn railway_variables() -> BTreeMap<String, String> {
    let text = text(".railway/railway.ts");
    let inside = text.split_once("env: {").unwrap().1.split_once('}').unwrap().0;
    let pairs = inside.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(": "));
    pairs
        .filter(|(name, _)| !name.starts_with("//"))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

#[test]
fn railway_waits_longer_than_a_drain_and_builds_what_is_there() {
    let old = json("railway.json");
    assert_eq!(
        (&old["build"]["builder"], &old["deploy"]["healthcheckPath"]),
        (&"DOCKERFILE".into(), &"/readyz".into())
    );
    assert!(path(old["build"]["dockerfilePath"].as_str().unwrap()).is_file());
    let variables = railway_variables();
    let (railways, ours): (Vec<_>, Vec<_>) =
        variables.into_iter().partition(|(name, _)| name.starts_with("RAILWAY_DEPLOYMENT_"));
    for (name, value) in &ours {
        assert!(value != "preserve()" || ["JWT_SECRET", "PERSONAPLEX_SERVER_URL"].contains(&name.as_str()), "{name}");
    }
    let ours: Vec<_> = ours.into_iter().filter(|(_, value)| value != "preserve()").collect();
    let drains = assert_settings("railway.ts", &ours);
    let railways: BTreeMap<_, _> = railways.into_iter().collect();
    let waits: u64 = railways["RAILWAY_DEPLOYMENT_DRAINING_SECONDS"].parse().unwrap();
    assert!(waits > drains && old["deploy"]["drainingSeconds"] == waits, "{waits} s for {drains} s");
    assert_eq!(railways["RAILWAY_DEPLOYMENT_OVERLAP_SECONDS"], old["deploy"]["overlapSeconds"].to_string());
}

#[test]
fn the_unit_is_one_and_waits_longer_than_a_drain() {
    let name = "deploy/systemd/tandem.service";
    let unit = text(name);
    let drains = assert_settings(name, &assignments(&unit, "Environment="));
    let of = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key}"));
    assert!(of("TimeoutStopSec=").parse::<u64>().unwrap() > drains);
    assert_eq!(of("KillMode="), "mixed", "model servers that Tandem started have calls while it drains");
    let words: Vec<&str> = of("ExecStart=").split(' ').collect();
    assert_eq!(words, ["/usr/local/bin/tandem", "serve", "--production"]);
    // It is not installed here; everything else of the unit is looked at as it is.
    let folder = std::env::temp_dir().join(format!("tandem-unit-{}", uuid::Uuid::new_v4()));
    fs::create_dir(&folder).unwrap();
    let copy = folder.join("tandem.service");
    fs::write(&copy, unit.replace("/usr/local/bin/tandem", "/bin/true")).unwrap();
    let said = run("systemd-analyze", &["verify", copy.to_str().unwrap()]);
    fs::remove_dir_all(&folder).unwrap();
    if let Some(said) = said {
        let complaints = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && !complaints.contains("tandem.service"), "{complaints}");
    }
}

/// Every object of the manifests, by kind and name.
fn objects() -> BTreeMap<(String, String), Value> {
    let all = files(MANIFESTS).into_iter().flat_map(|file| documents(&file));
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    all.map(|object| ((object["kind"].as_str().unwrap().to_owned(), name(&object)), object)).collect()
}

fn object(kind: &str, name: &str) -> Value {
    objects().remove(&(kind.to_owned(), name.to_owned())).unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

#[test]
fn the_manifests_are_of_known_kinds_and_all_are_applied_but_one() {
    for ((kind, name), object) in objects() {
        let version = match kind.as_str() {
            "Deployment" | "StatefulSet" => "apps/v1",
            "NetworkPolicy" => "networking.k8s.io/v1",
            "Role" | "RoleBinding" => "rbac.authorization.k8s.io/v1",
            "Kustomization" => "kustomize.config.k8s.io/v1beta1",
            "ConfigMap" | "Namespace" | "Service" | "ServiceAccount" => "v1",
            other => panic!("{name} is a {other}"),
        };
        assert_eq!(object["apiVersion"], version, "{kind} {name}");
    }
    let applied = object("Kustomization", "")["resources"].as_array().unwrap().clone();
    for file in files(MANIFESTS) {
        let name = file.rsplit('/').next().unwrap();
        let is_left_out = ["kustomization.yaml", "sleep.yaml"].contains(&name);
        assert_ne!(applied.contains(&name.into()), is_left_out, "{name}");
    }
}

#[test]
fn the_pods_of_the_gateway_find_their_settings_servers_and_time_to_drain() {
    let data = object("ConfigMap", "tandem")["data"].clone();
    let text_of = |value: &Value| value.as_str().expect("a ConfigMap has texts only").to_owned();
    let variables: Vec<_> =
        data.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text_of(value))).collect();
    let drains = assert_settings("tandem.yaml", &variables);
    let pod = object("Deployment", "tandem")["spec"]["template"].clone();
    assert!(pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap() > drains);
    let container = &pod["spec"]["containers"][0];
    for (probe, route) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
        assert_eq!(container[probe]["httpGet"]["path"], route);
        assert!(text("src/http/mod.rs").contains(&format!("\"{route}\"")));
    }
    let port = container["ports"][0]["containerPort"].as_u64().unwrap();
    let settings = config::load(None, &Environment::new()).unwrap();
    assert_eq!((port, container["ports"][0]["name"].as_str()), (u64::from(settings.listen.port), Some("http")));
    let servers = object("Service", "personaplex");
    let server = format!("ws://personaplex:{}#dns", servers["spec"]["ports"][0]["port"]);
    assert_eq!(data["PERSONAPLEX_SERVER_URL"], *server);
    let (set, policy) = (object("StatefulSet", "personaplex"), object("NetworkPolicy", "personaplex"));
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&servers["spec"]["selector"], &policy["spec"]["podSelector"]["matchLabels"]), (labels, labels));
    let guests = &policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
    assert_eq!((guests, &object("Service", "tandem")["spec"]["selector"]), (&pod["metadata"]["labels"], guests));
    let role = object("Role", "tandem-sleep");
    assert!(role["rules"].as_array().unwrap().iter().all(|rule| !rule["verbs"].to_string().contains('*')));
}

/// The lines of a container recipe, those that go on in the next one joined.
fn instructions(file: &str) -> Vec<String> {
    let lines = text(file).replace("\\\n", " ");
    lines.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

/// What a recipe copies from its folder.
fn copied(file: &str) -> Vec<String> {
    let lines = instructions(file);
    let copies = lines.iter().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from"));
    copies.flat_map(|line| line.rsplit_once(' ').unwrap().0.split(' ').map(str::to_owned)).collect()
}

#[test]
fn the_recipes_copy_what_exists_and_run_as_nobody_important() {
    for (file, folder) in [("Dockerfile", ""), ("config/personaplex/Dockerfile", "config/personaplex/")] {
        let let_in = text(&format!("{folder}.dockerignore"));
        for name in copied(file) {
            let name = name.trim_start_matches("./");
            let exists = path(&format!("{folder}{name}")).exists();
            assert!(exists, "{file} copies {name}");
            assert!(let_in.lines().any(|line| line == format!("!{name}")), "{folder}.dockerignore leaves {name} out");
        }
        let lines = instructions(file);
        let user = lines.iter().rposition(|line| line == "USER 10001").expect("a user that is not root");
        assert!(lines.iter().skip(user).any(|line| line.starts_with("ENTRYPOINT")), "{file}");
        assert!(lines.iter().any(|line| line.starts_with("HEALTHCHECK")), "{file}");
        assert!(!lines.iter().any(|line| line.starts_with("VOLUME")), "{file}: Railway refuses VOLUME");
    }
    let environment: Vec<_> = instructions("Dockerfile").iter().flat_map(|line| assignments(line, "ENV ")).collect();
    assert_settings("Dockerfile", &environment);
    let version = text("Cargo.toml").lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().to_owned();
    assert!(text("Dockerfile").contains(&format!("FROM rust:{}-slim", version.trim_matches('"'))));
}

#[test]
fn the_build_has_every_file_that_the_program_includes() {
    let copied = copied("Dockerfile");
    let mut folders = vec!["src".to_owned()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(path(&folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap());
            if path(&name).is_dir() {
                folders.push(name);
                continue;
            }
            // Files of tests are not built there.
            let built = text(&name).split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
            for file in built.split("include_str!(\"").skip(1).filter(|_| !name.contains("tests")) {
                let file = file.split('"').next().unwrap().trim_start_matches("../");
                let place = file.split('/').next().unwrap();
                assert!(copied.iter().any(|copied| copied == place), "{name} includes {file}");
                count += 1;
            }
        }
    }
    assert!(count >= 4, "only {count} files were found");
}

#[test]
fn the_gateways_health_check_tells_one_that_answers_from_one_that_does_not() {
    let lines = instructions("Dockerfile");
    let check = lines.iter().find_map(|line| line.split_once("CMD [\"bash\"")).expect("a health check by bash").1;
    let words: Vec<String> = serde_json::from_str(&format!("[\"bash\"{check}")).unwrap();
    let asks = |port: u16| {
        let mut bash = Command::new(&words[0]);
        bash.args(&words[1..]).env("PORT", port.to_string()).output().unwrap().status.success()
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = std::thread::spawn(move || {
        for status in ["200 OK", "503 Service Unavailable"] {
            let (mut socket, _) = listener.accept().unwrap();
            let lines = BufReader::new(socket.try_clone().unwrap()).lines().map(Result::unwrap);
            let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            assert_eq!(request, ["GET /healthz HTTP/1.0"]);
            socket.write_all(format!("HTTP/1.0 {status}\r\n\r\n").as_bytes()).unwrap();
        }
    });
    assert!(asks(port));
    assert!(!asks(port), "503 is not healthy");
    answers.join().unwrap();
    assert!(!asks(port), "nobody listens any more");
}

#[test]
fn the_example_of_an_environment_names_every_secret_and_nothing_else_that_is_unknown() {
    let example = text(".env.example");
    let names = example.lines().filter_map(|line| line.trim_start_matches('#').split_once('=')).map(|(name, _)| name);
    let known = known_variables();
    let names: Vec<&str> = names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect();
    for name in &names {
        assert!(known.iter().any(|known| known == name), "nothing reads {name}");
    }
    // A variable that has a short name is one that a deployment sets.
    for name in known.iter().filter(|name| !name.starts_with("TANDEM__")) {
        assert!(names.contains(&name.as_str()), ".env.example does not name {name}");
    }
    let set: Vec<_> = example.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(set, ["JWT_SECRET=", "PERSONAPLEX_SERVER_URL="], "an empty value is not the default");
}

#[test]
fn what_is_said_to_the_model_service_is_what_it_listens_to() {
    let folder = "config/personaplex";
    let heard = ["start.sh", "haproxy.cfg", "Dockerfile"].map(|name| text(&format!("{folder}/{name}"))).concat();
    let mut said: Vec<String> = ["runpod.json", "vast.json"]
        .iter()
        .flat_map(|name| {
            json(&format!("{folder}/{name}"))["env"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        })
        .filter(|name| !name.starts_with("-p "))
        .collect();
    let nix: toml::Table = text(&format!("{folder}/nixpacks.toml")).parse().unwrap();
    said.extend(nix["variables"].as_table().unwrap().keys().cloned());
    let pod = object("StatefulSet", "personaplex")["spec"]["template"]["spec"]["containers"][0].clone();
    said.extend(pod["env"].as_array().unwrap().iter().map(|variable| variable["name"].as_str().unwrap().to_owned()));
    for name in said {
        assert!(heard.contains(&name), "nothing listens to {name}");
    }
    let railway = json(&format!("{folder}/railway.json"));
    assert!(heard.contains(railway["deploy"]["healthcheckPath"].as_str().unwrap()));
    assert_eq!(nix["start"]["cmd"].as_str(), railway["deploy"]["startCommand"].as_str());
    assert!(nix["phases"]["setup"]["nixPkgs"].as_array().unwrap().contains(&"python310".into()));
    assert_eq!(text(&format!("{folder}/runtime.txt")).trim(), "python-3.10");
    assert_eq!(json(&format!("{folder}/runpod.json"))["ports"], serde_json::json!(["8999/tcp"]));
    assert_content("bash", &["-n", "config/personaplex/start.sh"]);
}

#[test]
fn every_variable_and_setting_of_the_walks_exists() {
    let model =
        ["start.sh", "haproxy.cfg", "Dockerfile"].map(|name| text(&format!("config/personaplex/{name}"))).concat();
    // What the hosts themselves read.
    let hosts = ["RAILWAY_DEPLOYMENT_DRAINING_SECONDS", "RAILWAY_DEPLOYMENT_OVERLAP_SECONDS", "RAILWAY_RUN_UID"];
    let known = known_variables();
    let settings = config::DEFAULTS.parse::<toml::Table>().unwrap();
    let is_setting = |words: &str| {
        let mut place = Some(&settings);
        let mut parts = words.split('.').peekable();
        while let (Some(part), Some(table)) = (parts.next(), place) {
            match (table.get(part), parts.peek()) {
                (Some(toml::Value::Table(inner)), Some(_)) => place = Some(inner),
                (found, next) => return found.is_some_and(|value| !value.is_table()) && next.is_none(),
            }
        }
        false
    };
    assert!(is_setting("fleet.idle_seconds") && !is_setting("fleet.idle") && !is_setting("fleet"));
    let pages = files("docs/deploy").into_iter().chain(["docs/runbook.md".to_owned()]);
    for page in pages {
        let text = text(&page);
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.len() > 4);
        for word in words.filter(|word| word.trim_matches('_').contains('_')) {
            let exists = known.iter().any(|name| name == word) || hosts.contains(&word) || model.contains(word);
            assert!(exists, "{page}: nothing reads {word}");
        }
        let sections: Vec<&String> = settings.keys().collect();
        for span in text.split('`').skip(1).step_by(2) {
            let setting = span.split(' ').next().unwrap();
            let is_ours = sections.iter().any(|section| setting.starts_with(&format!("{section}.")));
            let is_file = [".toml", ".json", ".yaml", ".md"].iter().any(|end| setting.ends_with(end));
            assert!(!is_ours || is_file || is_setting(setting), "{page}: there is no setting {setting}");
        }
    }
}
