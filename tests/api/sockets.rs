//! docs/api/asyncapi.yaml against both wires, their close codes and the page for people.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;
use tandem::{
    http::query::{CallQuery, Door},
    protocol::{
        ending::Ending,
        moshi::Message,
        native::{ExpiryReason, QueueReason, RecoveryReason, ServerEvent, WarningCode, decode_client},
    },
};

use crate::document::Document;

const NAME: &str = "docs/api/asyncapi.yaml";

/// The strings behind `rename = "` in an item of the wire's source.
fn types(item: &str) -> BTreeSet<String> {
    let source = std::fs::read_to_string(format!("{}/src/protocol/native.rs", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (_, rest) = source.split_once(item).unwrap();
    let (item, _) = rest.split_once("\n}").unwrap();
    item.split("rename = \"").skip(1).map(|rest| rest.split_once('"').unwrap().0.to_owned()).collect()
}

/// The messages of an operation, by their names.
fn messages<'a>(document: &'a Document, operation: &str) -> BTreeMap<&'a str, &'a Value> {
    let messages = document.part(&format!("/operations/{operation}/messages")).as_array().unwrap();
    let messages = messages.iter().map(|message| document.found(message));
    messages.map(|message| (message["name"].as_str().unwrap(), message)).collect()
}

#[test]
fn every_message_of_our_wire_is_told_in_its_direction_and_its_examples_are_read_by_the_real_reader() {
    let document = Document::read(NAME);
    for (operation, item) in [("nativeTell", "pub enum ServerEvent"), ("nativeHear", "pub enum ClientEvent")] {
        let mut told = messages(&document, operation);
        assert!(told.remove("audio").is_some(), "{operation}");
        assert_eq!(told.keys().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), types(item));
        for (name, message) in told {
            let (mut seen, examples) = (BTreeSet::new(), message["examples"].as_array().unwrap());
            for example in examples {
                let payload = &example["payload"];
                assert_eq!(payload["type"], name);
                if operation == "nativeTell" {
                    let event: ServerEvent = serde_json::from_value(payload.clone()).unwrap();
                    assert_eq!(&serde_json::to_value(event).unwrap(), payload, "fields that do not exist");
                } else {
                    assert!(decode_client(&payload.to_string()).is_ok(), "{payload}");
                }
                let wrong = document.wrong(&message["payload"], payload, &mut seen);
                assert_eq!(wrong, Vec::<String>::new(), "{payload}");
            }
            let fields = message["payload"]["properties"].as_object().unwrap().keys();
            let unseen: Vec<_> = fields.filter(|field| !seen.contains(*field)).collect();
            assert!(unseen.is_empty(), "no example of {name} has {unseen:?}");
        }
    }
}

#[test]
fn what_may_be_left_out_is_what_the_schemas_do_not_require() {
    let document = Document::read(NAME);
    for (name, message) in messages(&document, "nativeTell").into_iter().filter(|(name, _)| *name != "audio") {
        let required: Vec<&str> =
            message["payload"]["required"].as_array().unwrap().iter().map(|field| field.as_str().unwrap()).collect();
        for example in message["examples"].as_array().unwrap() {
            for field in message["payload"]["properties"].as_object().unwrap().keys() {
                let mut less = example["payload"].as_object().unwrap().clone();
                if less.remove(field).is_some() {
                    let reads = serde_json::from_value::<ServerEvent>(Value::Object(less)).is_ok();
                    assert_eq!(reads, !required.contains(&field.as_str()), "{field} of {name}");
                }
            }
        }
    }
}

#[test]
fn the_words_that_a_message_may_have_are_those_of_the_code() {
    let document = Document::read(NAME);
    let words = |message: &str, field: &str| {
        let field = document.part(&format!("/components/messages/{message}/payload/properties/{field}"));
        field["enum"].as_array().unwrap().clone()
    };
    let json = |word: Result<Value, serde_json::Error>| word.unwrap();
    let reasons = [QueueReason::Busy, QueueReason::Waking].map(|reason| json(serde_json::to_value(reason)));
    assert_eq!(words("sessionQueued", "reason"), reasons);
    use ExpiryReason::{Drain, Idle, MaxDuration, Persona, Quota};
    let reasons = [Idle, MaxDuration, Drain, Quota, Persona].map(|reason| json(serde_json::to_value(reason)));
    assert_eq!(words("sessionExpiring", "reason"), reasons);
    let reasons = RecoveryReason::ALL.map(|reason| json(serde_json::to_value(reason)));
    assert_eq!(words("sessionRecovering", "reason"), reasons);
    let codes = [WarningCode::ContextUnavailable, WarningCode::ContextNotAllowed];
    assert_eq!(words("sessionWarning", "code"), codes.map(|code| json(serde_json::to_value(code))));
}

#[test]
fn every_ending_has_its_close_code() {
    let document = Document::read(NAME);
    let told: BTreeMap<&str, u64> = document
        .part("/x-close-codes")
        .as_object()
        .unwrap()
        .iter()
        .map(|(code, close)| (code.as_str(), close.as_u64().unwrap()))
        .collect();
    let known = Ending::ALL.map(|ending| (ending.code(), u64::from(ending.row().close_code)));
    assert_eq!(told, known.into());
    let words = document.part("/components/schemas/Ending/enum").as_array().unwrap();
    assert_eq!(words, &Ending::ALL.map(|ending| Value::from(ending.code())));
}

#[test]
fn every_kind_of_the_stock_wire_is_what_the_real_reader_takes_it_for() {
    let document = Document::read(NAME);
    for operation in ["moshiTell", "moshiHear"] {
        let told = messages(&document, operation);
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), ["00", "01", "02", "05", "06"], "{operation}");
        for (name, message) in told {
            let bytes: Vec<u8> = serde_json::from_value(message["x-example-bytes"].clone()).unwrap();
            assert_eq!(format!("{:02}", bytes[0]), name);
            let read = Message::decode(Bytes::from(bytes.clone())).unwrap();
            let is_it = match name {
                "00" => matches!(read, Message::Handshake(_)),
                "01" => matches!(read, Message::Audio(_)),
                "02" => matches!(read, Message::Text(_)),
                "05" => matches!(read, Message::Error(_)),
                _ => matches!(read, Message::Ping),
            };
            assert!(is_it && read.encode() == bytes, "{name}");
        }
    }
}

#[test]
fn both_documents_name_the_same_doors_with_the_same_parameters() {
    let (sockets, requests) = (Document::read(NAME), Document::read("docs/api/openapi.yaml"));
    for channel in sockets.part("/channels").as_object().unwrap().values() {
        let address = channel["address"].as_str().unwrap();
        let operation = &requests.part("/paths")[address]["get"];
        let asked = operation["parameters"].as_array().unwrap().iter().map(|parameter| requests.found(parameter));
        let mut asked: BTreeSet<&str> = asked
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        // The credentials of the query are security schemes there.
        asked.extend(["ticket", "token"]);
        let told = channel["bindings"]["ws"]["query"]["properties"].as_object().unwrap();
        assert_eq!(told.keys().map(String::as_str).collect::<BTreeSet<_>>(), asked, "{address}");
    }
}

#[test]
fn every_parameter_of_a_call_is_one_that_the_doors_read() {
    let document = Document::read(NAME);
    let query = document.part("/channels/native/bindings/ws/query/properties").as_object().unwrap();
    let source = std::fs::read_to_string(format!("{}/src/http/query.rs", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (_, table) = source.split_once("match key.as_ref() {").unwrap();
    let (table, _) = table.split_once("_ => {}").unwrap();
    let arms = table.lines().filter_map(|line| line.split_once("=>"));
    let read = arms.flat_map(|(names, _)| names.split('"').skip(1).step_by(2)).collect::<BTreeSet<_>>();
    assert_eq!(query.keys().map(String::as_str).collect::<BTreeSet<_>>(), read);
    let formats = query["audio"]["enum"].as_array().unwrap();
    for format in formats {
        let dialect = CallQuery::parse(&format!("audio={}", format.as_str().unwrap())).dialect(Door::Native);
        assert!(dialect.is_ok(), "{format}");
    }
}
