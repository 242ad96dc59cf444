//! docs/api/openapi.yaml against the router, the table of refusals and the pages for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;
use tandem::{
    audio::pcm::PCM_RATES_HZ,
    http::problem::{Problem, Refusal},
    protocol::{ending::Ending, moshi::Voice},
};

use crate::document::Document;

const NAME: &str = "docs/api/openapi.yaml";

fn source(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Every operation, as `GET /path`.
pub fn operations(document: &Document) -> BTreeMap<String, &Value> {
    let paths = document.part("/paths").as_object().unwrap();
    let mut found = BTreeMap::new();
    for (path, item) in paths {
        for method in ["get", "head", "post", "put", "patch", "delete", "options"] {
            if let Some(operation) = item.get(method) {
                found.insert(format!("{} {path}", method.to_uppercase()), operation);
            }
        }
    }
    found
}

#[test]
fn every_address_and_method_of_the_router_is_in_the_document_and_no_other() {
    let document = Document::read(NAME);
    let routes = source("src/http/mod.rs") + &source("src/http/admin/mod.rs");
    let known = routes.split(".service(").skip(1).flat_map(|service| {
        let path = service.split('"').nth(1).unwrap();
        let methods = service.split(".route(web::").skip(1).map(|route| route.split_once('(').unwrap().0);
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    assert_eq!(operations(&document).into_keys().collect::<BTreeSet<_>>(), known.collect());
}

#[test]
fn every_refusal_is_in_the_document_under_its_status_with_its_headers() {
    let document = Document::read(NAME);
    let mut statuses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for operation in operations(&document).values() {
        for (status, response) in operation["responses"].as_object().unwrap() {
            if let Some(name) = response.get("$ref").and_then(Value::as_str) {
                statuses.entry(name).or_default().insert(status);
            }
        }
    }
    // Of addresses that are not here, and of methods that the ones that are do not take.
    statuses.insert("#/components/responses/UnknownRoute", ["404"].into());
    statuses.insert("#/components/responses/MethodNotAllowed", ["405"].into());
    let mut told = BTreeSet::new();
    for (name, response) in document.part("/components/responses").as_object().unwrap() {
        let Some(body) = response.pointer("/content/application~1problem+json/schema") else { continue };
        let statuses = &statuses[format!("#/components/responses/{name}").as_str()];
        assert_eq!(statuses.len(), 1, "{name} has one status");
        for code in codes(&body["properties"]["code"]) {
            let problem = Problem::ALL.iter().find(|problem| problem.code() == code);
            let problem = problem.unwrap_or_else(|| panic!("{name}: there is no {code}"));
            assert!(statuses.contains(problem.row().status.to_string().as_str()), "{name}: {code}");
            let answer = actix_web::ResponseError::error_response(&Refusal::from(*problem));
            for header in answer.headers().keys().filter(|header| *header != "content-type") {
                let known = response["headers"].as_object().unwrap().keys();
                let known: Vec<String> = known.map(|known| known.to_ascii_lowercase()).collect();
                assert!(known.contains(&header.as_str().to_owned()), "{name}: {header} of {code}");
            }
            let body: Value =
                serde_json::from_slice(&actix_web::body::MessageBody::try_into_bytes(answer.into_body()).unwrap())
                    .unwrap();
            let problem = document.part("/components/schemas/Problem");
            assert_eq!(document.wrong(problem, &body, &mut BTreeSet::new()), Vec::<String>::new(), "{code}");
            told.insert(code);
        }
    }
    assert_eq!(told, Problem::ALL.iter().map(|problem| problem.code().to_owned()).collect());
}

/// The words of an enumeration, or of several.
fn codes(schema: &Value) -> Vec<String> {
    let words = |one: &Value| one["enum"].as_array().cloned().unwrap_or_default();
    let all = schema["anyOf"].as_array().map_or_else(|| words(schema), |all| all.iter().flat_map(words).collect());
    all.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_reference_leads_somewhere_and_every_part_is_used() {
    let document = Document::read(NAME);
    let references = document.references();
    for reference in &references {
        document.part(reference.trim_start_matches('#'));
    }
    for (kind, parts) in document.part("/components").as_object().unwrap() {
        for name in parts.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
            let reference = format!("#/components/{kind}/{name}");
            let is_told_in_words = ["UnknownRoute", "MethodNotAllowed"].contains(&name.as_str());
            assert!(references.contains(&reference) || is_told_in_words, "nothing uses {reference}");
        }
    }
}

#[test]
fn every_example_is_as_its_schema_says() {
    let document = Document::read(NAME);
    let mut count = 0;
    crate::document::walk(&document.0, &mut |part| {
        let Some((schema, examples)) = part.get("schema").zip(part.get("examples").and_then(Value::as_object)) else {
            return;
        };
        for (name, example) in examples {
            let wrong = document.wrong(schema, &example["value"], &mut BTreeSet::new());
            assert_eq!(wrong, Vec::<String>::new(), "{name}");
            count += 1;
        }
    });
    assert!(count >= 8, "only {count} examples were found");
}

#[test]
fn the_examples_of_the_pages_are_as_the_document_says() {
    let document = Document::read(NAME);
    let schema = |value: &Value| match value {
        _ if value.get("ticket").is_some() => "Ticket",
        _ if value.get("next").is_some() => "SessionPage",
        _ if value.get("transcript").is_some() => "SessionWithTranscript",
        _ if value.get("not_erased").is_some() => "Erased",
        _ if value.get("state").is_some() && value.get("machines").is_some() => "Machines",
        _ if value.get("needs_restart").is_some() => "Reloaded",
        _ if value.get("code").is_some() && value.get("title").is_some() => "Problem",
        _ => "",
    };
    let mut seen = BTreeMap::new();
    for page in ["client", "history", "operate", "admin"] {
        let page = source(&format!("docs/protocol/{page}.md"));
        let blocks = page.split("\n```json").skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
        for line in blocks.flat_map(|block| block.lines().skip(1)) {
            let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
            let name = schema(&value);
            if !name.is_empty() {
                let known = document.part(&format!("/components/schemas/{name}"));
                let wrong = document.wrong(known, &value, &mut BTreeSet::new());
                // An example that leaves details out says so on its page.
                let wrong: Vec<_> = wrong
                    .into_iter()
                    .filter(|told| !value.to_string().contains("details") || !told.starts_with("no "))
                    .collect();
                assert_eq!(wrong, Vec::<String>::new(), "{line}");
                *seen.entry(name).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

#[test]
fn closed_sets_are_those_of_the_code() {
    let document = Document::read(NAME);
    let words = |pointer: &str| document.part(pointer)["enum"].as_array().unwrap().clone();
    let rates: Vec<Value> = PCM_RATES_HZ.iter().map(|rate| Value::from(*rate)).collect();
    assert_eq!(words("/components/parameters/Rate/schema"), rates);
    let endings: Vec<Value> = Ending::ALL.iter().map(|ending| ending.code().into()).collect();
    let told = words("/components/schemas/Ending");
    assert_eq!((&told[..endings.len()], &told[endings.len()..]), (&endings[..], &["unknown".into()][..]));
    let labels: Vec<Value> = tandem::pool::roster::SlotLabel::ALL.iter().map(|label| label.code().into()).collect();
    assert_eq!(words("/components/schemas/Slot/properties/label"), labels);
    let pattern = document.part("/components/schemas/Voice/pattern");
    assert_eq!(pattern, r"^(NAT[FM][0-3]|VAR[FM][0-4])(\.pt)?$");
    assert!(Voice::ALL.iter().all(|voice| voice.name().starts_with("NAT") || voice.name().starts_with("VAR")));
    assert_eq!(Voice::ALL.len(), 2 * 4 + 2 * 5);
}
