//! The dashboards of Grafana: what each panel asks, in what it shows the answer, and where it leads.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tandem::metrics::TABLE;

use crate::{alerts, documents, files, promql, run, text};

const FOLDER: &str = "dashboards/grafana";
const TITLES: [&str; 4] = ["Tandem: callers", "Tandem: capacity", "Tandem: cost", "Tandem: gateway"];
const RUNBOOK: &str = "docs/runbook.md";

/// One dashboard.
pub struct Board {
    pub file: String,
    pub json: Value,
}

/// One panel of it that asks for something.
pub struct Panel<'a> {
    pub title: &'a str,
    json: &'a Value,
}

impl Board {
    fn list(&self, pointer: &str) -> &[Value] {
        list(&self.json, pointer)
    }

    /// All panels but the headings of rows.
    pub fn panels(&self) -> impl Iterator<Item = Panel<'_>> {
        let panels = self.list("/panels").iter().filter(|panel| panel["type"] != "row");
        panels.map(|json| Panel { title: said(json, "/title"), json })
    }

    /// Everything that it asks for: by its panels, and for the marks that go through all of them.
    fn queries(&self) -> impl Iterator<Item = &str> {
        let panels = self.list("/panels").iter().flat_map(|panel| list(panel, "/targets"));
        panels.chain(self.list("/annotations/list")).map(|asked| said(asked, "/expr")).filter(|query| !query.is_empty())
    }
}

impl<'a> Panel<'a> {
    fn targets(&self) -> &'a [Value] {
        list(self.json, "/targets")
    }

    /// What it asks for.
    pub fn queries(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.targets().iter().map(|target| said(target, "/expr"))
    }

    fn links(&self) -> impl Iterator<Item = &str> {
        list(self.json, "/links").iter().map(|link| said(link, "/url"))
    }
}

fn list<'a>(json: &'a Value, pointer: &str) -> &'a [Value] {
    json.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn said<'a>(json: &'a Value, pointer: &str) -> &'a str {
    json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Every dashboard.
pub fn boards() -> Vec<Board> {
    let boards = files(FOLDER).into_iter().map(|file| {
        let json = serde_json::from_str(&text(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        Board { file, json }
    });
    boards.collect()
}

/// The words in double braces of a legend.
fn legend_labels(legend: &str) -> BTreeSet<&str> {
    legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(label, _)| label).collect()
}

#[test]
fn there_is_a_dashboard_for_callers_capacity_cost_and_the_gateway_that_links_can_find() {
    let mut titles = BTreeSet::new();
    let boards = boards();
    for board in &boards {
        let (file, uid) = (&board.file, said(&board.json, "/uid"));
        assert_eq!(*file, format!("{FOLDER}/{}.json", uid.strip_prefix("tandem-").unwrap()), "{uid}");
        assert!(titles.insert(said(&board.json, "/title")) && said(&board.json, "/title").starts_with("Tandem: "));
        assert!(said(&board.json, "/description").ends_with('.'), "{file} does not say what it is for");
        assert_eq!(board.list("/tags"), ["tandem"], "{file}: the links of the others look for this tag");
        let links = board.list("/links");
        let leads = |link: &Value| link["type"] == "dashboards" && link["tags"] == board.json["tags"];
        assert!(links.iter().any(|link| leads(link) && link["includeVars"] == true && link["keepTime"] == true));
        assert!(links.iter().any(|link| link["url"] == "${runbook}"), "{file} does not lead to the runbook");
    }
    assert_eq!(titles, BTreeSet::from(TITLES));
}

#[test]
fn every_query_is_about_series_that_exist_and_is_shown_in_its_unit() {
    let recorded = alerts::recorded();
    let mut broken = Vec::new();
    for board in boards() {
        for panel in board.panels() {
            let unit = said(panel.json, "/fieldConfig/defaults/unit");
            for target in panel.targets() {
                let place = format!("{} \"{}\"", board.file, panel.title);
                let answer = promql::parse(said(target, "/expr")).and_then(|expr| promql::answer(&expr, &recorded));
                match answer {
                    Err(error) => broken.push(format!("{place}: {error}")),
                    Ok(answer) if !answer.is_shown_as(unit) => {
                        broken.push(format!("{place}: {:?} is not in {unit}", answer.dimension));
                    }
                    Ok(answer) => {
                        let named = legend_labels(said(target, "/legendFormat"));
                        let strange = named.into_iter().find(|label| !answer.labels.contains(*label));
                        broken.extend(strange.map(|label| format!("{place}: its series have no {label}")));
                    }
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_selector_asks_for_the_chosen_job_and_instance_and_for_values_that_exist() {
    let (known, recorded) = (alerts::known_values(), alerts::recorded());
    for board in boards() {
        for query in board.queries() {
            let expr = promql::parse(query).unwrap();
            assert!(promql::answer(&expr, &recorded).is_ok(), "{query}");
            for selector in promql::selectors(&expr) {
                let name = promql::name(selector);
                let asked: BTreeMap<&str, &str> =
                    selector.matchers.matchers.iter().map(|of| (of.name.as_str(), of.value.as_str())).collect();
                assert_eq!(asked.get("job"), Some(&"$job"), "{query}");
                // Alerts and what is recorded are of jobs.
                let Some(row) = promql::row(name) else {
                    continue;
                };
                assert_eq!(asked.get("instance"), Some(&"$instance"), "{query}");
                let of_row = asked.iter().filter(|(label, _)| row.labels.contains(label));
                for value in of_row.flat_map(|(_, values)| values.split('|')) {
                    assert!(known.contains(value), "nothing says {value}: {query}");
                }
            }
        }
    }
}

#[test]
fn every_series_is_on_a_panel() {
    let boards = boards();
    let mut shown = BTreeSet::new();
    for query in boards.iter().flat_map(Board::panels).flat_map(|panel| panel.queries()) {
        let expr = promql::parse(query).unwrap();
        let rows = promql::selectors(&expr).into_iter().filter_map(|selector| promql::row(promql::name(selector)));
        shown.extend(rows.map(|row| row.name));
    }
    let missing: Vec<&str> = TABLE.iter().map(|row| row.name).filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "a panel of {FOLDER} has to show {missing:?}");
}

#[test]
fn panels_explain_themselves_and_lie_side_by_side() {
    for board in boards() {
        let (mut titles, mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        for panel in board.list("/panels") {
            let (title, file) = (said(panel, "/title"), &board.file);
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file} has two panels {}", panel["id"]);
            assert!(titles.insert(title), "{file} has two panels \"{title}\"");
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
            assert!(w > 0 && h > 0 && x + w <= 24, "{file}: \"{title}\" is outside of the 24 columns");
            for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                let other = taken.insert(place, title);
                assert_eq!(other, None, "{file}: \"{title}\" lies on another panel");
            }
            if panel["type"] != "row" {
                let text = said(panel, "/description");
                assert!(text.len() > 15 && text.ends_with('.'), "{file}: \"{title}\" does not say what it shows");
                let letters: BTreeSet<&str> =
                    panel["targets"].as_array().unwrap().iter().map(|target| said(target, "/refId")).collect();
                assert_eq!(letters.len(), panel["targets"].as_array().unwrap().len(), "{file}: \"{title}\"");
            }
        }
    }
}

#[test]
fn every_link_into_the_runbook_hits_a_section_and_every_alert_is_on_a_panel() {
    let headings = text(RUNBOOK);
    let anchor = |heading: &str| heading.to_lowercase().replace(' ', "-");
    let sections: BTreeSet<String> = headings.lines().filter_map(|line| line.strip_prefix("## ")).map(anchor).collect();
    let mut found = BTreeSet::new();
    for board in boards() {
        for panel in board.panels() {
            for url in panel.links() {
                let section = url.strip_prefix("${runbook}#").unwrap_or_else(|| panic!("{url} is not in the runbook"));
                assert!(sections.contains(section), "{}: \"{}\" leads to no section: {url}", board.file, panel.title);
                found.insert(section.to_owned());
            }
        }
    }
    let alone: Vec<_> = sections.iter().filter(|name| name.starts_with("tandem") && !found.contains(*name)).collect();
    assert!(alone.is_empty(), "no panel leads to {alone:?}");
}

#[test]
fn every_variable_that_is_used_is_there() {
    for board in boards() {
        let variables: BTreeSet<&str> =
            board.list("/templating/list").iter().map(|variable| said(variable, "/name")).collect();
        assert_eq!(variables, BTreeSet::from(["datasource", "instance", "job", "runbook"]), "{}", board.file);
        let text = board.json.to_string();
        for used in text.split('$').skip(1) {
            let used = used.trim_start_matches('{');
            let name = used.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            let own = ["__rate_interval", "__range", "__all"];
            assert!(variables.contains(name) || own.contains(&name), "{}: there is no ${name}", board.file);
        }
        for variable in board.list("/templating/list").iter().filter(|variable| variable["type"] == "query") {
            let asked = said(variable, "/definition").strip_prefix("label_values(").unwrap();
            let (selector, label) = asked.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
            let answer = promql::answer(&promql::parse(selector).unwrap(), &BTreeSet::new()).unwrap();
            assert!(answer.labels.contains(label), "{asked}");
            assert_eq!(said(variable, "/query/query"), said(variable, "/definition"));
        }
    }
}

#[test]
fn grafana_is_told_where_the_dashboards_and_their_data_are() {
    let provider = &documents("dashboards/provisioning/dashboards/tandem.yaml")[0]["providers"][0];
    assert_eq!((&provider["type"], &provider["folder"]), (&Value::from("file"), &Value::from("Tandem")));
    assert_eq!(provider["options"]["path"], "$TANDEM_DASHBOARDS");
    assert!(text("dashboards/provisioning/dashboards/tandem.yaml").contains(FOLDER), "it has to name {FOLDER}");
    let source = &documents("dashboards/provisioning/datasources/prometheus.yaml")[0]["datasources"][0];
    assert_eq!((&source["type"], &source["url"]), (&Value::from("prometheus"), &Value::from("$PROMETHEUS_URL")));
}

#[test]
fn every_panel_can_be_drawn_without_grafana() {
    const SAY: &str = "
import sys
sys.path.insert(0, 'dashboards')
sys.dont_write_bytecode = True
import draw
for value, unit in ((0.25, 's'), (2048, 'bytes'), (0.5, 'percentunit'), (3, 'cps'), (1.5, 'currency:¤'), (90, 'dtdurations'),
                    (12, 'short'), (7, 'none'), (float('nan'), 's')):
    print(unit, draw.amount(value, unit))
for kind in draw.KINDS:
    print('kind', kind)
";
    let Some(said_by_it) = run("python3", &["-c", SAY]) else { return };
    let lines = String::from_utf8(said_by_it.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&said_by_it.stderr).into_owned();
    let amounts = "s 250 ms\nbytes 2 KiB\npercentunit 50 %\ncps 3 c/s\ncurrency:¤ ¤ 1.50\ndtdurations 1.5 min\nshort 12\nnone 7\n\
        s no data\n";
    assert!(lines.starts_with(amounts), "{lines}{complaints}");
    for board in boards() {
        for panel in board.panels() {
            let (kind, unit) = (said(panel.json, "/type"), said(panel.json, "/fieldConfig/defaults/unit"));
            assert!(lines.contains(&format!("\nkind {kind}\n")), "dashboards/draw.py draws no {kind}");
            assert!(format!("\n{lines}").contains(&format!("\n{unit} ")), "nobody looked how {unit} is drawn");
        }
    }
}
