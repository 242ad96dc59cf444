//! The JSON that other programs read: it parses, every panel explains itself, and every series exists.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tree::TextFile;
use super::violation::Violation;

const RULE: &str = "dashboards";

/// Where the program names its series, and the folder of its parts. Until it exists, the dashboards are taken at their word.
const SERIES_TABLE: &str = "src/metrics.rs";
const SERIES_PARTS: &str = "src/metrics/";

fn is_dashboard(path: &str) -> bool {
    path.starts_with("dashboards/") && path.ends_with(".json")
}

/// `railway.json` and everything under `dashboards/` parses, and every panel keeps the rules of [`check_panels`].
pub fn check_json(files: &[TextFile]) -> Vec<Violation> {
    let read = |file: &TextFile| match serde_json::from_str::<Value>(&file.text) {
        Err(error) => vec![Violation::new(&file.path, error.line(), RULE, format!("is not JSON: {error}"))],
        Ok(json) if is_dashboard(&file.path) => check_panels(&file.path, &json),
        Ok(_) => Vec::new(),
    };
    files.iter().filter(|file| file.path == "railway.json" || is_dashboard(&file.path)).flat_map(read).collect()
}

/// Each panel has its own id, a title, a description, a unit and the chosen data source.
fn check_panels(path: &str, dashboard: &Value) -> Vec<Violation> {
    let panels = dashboard["panels"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut broken = Vec::new();
    let mut say = |sentence: String| broken.push(Violation::new(path, 1, RULE, sentence));
    if dashboard["uid"].as_str().is_none_or(str::is_empty) {
        say("a dashboard needs a stable `uid`, or its links break".to_owned());
    }
    if panels.is_empty() {
        say("a dashboard needs panels".to_owned());
    }
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap_or_default();
        let named = |key: &str| panel.pointer(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        if !ids.insert(panel["id"].as_u64()) || panel["id"].is_null() {
            say(format!("panel \"{title}\" needs an `id` of its own"));
        }
        if title.is_empty() {
            say("a panel has no title".to_owned());
        }
        if panel["type"] == "row" {
            continue;
        }
        for key in ["/description", "/fieldConfig/defaults/unit"] {
            if !named(key) {
                say(format!("panel \"{title}\" has no {key}"));
            }
        }
        if panel.pointer("/datasource/uid").and_then(Value::as_str) != Some("${datasource}") {
            say(format!("panel \"{title}\" does not use the data source `${{datasource}}`"));
        }
        if panel["targets"].as_array().is_none_or(Vec::is_empty) {
            say(format!("panel \"{title}\" asks for nothing"));
        }
    }
    broken
}

/// Every series that a dashboard or a rule names is one that the program has.
pub fn check_series(files: &[TextFile]) -> Vec<Violation> {
    if !files.iter().any(|file| file.path == SERIES_TABLE) {
        return Vec::new();
    }
    let tables = files.iter().filter(|file| file.path == SERIES_TABLE || file.path.starts_with(SERIES_PARTS));
    let have = tables.flat_map(|table| series(&table.text)).collect();
    let mut broken = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("dashboards/")) {
        for (at, line) in file.text.lines().enumerate() {
            for name in series(line).into_iter().filter(|name| !is_known(name, &have)) {
                let sentence = format!("no series `{name}` in {SERIES_TABLE}");
                broken.push(Violation::new(&file.path, at + 1, RULE, sentence));
            }
        }
    }
    broken
}

fn is_known(name: &str, have: &BTreeSet<String>) -> bool {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
    have.contains(name) || of_histogram.is_some_and(|name| have.contains(name))
}

/// The words of the text that are names of series: `tandem_` and more.
fn series(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.len() > 7 && word.starts_with("tandem_")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"uid":"a","panels":[{"id":1,"title":"Calls","description":"How many.",
        "datasource":{"uid":"${datasource}"},"fieldConfig":{"defaults":{"unit":"short"}},
        "targets":[{"expr":"tandem_sessions_active"}]}]}"#;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn what_does_not_parse_is_named() {
        for path in ["railway.json", "dashboards/a.json"] {
            let found = check_json(&[file(path, "{\n]")]);
            assert!(found[0].to_string().starts_with(&format!("{path}:2: [dashboards] is not JSON")), "{}", found[0]);
        }
        assert_eq!(
            check_json(&[file("railway.json", "{}"), file("other.json", "["), file("dashboards/a.json", GOOD)]),
            []
        );
    }

    #[test]
    fn a_panel_that_does_not_explain_itself_is_named() {
        for (from, to, said) in [
            ("\"uid\":\"a\",", "", "stable `uid`"),
            ("How many.", "", "no /description"),
            ("short", "", "no /fieldConfig/defaults/unit"),
            ("Calls", "", "no title"),
            ("${datasource}", "prometheus", "does not use the data source"),
            ("\"id\":1,", "", "`id` of its own"),
            ("{\"expr\":\"tandem_sessions_active\"}", "", "asks for nothing"),
        ] {
            let found = check_json(&[file("dashboards/a.json", &GOOD.replace(from, to))]);
            assert!(found[0].sentence.contains(said), "{said}: {found:?}");
        }
        assert!(check_json(&[file("dashboards/a.json", "{\"uid\":\"a\"}")])[0].sentence.contains("needs panels"));
    }

    #[test]
    fn a_series_that_nobody_exports_is_named() {
        let dashboard =
            file("dashboards/a.json", "x\nrate(tandem_calls_total[5m]) tandem_wait_seconds_bucket{a=\"b\"}");
        let table = |text: &str| file(SERIES_TABLE, text);
        let part = file("src/metrics/calls.rs", "\"tandem_calls_total\"");
        let have = [file("dashboards/a.json", &dashboard.text), table("\"tandem_wait_seconds\""), part];
        assert_eq!(check_series(&have), []);
        let found = check_series(&[dashboard, table("\"tandem_wait_seconds\"")]);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("dashboards/a.json:2: [dashboards] no series"), "{}", found[0]);
    }
}
