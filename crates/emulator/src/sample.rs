//! The smallest JSON that fits a schema: what a model that thinks nothing answers to
//! "answer in JSON", and the arguments it calls a function with.

use serde_json::{Map, Value, json};

/// An instance of `schema`, which may be Google's dialect or JSON Schema's.
pub(crate) fn instance(schema: &Value) -> Value {
    build(schema, DEEPEST)
}

fn build(schema: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    for choice in ["anyOf", "any_of", "oneOf", "allOf"] {
        if let Some(first) = schema.get(choice).and_then(|choices| choices.get(0)) {
            return build(first, depth - 1);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        other => other.and_then(Value::as_str),
    };
    match kind.unwrap_or("object").to_ascii_lowercase().as_str() {
        "string" => json!("emulated"),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(0)),
        "boolean" => json!(false),
        "null" => Value::Null,
        "array" => {
            let least = schema
                .get("minItems")
                .and_then(|least| least.as_u64().or_else(|| least.as_str()?.parse().ok()));
            let count = least.unwrap_or(0).min(MOST_ITEMS);
            let item = schema
                .get("items")
                .map_or(Value::Null, |items| build(items, depth - 1));
            Value::Array((0..count).map(|_| item.clone()).collect())
        }
        _ => {
            let mut object = Map::new();
            let required = schema.get("required").and_then(Value::as_array);
            for (name, property) in schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                if required.is_none_or(|required| required.iter().any(|one| one == name)) {
                    object.insert(name.clone(), build(property, depth - 1));
                }
            }
            Value::Object(object)
        }
    }
}

/// Schemas may refer to themselves by being very deep; an answer need not.
const DEEPEST: usize = 16;
const MOST_ITEMS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_what_is_required_and_no_more() {
        let schema = json!({
            "type": "OBJECT",
            "properties": {
                "next": {"type": "STRING", "enum": ["user", "model"]},
                "count": {"type": ["integer", "null"]},
                "list": {"type": "array", "minItems": 2, "items": {"type": "boolean"}},
                "extra": {"type": "string"},
            },
            "required": ["next", "count", "list"],
        });
        assert_eq!(
            instance(&schema),
            json!({"next": "user", "count": 0, "list": [false, false]})
        );
        assert_eq!(instance(&Value::Null), json!({}));
    }
}
