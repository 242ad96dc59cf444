//! The rules for Prometheus: over series that exist, explained to whoever is woken by them, and tried out.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::label::MatchOp;
use serde_json::Value;
use tandem::{metrics::Kind, protocol::ending::Ending};

use crate::{assert_content, documents, files, path, promql, text};

const RULES: &str = "dashboards/prometheus/rules.yaml";
const ALERTS: &str = "dashboards/prometheus/alerts.yaml";
const TESTS: &str = "dashboards/prometheus/tests";
const RUNBOOK: &str = "docs/runbook.md";

/// The endings that no objective counts as bad, and why.
const UNCOUNTED: [(Ending, &str); 11] = [
    (Ending::ClientLeft, "hung up"),
    (Ending::ClientLost, "caller's network"),
    (Ending::IdleTimeout, "silent caller"),
    (Ending::MaxDuration, "a limit"),
    (Ending::QuotaSpent, "a limit"),
    (Ending::BadInput, "caller's fault"),
    (Ending::TooSlow, "caller's network"),
    (Ending::AuthExpired, "a limit"),
    (Ending::Drained, "planned"),
    (Ending::Replaced, "goes on"),
    (Ending::Admin, "an operator"),
];

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

/// The reasons that the rules of an objective count as bad, which has to be one list in all of them.
fn reasons_of(objective: &str) -> Vec<String> {
    let mut lists = BTreeSet::new();
    for rule in rules(RULES).iter().filter(|rule| said(rule, "/record").starts_with(objective)) {
        let expr = promql::parse(said(rule, "/expr")).unwrap();
        for selector in promql::selectors(&expr) {
            if promql::name(selector) == "tandem_sessions_ended_total" {
                let asked = selector.matchers.matchers.iter().filter(|asked| asked.name == "reason");
                lists.extend(asked.map(|asked| asked.value.clone()));
            }
        }
    }
    assert_eq!(lists.len(), 1, "{objective} has one list of reasons: {lists:#?}");
    lists.iter().flat_map(|list| list.split('|')).map(str::to_owned).collect()
}

#[test]
fn all_windows_of_a_record_ask_the_same() {
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    for rule in rules(RULES) {
        let (record, expr) = (said(&rule, "/record"), said(&rule, "/expr"));
        let (family, window) = record.split_at(record.find(|c: char| c.is_ascii_digit()).unwrap());
        let asked = expr.replace(&format!("[{window}]"), "[]");
        assert!(asked.split('[').skip(1).all(|rest| rest.starts_with(']')), "{record} looks at another window: {expr}");
        let first = families.entry(family.to_owned()).or_insert_with(|| asked.clone());
        assert_eq!(*first, asked, "{record} asks something else than the first {family}");
    }
}

#[test]
fn every_ending_is_a_call_not_begun_or_one_broken_off_or_left_out_for_a_reason() {
    let (not_begun, broken) = (reasons_of("tandem:calls_not_begun:"), reasons_of("tandem:broken_calls:"));
    let uncounted = UNCOUNTED.iter().map(|(ending, _)| ending.code().to_owned());
    let mut told: Vec<String> = not_begun.into_iter().chain(broken).chain(uncounted).collect();
    for ending in Ending::ALL {
        let code = ending.code();
        let times = told.iter().filter(|other| *other == code).count();
        assert_eq!(times, 1, "{code} is in one of the two objectives, or in UNCOUNTED with the reason");
    }
    told.retain(|code| Ending::of(code) == Ending::Unknown);
    assert!(told.is_empty(), "no call ends so: {told:?}");
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
