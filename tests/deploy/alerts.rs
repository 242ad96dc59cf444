//! The rules for Prometheus: over series that exist, explained to whoever is woken by them, and tried out.

use std::collections::BTreeSet;

use serde_json::Value;
use tandem::metrics::{Kind, Series, TABLE};

use crate::{assert_content, documents, files, path, text};

const RULES: &str = "dashboards/prometheus/rules.yaml";
const ALERTS: &str = "dashboards/prometheus/alerts.yaml";
const TESTS: &str = "dashboards/prometheus/tests";
const RUNBOOK: &str = "docs/runbook.md";

/// Every rule of a file.
fn rules(file: &str) -> Vec<Value> {
    let groups = documents(file).remove(0)["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn said<'a>(rule: &'a Value, key: &str) -> &'a str {
    rule.pointer(key).and_then(Value::as_str).unwrap_or_default()
}

/// What is asked of a label: its name, the operator and the value.
type Matcher = (String, String, String);

/// The selectors of an expression: a name and what is asked of its labels.
fn selectors(expr: &str) -> Vec<(String, Vec<Matcher>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(start) = rest.find("tandem") {
        let end = rest[start..].find(|c| !is_name(c)).map_or(rest.len(), |end| start + end);
        let (name, after) = (rest[start..end].to_owned(), &rest[end..]);
        let braces = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        found.push((name, braces.map(|(inside, _)| matchers(inside)).unwrap_or_default()));
        rest = after;
    }
    found
}

fn matchers(inside: &str) -> Vec<Matcher> {
    let parts = inside.split("\",").map(|part| part.trim().trim_end_matches('"'));
    parts
        .map(|part| {
            let (left, value) = part.split_once('"').expect("a label's value is in quotes");
            let label = left.trim_end_matches(['=', '!', '~']);
            (label.to_owned(), left[label.len()..].to_owned(), value.to_owned())
        })
        .collect()
}

/// The row of a name, whole or without what a histogram adds to it.
fn row(name: &str) -> Option<&'static Series> {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
    let histogram = TABLE.iter().find(|row| Some(row.name) == of_histogram && matches!(row.kind, Kind::Histogram(_)));
    histogram.or_else(|| TABLE.iter().find(|row| row.name == name && !matches!(row.kind, Kind::Histogram(_))))
}

/// Every word in quotes of the program: the values of labels are among them.
fn known_values() -> BTreeSet<String> {
    let mut folders = vec!["src".to_owned()];
    let mut words = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(path(&folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap());
            if path(&name).is_dir() {
                folders.push(name);
            } else {
                words.extend(text(&name).split('"').map(str::to_owned));
            }
        }
    }
    words
}

#[test]
fn every_rule_asks_for_series_labels_values_and_buckets_that_exist() {
    let known = known_values();
    let recorded: BTreeSet<String> = rules(RULES).iter().map(|rule| said(rule, "/record").to_owned()).collect();
    for rule in rules(RULES).iter().chain(&rules(ALERTS)) {
        let expr = said(rule, "/expr");
        for (name, asked) in selectors(expr).into_iter().filter(|(name, _)| name != "tandem") {
            if name.starts_with("tandem:") {
                assert!(recorded.contains(&name), "nothing records {name}: {expr}");
                continue;
            }
            let row = row(&name).unwrap_or_else(|| panic!("there is no series {name}: {expr}"));
            for (label, operator, value) in asked {
                if label == "le" {
                    let Kind::Histogram(buckets) = row.kind else { panic!("{name} has no buckets") };
                    assert!(buckets.iter().any(|bound| bound.to_string() == value), "{name} has no bucket {value}");
                    continue;
                }
                assert!(row.labels.contains(&label.as_str()), "{name} has no label {label}");
                assert!(operator.contains('~') || !value.contains('|'), "{label}{operator} takes one value: {value}");
                for value in value.split('|') {
                    assert!(known.contains(value), "{name}: nothing says {label}=\"{value}\"");
                }
            }
        }
    }
}

#[test]
fn a_selector_is_taken_apart() {
    let asked = |label: &str, operator: &str, value: &str| (label.to_owned(), operator.to_owned(), value.to_owned());
    let found = selectors(r#"sum(tandem_a{x="1", y=~"2|3"}) / tandem:b:ratio > tandem_c_count"#);
    assert_eq!(found[0], ("tandem_a".to_owned(), vec![asked("x", "=", "1"), asked("y", "=~", "2|3")]));
    assert_eq!((found[1].0.as_str(), found[2].0.as_str(), found.len()), ("tandem:b:ratio", "tandem_c_count", 3));
    assert!(row("tandem_audio_lag_seconds_bucket").is_some() && row("tandem_sessions_active_count").is_none());
    assert!(row("tandem_audio_lag_seconds").is_none(), "a histogram has no series of its own name");
}

#[test]
fn every_alert_says_what_it_means_how_urgent_it_is_and_where_to_read_on() {
    let runbook = text(RUNBOOK);
    let sections: BTreeSet<String> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_lowercase).collect();
    let mut named = BTreeSet::new();
    for alert in rules(ALERTS) {
        let name = said(&alert, "/alert");
        for key in ["/annotations/summary", "/annotations/description"] {
            assert!(said(&alert, key).len() > 15, "{name} has no {key}");
        }
        let severity = said(&alert, "/labels/severity");
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        let (page, anchor) = said(&alert, "/annotations/runbook").split_once('#').unwrap();
        assert_eq!((page, anchor), (RUNBOOK, name.to_lowercase().as_str()), "{name}");
        assert!(sections.contains(anchor), "{RUNBOOK} has no section {name}");
        named.insert(anchor.to_owned());
    }
    let lost: Vec<_> = sections.iter().filter(|slug| slug.starts_with("tandem") && !named.contains(*slug)).collect();
    assert!(lost.is_empty(), "sections of alerts that do not exist: {lost:?}");
}

#[test]
fn every_alert_is_seen_to_fire_and_to_keep_still() {
    let (mut fires, mut still) = (BTreeSet::new(), BTreeSet::new());
    for file in files(TESTS) {
        for test in documents(&file).remove(0)["tests"].as_array().unwrap() {
            for case in test["alert_rule_test"].as_array().unwrap() {
                let name = said(case, "/alertname").to_owned();
                let expected = case["exp_alerts"].as_array().unwrap();
                let severities = expected.iter().map(|alert| said(alert, "/exp_labels/severity").to_owned());
                fires.extend(severities.map(|severity| (name.clone(), severity)));
                if expected.is_empty() {
                    still.insert(name);
                }
            }
        }
    }
    for alert in rules(ALERTS) {
        let (name, severity) = (said(&alert, "/alert").to_owned(), said(&alert, "/labels/severity").to_owned());
        assert!(still.contains(&name), "no test shows {name} what it has to bear");
        assert!(fires.contains(&(name.clone(), severity.clone())), "no test sets off {name} as a {severity}");
    }
}

#[test]
fn prometheus_takes_the_rules_and_its_tests_of_them_pass() {
    assert_content("promtool", &["check", "rules", RULES, ALERTS]);
    assert_content("promtool", &["check", "config", "dashboards/prometheus/prometheus.yaml"]);
    let tests = files(TESTS);
    let words: Vec<&str> = ["test", "rules"].into_iter().chain(tests.iter().map(String::as_str)).collect();
    assert_content("promtool", &words);
}
