//! Judges JSON by the subset of JSON Schema that the OpenAPI document uses. A member that no schema
//! names is wrong too: a document that leaves something out is not the contract.

use std::collections::BTreeSet;

use serde_json::Value;

/// The keywords that mean something to [`Judge`], and those that only describe.
const KEYWORDS: [&str; 21] = [
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "default",
    "description",
    "enum",
    "example",
    "examples",
    "format",
    "items",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "oneOf",
    "properties",
    "propertyNames",
    "required",
    "type",
];

/// Schemas of one document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge<'a> {
    document: &'a Value,
}

/// The members of an object that schemas speak of; `None` when any member is fine.
type Named = Option<BTreeSet<String>>;

impl<'a> Judge<'a> {
    /// A judge by the schemas of an OpenAPI document.
    pub(crate) fn new(document: &'a Value) -> Self {
        Self { document }
    }

    /// Everything in which `value` is not what `schema` says, by its place.
    pub(crate) fn faults(self, schema: &Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        let named = self.visit(schema, value, "", &mut faults);
        unnamed(&named, value, "", &mut faults);
        faults
    }

    fn resolve(self, reference: &str) -> &'a Value {
        let found = reference.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer));
        found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    /// Judges by one schema; what it gives are the members it speaks of.
    fn visit(self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) -> Named {
        let schema = schema.as_object()?;
        for keyword in schema.keys() {
            assert!(
                KEYWORDS.contains(&keyword.as_str()),
                "a schema says `{keyword}`, which this judge does not know"
            );
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            return self.visit(self.resolve(reference), value, at, faults);
        }
        let mut named: Named = Some(BTreeSet::new());
        let mut says = false;
        if let Some(types) = schema.get("type")
            && !has_type(types, value)
        {
            faults.push(format!("{at}: {types} is expected, not {value}"));
        }
        if let Some(wanted) = schema.get("enum").and_then(Value::as_array)
            && !wanted.contains(value)
        {
            faults.push(format!("{at}: {value} is none of {wanted:?}"));
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            says = true;
            for part in all {
                named = union(named, self.visit(part, value, at, faults));
            }
        }
        for keyword in ["oneOf", "anyOf"] {
            if let Some(some) = schema.get(keyword).and_then(Value::as_array) {
                says = true;
                named = union(named, self.one_of(some, value, at, faults));
            }
        }
        limits(schema, value, at, faults);
        if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
            for (index, item) in items.iter().enumerate() {
                self.whole(schema, item, &format!("{at}/{index}"), faults);
            }
        }
        let members = self.members(schema, value, at, faults);
        if members.is_some() || !says { union(named, members) } else { named }
    }

    /// Judges a value that no other schema speaks of.
    fn whole(self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let named = self.visit(schema, value, at, faults);
        unnamed(&named, value, at, faults);
    }

    fn one_of(self, schemas: &[Value], value: &Value, at: &str, faults: &mut Vec<String>) -> Named {
        let mut nearest: Option<Vec<String>> = None;
        for schema in schemas {
            let mut found = Vec::new();
            let named = self.visit(schema, value, at, &mut found);
            if found.is_empty() {
                return named;
            }
            if nearest.as_ref().is_none_or(|nearest| found.len() < nearest.len()) {
                nearest = Some(found);
            }
        }
        faults.extend(nearest.unwrap_or_default());
        None
    }

    /// Judges the members of an object.
    fn members(
        self,
        schema: &serde_json::Map<String, Value>,
        value: &Value,
        at: &str,
        faults: &mut Vec<String>,
    ) -> Named {
        let known = schema.get("properties").and_then(Value::as_object);
        let other = schema.get("additionalProperties").filter(|other| **other != Value::Bool(false));
        let Some(members) = value.as_object() else {
            return known.map(|known| known.keys().cloned().collect());
        };
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !name.as_str().is_some_and(|name| members.contains_key(name)) {
                faults.push(format!("{at}: {name} is missing"));
            }
        }
        for (name, member) in members {
            let at = format!("{at}/{name}");
            match (known.and_then(|known| known.get(name)), other) {
                (Some(schema), _) | (None, Some(schema)) => self.whole(schema, member, &at, faults),
                (None, None) => {}
            }
        }
        match (known, other) {
            (Some(known), None) => Some(known.keys().cloned().collect()),
            _ => None,
        }
    }
}

/// Judges by the limits of numbers and text.
fn limits(schema: &serde_json::Map<String, Value>, value: &Value, at: &str, faults: &mut Vec<String>) {
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(number) = value.as_f64()
        && (limit("minimum").is_some_and(|least| number < least)
            || limit("maximum").is_some_and(|most| number > most))
    {
        faults.push(format!("{at}: {number} is out of its limits"));
    }
    if let Some(text) = value.as_str() {
        let count = text.chars().count() as f64;
        if limit("minLength").is_some_and(|least| count < least)
            || limit("maxLength").is_some_and(|most| count > most)
        {
            faults.push(format!("{at}: {text:?} is too short or too long"));
        }
        if schema.get("format").is_some_and(|format| format == "date-time")
            && text.parse::<jiff::Timestamp>().is_err()
        {
            faults.push(format!("{at}: {text:?} is no instant"));
        }
    }
}

fn union(a: Named, b: Named) -> Named {
    let mut both = a?;
    both.extend(b?);
    Some(both)
}

fn unnamed(named: &Named, value: &Value, at: &str, faults: &mut Vec<String>) {
    if let (Some(named), Some(members)) = (named, value.as_object()) {
        let unknown = members.keys().filter(|name| !named.contains(*name));
        faults.extend(unknown.map(|name| format!("{at}/{name}: no schema names it")));
    }
}

fn has_type(types: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => false,
    };
    match types {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => false,
    }
}

#[test]
fn the_judge_sees_what_is_wrong_and_lets_pass_what_is_right() {
    use serde_json::json;
    let document = json!({"components": {"schemas": {
        "Head": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "end": {"type": ["string", "null"], "format": "date-time"}}},
        "Whole": {"allOf": [{"$ref": "#/components/schemas/Head"}, {"type": "object", "required": ["rows"], "properties": {
            "rows": {"type": "array", "items": {"oneOf": [{"type": "null"}, {"type": "integer", "minimum": 1}]}},
            "by": {"type": "object", "additionalProperties": {"type": "number"}},
            "free": {"type": "object"}}}]},
    }}});
    let judge = Judge::new(&document);
    let schema = json!({"$ref": "#/components/schemas/Whole"});
    for right in [
        json!({"id": "a", "rows": [1, null]}),
        json!({"id": "a", "rows": [], "end": "2024-01-01T00:00:00Z", "by": {"x": 1.5}, "free": {"any": ["thing"]}}),
    ] {
        assert_eq!(judge.faults(&schema, &right), [""; 0], "{right}");
    }
    for wrong in [
        json!({"rows": []}),
        json!({"id": 1, "rows": []}),
        json!({"id": "a", "rows": [0]}),
        json!({"id": "a", "rows": [1.5]}),
        json!({"id": "a", "rows": [], "end": "tomorrow"}),
        json!({"id": "a", "rows": [], "by": {"x": "y"}}),
        json!({"id": "a", "rows": [], "more": 1}),
        json!([]),
    ] {
        assert_ne!(judge.faults(&schema, &wrong), [""; 0], "{wrong}");
    }
}
