//! JSON Schema, as far as `manifests/schemas` uses it. In Rust, because guests with other kernels have nothing that judges
//! by it.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// What is wrong with the value by the schema of this name in `manifests/schemas`.
pub fn faults(schema: &str, value: &Value) -> Vec<String> {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/schemas");
    let text = fs::read_to_string(schemas.join(schema)).expect("a schema");
    let root: Value = serde_json::from_str(&text).expect("JSON");
    let mut faults = Vec::new();
    judge(&root, &root, value, schema, &mut faults);
    faults
}

/// Fails where the value is not what the schema says.
#[track_caller]
pub fn assert_fits(schema: &str, value: &Value) {
    assert_eq!(faults(schema, value), [""; 0], "{value:#}");
}

fn judge(root: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let fault = |what: String| format!("{place}: {what}");
    for (word, said) in schema.as_object().expect("a schema") {
        let list = said.as_array().map(Vec::as_slice).unwrap_or_default();
        match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let path = said.as_str().and_then(|path| path.strip_prefix('#'));
                let meant = root.pointer(path.expect("a path")).expect("a definition");
                judge(root, meant, value, place, faults);
                return;
            }
            "anyOf" => {
                let fits = |schema| {
                    let mut against = Vec::new();
                    judge(root, schema, value, place, &mut against);
                    against.is_empty()
                };
                if !list.iter().any(fits) {
                    faults.push(fault(format!("{value} is none of {said}")));
                }
            }
            "type" if list.contains(&type_of(value)) || *said == type_of(value) => {}
            "enum" if list.contains(value) => {}
            "type" | "enum" => faults.push(fault(format!("{value} is not {said}"))),
            "required" => {
                for name in list.iter().filter_map(Value::as_str) {
                    if value.get(name).is_none() {
                        faults.push(fault(format!("{name} is missing")));
                    }
                }
            }
            "additionalProperties" => {
                assert_eq!(*said, false);
                for (name, _) in value.as_object().into_iter().flatten() {
                    if schema["properties"].get(name).is_none() {
                        faults.push(fault(format!("{name} is unknown")));
                    }
                }
            }
            "properties" | "items" => {}
            unknown => panic!("{unknown} is not known here"),
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        if let Some(schema) = schema["properties"].get(name) {
            judge(root, schema, value, &format!("{place}/{name}"), faults);
        }
    }
    for value in value.as_array().into_iter().flatten() {
        if let Some(schema) = schema.get("items") {
            judge(root, schema, value, &format!("{place}/[]"), faults);
        }
    }
}

fn type_of(value: &Value) -> Value {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Value::from(name)
}
