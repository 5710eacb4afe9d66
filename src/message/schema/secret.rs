//! Fields that no error shows: `writeOnly`, `format: password`, or `secret: true` in the schema.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::resolved;

/// Says whether a schema marks anything as secret.
pub(super) fn marks_any(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => is_secret(schema) || object.values().any(marks_any),
        Value::Array(items) => items.iter().any(marks_any),
        _ => false,
    }
}

/// Returns a value with null in the place of everything secret.
pub(super) fn without<'value>(
    root: &Value,
    schema: &Value,
    value: &'value Value,
) -> Cow<'value, Value> {
    let schema = resolved(root, schema);
    if is_secret(schema) {
        return Cow::Owned(Value::Null);
    }
    let mut shown = Cow::Borrowed(value);
    for alternatives in ["anyOf", "oneOf", "allOf"] {
        let members = schema.get(alternatives).and_then(Value::as_array);
        for member in members.into_iter().flatten() {
            let stripped = without(root, member, &shown).into_owned();
            shown = Cow::Owned(stripped);
        }
    }
    match &*shown {
        Value::Object(fields) => {
            let stripped = fields.iter().map(|(name, field)| {
                let schema = field_schema(schema, name);
                let field = schema.map(|schema| without(root, schema, field).into_owned());
                (name.clone(), field.unwrap_or_else(|| fields[name].clone()))
            });
            let stripped: Map<String, Value> = stripped.collect();
            Cow::Owned(Value::Object(stripped))
        }
        Value::Array(items) => {
            let prefix = schema.get("prefixItems").and_then(Value::as_array);
            let rest = schema.get("items");
            let stripped = items.iter().enumerate().map(|(index, item)| {
                let schema = prefix.and_then(|prefix| prefix.get(index)).or(rest);
                schema.map_or_else(|| item.clone(), |s| without(root, s, item).into_owned())
            });
            Cow::Owned(Value::Array(stripped.collect()))
        }
        _ => shown,
    }
}

fn field_schema<'schema>(schema: &'schema Value, name: &str) -> Option<&'schema Value> {
    let declared = schema
        .get("properties")
        .and_then(|properties| properties.get(name));
    declared.or_else(|| schema.get("additionalProperties"))
}

fn is_secret(schema: &Value) -> bool {
    let is_true = |keyword| schema.get(keyword) == Some(&Value::Bool(true));
    let format = schema.get("format").and_then(Value::as_str);
    is_true("writeOnly") || is_true("secret") || format == Some("password")
}
