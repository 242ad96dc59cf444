//! What a Markdown page holds: tables, examples, code spans, links.

use std::collections::BTreeSet;

/// The rows of the table under a heading, up to the next heading; cells without their backticks.
pub fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let under = page.lines().skip_while(|line| line.trim_start_matches('#').trim() != heading).skip(1);
    let lines = under.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    let rows: Vec<Vec<String>> = lines.skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "there is no table under \"{heading}\"");
    rows
}

/// The lines of every fenced block with exactly this word or these words behind its fence.
pub fn examples(page: &str, info: &str) -> Vec<String> {
    let fence = format!("```{info}");
    let (mut inside, mut found) = (false, Vec::new());
    for line in page.lines() {
        if line == fence {
            inside = true;
        } else if line.starts_with("```") {
            inside = false;
        } else if inside {
            found.push(line.to_owned());
        }
    }
    assert!(!found.is_empty(), "there is no example of \"{info}\"");
    found
}

/// The text outside of fenced blocks.
fn prose(page: &str) -> String {
    page.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// Everything in backticks outside of fenced blocks.
pub fn code_spans(page: &str) -> Vec<String> {
    let prose = prose(page);
    prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The targets of links that stay in the package.
pub fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).filter(|target| !target.contains("://")).collect()
}

/// The anchors of a page's headings.
pub fn slugs(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    headings.map(slug).collect()
}

/// Whether a code span is the name of a test: a sentence of at least five words, and not the name of a series.
pub fn is_test_name(span: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    !span.starts_with("tandem_") && span.split('_').count() >= 5 && span.split('_').all(word)
}

/// Every string that stands behind `before` in source text, from `start` to the end of that item.
pub fn list(source: &str, start: &str, before: &str) -> BTreeSet<String> {
    let (_, item) = source.split_once(start).expect("the item exists");
    let item = if start.is_empty() { item } else { item.split_once("\n}").expect("the item ends").0 };
    let found = item.split(before).skip(1).filter_map(|rest| rest.split_once('"'));
    found.map(|(text, _)| text.to_owned()).collect()
}

/// A number with commas between its thousands, as the pages write it.
pub fn number(value: u64) -> String {
    if value < 1_000 { value.to_string() } else { format!("{},{:03}", number(value / 1_000), value % 1_000) }
}

#[test]
fn a_page_is_taken_apart() {
    let page =
        "# A b\n| x | y |\n|---|---|\n| `1` | 2 |\n## C\nSee `s` and [d](e.md#f).\n```sh\nrun `z`\n```\n[g](https://h)";
    assert_eq!(rows(page, "A b"), [["1", "2"]]);
    assert_eq!(examples(page, "sh"), ["run `z`"]);
    assert_eq!((code_spans(page), links(page)), (vec!["1".to_owned(), "s".into()], vec!["e.md#f".to_owned()]));
    assert_eq!(slugs(page), ["a-b".to_owned(), "c".into()].into());
    assert_eq!(list("enum A { r(\"x\") }\n}\n r(\"y\")", "enum A", "r(\""), ["x".to_owned()].into());
    assert_eq!((number(65_536), number(999), number(1_002_003)), ("65,536".into(), "999".into(), "1,002,003".into()));
    assert!(is_test_name("a_call_that_goes_well") && !is_test_name("session_id") && !is_test_name("src/a_b_c_d_e.rs"));
    assert!(!is_test_name("tandem_session_phase_duration_seconds"));
}
