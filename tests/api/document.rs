//! A document of the interface: its parts by their references, and whether a value is as a schema in it says.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Map, Value};

/// The end of what is said of a field that a schema does not name.
const STRANGE: &str = " is not in the schema";

/// A document.
pub struct Document(pub Value);

impl Document {
    pub fn read(name: &str) -> Document {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        Document(serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")))
    }

    /// A part by a JSON pointer.
    #[track_caller]
    pub fn part(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or_else(|| panic!("there is no {pointer}"))
    }

    /// The part that this one refers to, or itself.
    pub fn found<'a>(&'a self, part: &'a Value) -> &'a Value {
        match part.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.found(self.part(reference.trim_start_matches('#'))),
            None => part,
        }
    }

    /// Every reference of the document.
    pub fn references(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        walk(&self.0, &mut |part| {
            found.extend(part.get("$ref").and_then(Value::as_str).map(str::to_owned));
        });
        found
    }

    /// What of `value` is not as `schema` says: nothing if it is. A field that the schema does not name is wrong too, and the
    /// names of fields that are there are collected in `seen`.
    pub fn wrong(&self, schema: &Value, value: &Value, seen: &mut BTreeSet<String>) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let told = self.wrong(self.part(reference.trim_start_matches('#')), value, seen);
            // What is added to the schema is no stranger to it.
            let added = |told: &String| schema.get("properties").is_some() && told.ends_with(STRANGE);
            wrong.extend(told.into_iter().filter(|told| !added(told)));
        }
        if let Some(any) = schema.get("anyOf").and_then(Value::as_array)
            && !any.iter().any(|one| self.wrong(one, value, seen).is_empty())
        {
            wrong.push(format!("{value} is none of {any:?}"));
        }
        let says_no = |what: &str, no: bool| no.then(|| format!("{value} is not of {what} {:?}", schema.get(what)));
        let types = schema.get("type").map(|told| told.as_array().cloned().unwrap_or_else(|| vec![told.clone()]));
        wrong.extend(says_no("type", types.is_some_and(|types| !types.iter().any(|told| is_of(told, value)))));
        wrong.extend(says_no("const", schema.get("const").is_some_and(|only| only != value)));
        let words = schema.get("enum").and_then(Value::as_array);
        wrong.extend(says_no("enum", words.is_some_and(|words| !words.contains(value))));
        let least = schema.get("minimum").and_then(Value::as_f64).zip(value.as_f64());
        wrong.extend(says_no("minimum", least.is_some_and(|(least, number)| number < least)));
        if let Some(items) = schema.get("items") {
            wrong.extend(value.as_array().into_iter().flatten().flat_map(|item| self.wrong(items, item, seen)));
        }
        if let Some(object) = value.as_object() {
            wrong.extend(self.wrong_fields(schema, object, seen));
        }
        wrong
    }

    fn wrong_fields(&self, schema: &Value, object: &Map<String, Value>, seen: &mut BTreeSet<String>) -> Vec<String> {
        let mut wrong = Vec::new();
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        wrong.extend(
            required.filter(|name| !object.contains_key(name.as_str().unwrap())).map(|name| format!("no {name}")),
        );
        let known = self.fields(schema);
        for (name, value) in object {
            seen.insert(name.clone());
            match (known.get(name), schema.get("additionalProperties").filter(|more| more.is_object())) {
                (Some(field), _) | (None, Some(field)) => wrong.extend(self.wrong(field, value, seen)),
                (None, None) if known.is_empty() => {}
                (None, None) => wrong.push(format!("{name}{STRANGE}")),
            }
        }
        wrong
    }

    /// The fields of an object's schema, with those of the one that it refers to.
    fn fields(&self, schema: &Value) -> Map<String, Value> {
        let mut fields = match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.fields(self.part(reference.trim_start_matches('#'))),
            None => Map::new(),
        };
        fields.extend(schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default());
        fields
    }
}

fn is_of(told: &Value, value: &Value) -> bool {
    match told.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

/// Shows every object of a document.
pub fn walk(part: &Value, see: &mut impl FnMut(&Map<String, Value>)) {
    match part {
        Value::Object(object) => {
            see(object);
            object.values().for_each(|one| walk(one, see));
        }
        Value::Array(items) => items.iter().for_each(|one| walk(one, see)),
        _ => {}
    }
}

#[test]
fn a_value_is_held_against_a_schema() {
    let document = Document(serde_json::json!({ "one": {
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": "integer", "minimum": 0 }, "b": { "$ref": "#/word" } },
    }, "word": { "type": ["string", "null"], "enum": ["x", null] } }));
    let wrong = |value: Value| document.wrong(document.part("/one"), &value, &mut BTreeSet::new()).len();
    for (value, expected) in [
        (serde_json::json!({ "a": 1 }), 0),
        (serde_json::json!({ "a": 1, "b": null }), 0),
        (serde_json::json!({ "a": -1, "b": "x" }), 1),
        (serde_json::json!({ "a": "1", "b": "y" }), 2),
        (serde_json::json!({ "b": "x", "c": 1 }), 2),
        (serde_json::json!([]), 1),
    ] {
        assert_eq!(wrong(value.clone()), expected, "{value}");
    }
}
