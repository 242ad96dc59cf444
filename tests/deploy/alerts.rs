//! The rules for Prometheus: over series that exist, explained to whoever is woken by them, and tried out.

use std::collections::BTreeSet;

use promql_parser::label::MatchOp;
use serde_json::Value;
use tandem::metrics::Kind;

use crate::{assert_content, documents, files, path, promql, text};

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

/// The names of what the rules record.
pub fn recorded() -> BTreeSet<String> {
    rules(RULES).iter().map(|rule| said(rule, "/record").to_owned()).collect()
}

/// Every word in quotes of the program: the values of labels are among them.
pub fn known_values() -> BTreeSet<String> {
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
    let (known, recorded) = (known_values(), recorded());
    for rule in rules(RULES).iter().chain(&rules(ALERTS)) {
        let expr = promql::parse(said(rule, "/expr")).unwrap();
        promql::answer(&expr, &recorded).unwrap_or_else(|error| panic!("{error}: {expr}"));
        for selector in promql::selectors(&expr) {
            let name = promql::name(selector);
            // What Prometheus itself knows of every target.
            if name == "up" {
                continue;
            }
            if name.starts_with("tandem:") {
                assert!(recorded.contains(name), "nothing records {name}: {expr}");
                continue;
            }
            let row = promql::row(name).unwrap_or_else(|| panic!("there is no series {name}: {expr}"));
            assert!(promql::strange_label(selector, row).is_none(), "{name} has no such label: {selector}");
            for asked in selector.matchers.matchers.iter() {
                if asked.name == "le" {
                    let Kind::Histogram(buckets) = row.kind else { panic!("{name} has no buckets") };
                    let spellings: [fn(&f64) -> String; 2] = [|bound| format!("{bound}"), |bound| format!("{bound:?}")];
                    for said in spellings {
                        let meant = buckets.iter().filter(|bound| asked.is_match(&said(bound))).count();
                        assert_eq!(
                            meant, 1,
                            "{selector} has to mean one bucket, as the text format or OpenMetrics says it"
                        );
                    }
                    continue;
                }
                let values = asked.value.split('|');
                let takes_several = matches!(asked.op, MatchOp::Re(_) | MatchOp::NotRe(_));
                assert!(takes_several || values.clone().count() == 1, "one value: {selector}");
                for value in values {
                    assert!(known.contains(value), "{name}: nothing says {}=\"{value}\"", asked.name);
                }
            }
        }
    }
}

#[test]
fn a_name_is_one_of_the_table_or_of_a_part_of_a_histogram() {
    assert!(promql::row("tandem_audio_lag_seconds_bucket").is_some());
    assert!(promql::row("tandem_sessions_active_count").is_none());
    assert!(promql::row("tandem_audio_lag_seconds").is_none(), "a histogram has no series of its own name");
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
