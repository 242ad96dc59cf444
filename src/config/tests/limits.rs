//! Files that must exist, and limits that hold together.

use super::*;

#[test]
fn a_named_file_must_exist_and_the_usual_one_may() {
    let directory = std::env::temp_dir().join(format!("tandem-config-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&directory).unwrap();
    assert!(ConfigFile::find(None, &directory).unwrap().is_none());
    let missing = ConfigFile::find(Some(&directory.join("no.toml")), &directory).err().unwrap();
    assert!(missing.to_string().contains("no.toml cannot be read"), "{missing}");
    std::fs::write(directory.join(FILE_NAME), "mode = \"production\"").unwrap();
    let found = ConfigFile::find(None, &directory).unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.text.as_str()), ("tandem.toml", "mode = \"production\""));
    std::fs::write(directory.join(FILE_NAME), "#".repeat((1 << 20) + 1)).unwrap();
    assert!(ConfigFile::find(None, &directory).err().unwrap().to_string().contains("longer than 1 MiB"));
    std::fs::remove_dir_all(&directory).unwrap();
}

fn any_key() -> impl Strategy<Value = &'static schema::Key> {
    (0..KEYS.len()).prop_map(|at| &KEYS[at])
}

fn any_toml_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|switch| switch.to_string()),
        "\"[a-zA-Z0-9:/.,@ -]{0,30}\"",
        Just("[]".to_owned()),
        Just("[1, \"a\"]".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("1e400".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("nan".to_owned()),
    ]
}

proptest! {
    #[test]
    fn no_file_panics(text in prop_oneof![".{0,200}", "[a-z\\[\\]={}\"'.#\n 0-9]{0,200}"]) {
        let result = load(Some(&file(&text)), &environment([]));
        prop_assert!(result.is_ok() || !flaws(result).is_empty());
    }

    #[test]
    fn no_value_of_a_known_key_panics(key in any_key(), value in any_toml_value()) {
        let text = format!("{} = {value}", key.path);
        let told = flaws(load(Some(&file(&text)), &environment([])));
        prop_assert!(!told.contains(&Flaw::Defaults.to_string()), "{text}: what layers let through must be readable");
    }

    #[test]
    fn no_environment_panics(
        known in proptest::collection::vec((any_key(), ".{0,40}"), 0..5),
        odd in proptest::collection::btree_map("(TANDEM__)?.{0,20}", ".{0,20}", 0..5),
    ) {
        let mut environment: Environment = odd;
        environment.extend(known.into_iter().map(|(key, value)| (key.variable(), value)));
        let told = flaws(load(None, &environment));
        prop_assert!(!told.contains(&Flaw::Defaults.to_string()));
    }

    #[test]
    fn numbers_are_taken_within_their_bounds_and_only_there(key in any_key(), number in any::<i32>()) {
        if let Kind::Number(bounds) = &key.kind {
            let told = flaws(with([(&key.variable(), &number.to_string())]));
            let out = format!("is \"{number}\" in");
            let refused = told.iter().any(|flaw| flaw.contains(&out) || flaw.contains(&format!("is {number} in")));
            prop_assert_eq!(refused, !bounds.contains(&i64::from(number)), "{:?}", told);
        }
    }
}

#[test]
fn the_written_limits_are_those_of_the_machine_and_free_a_slot_within_twenty_seconds() {
    let limits = load(None, &Environment::new()).unwrap().session.limits;
    assert_eq!(limits, crate::session::machine::Limits::default());
    assert!(limits.lost_after + limits.ping_interval <= Duration::from_secs(20));
}
