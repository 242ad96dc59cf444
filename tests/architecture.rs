//! The house rules, read from the files themselves: who may use whom, what stays pure, how big a file may grow.
//!
//! A rule takes text and returns what is wrong with it, so each one is also shown a sample that breaks it.

#[path = "architecture/crates.rs"]
mod crates;
#[path = "architecture/dashboards.rs"]
mod dashboards;
#[path = "architecture/layers.rs"]
mod layers;
#[path = "architecture/machine_paths.rs"]
mod machine_paths;
#[path = "architecture/purity.rs"]
mod purity;
#[path = "architecture/shape.rs"]
mod shape;
#[path = "architecture/sleeps.rs"]
mod sleeps;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/tree.rs"]
mod tree;
#[path = "architecture/violation.rs"]
mod violation;

use source::Source;
use violation::Violation;

#[test]
fn every_file_keeps_the_house_rules() {
    let files = tree::text_files();
    let mut broken: Vec<Violation> = Vec::new();
    for file in &files {
        broken.extend(machine_paths::check(&file.path, &file.text));
        if file.path.ends_with(".rs") {
            let source = Source::read(&file.path, &file.text);
            for rule in [layers::check, purity::check, crates::check, shape::check, sleeps::check] {
                broken.extend(rule(&source));
            }
        }
    }
    broken.extend(shape::check_clippy_limit(&tree::text_of(&files, "clippy.toml")));
    broken.extend(dashboards::check_json(&files));
    broken.extend(dashboards::check_series(&files));
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the tree was not found: no src/lib.rs");
    let list: Vec<String> = broken.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} house rules are broken:\n{}", list.len(), list.join("\n"));
}
