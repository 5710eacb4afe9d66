//! Text to JSON values, led by a schema. What does not convert stays text.

use serde_json::{Map, Number, Value};

use super::resolved;

/// Converts the texts of a parameter.
pub(super) fn parameter(root: &Value, raw: &[&str]) -> Value {
    match array_items(root, root) {
        Some(items) => {
            let texts = split(root, raw);
            Value::Array(texts.map(|text| scalar(root, items, text)).collect())
        }
        None => raw
            .first()
            .map_or(Value::Null, |text| scalar(root, root, text)),
    }
}

/// Returns the same shape as [`parameter`], all of it text: what an error shows.
pub(super) fn as_text(root: &Value, raw: &[&str]) -> Value {
    match array_items(root, root) {
        Some(_) => Value::Array(split(root, raw).map(Value::from).collect()),
        None => raw.first().map_or(Value::Null, |text| Value::from(*text)),
    }
}

/// Collects form fields into an object.
pub(super) fn form(
    root: &Value,
    fields: impl Iterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
) -> Value {
    let schema = resolved(root, root);
    let property = |name: &str| schema.get("properties").and_then(|all| all.get(name));
    let mut object = Map::new();
    for (name, text) in fields {
        let (name, text) = (name.as_ref(), text.as_ref());
        let stem = name
            .strip_suffix("[]")
            .filter(|stem| property(name).is_none() && property(stem).is_some());
        let name = stem.unwrap_or(name);
        let schema = property(name).unwrap_or(&Value::Null);
        if let Some(items) = array_items(root, schema) {
            let value = scalar(root, items, text);
            match object
                .entry(name)
                .or_insert_with(|| Value::Array(Vec::new()))
            {
                Value::Array(values) => values.push(value),
                other => *other = value,
            }
        } else {
            object
                .entry(name)
                .or_insert_with(|| scalar(root, schema, text));
        }
    }
    Value::Object(object)
}

fn split<'text>(root: &'text Value, raw: &'text [&'text str]) -> impl Iterator<Item = &'text str> {
    let separator = root.get("separator").and_then(Value::as_str);
    let separator = separator.filter(|separator| !separator.is_empty());
    raw.iter().flat_map(move |text| {
        let parts: Box<dyn Iterator<Item = &str>> = match separator {
            Some(separator) => Box::new(text.split(separator)),
            None => Box::new(std::iter::once(*text)),
        };
        parts
    })
}

/// Returns the schema of the items if the schema is one of an array, or of an array or null.
fn array_items<'schema>(root: &'schema Value, schema: &'schema Value) -> Option<&'schema Value> {
    let found = alternatives(root, schema)
        .into_iter()
        .find(|member| has_type(member, "array"))?;
    Some(found.get("items").unwrap_or(&Value::Null))
}

fn scalar(root: &Value, schema: &Value, text: &str) -> Value {
    let members = alternatives(root, schema);
    let mut converted = members.iter().filter_map(|member| convert(member, text));
    converted.next().unwrap_or_else(|| Value::from(text))
}

/// Returns the schema itself, or the members of its `anyOf`, `oneOf` or `allOf`.
fn alternatives<'schema>(root: &'schema Value, schema: &'schema Value) -> Vec<&'schema Value> {
    let schema = resolved(root, schema);
    let mut found = vec![schema];
    for keyword in ["anyOf", "oneOf", "allOf"] {
        let members = schema.get(keyword).and_then(Value::as_array);
        found.extend(
            members
                .into_iter()
                .flatten()
                .map(|member| resolved(root, member)),
        );
    }
    found
}

/// Converts to the first declared type that takes the text; `None` when there is none.
fn convert(schema: &Value, text: &str) -> Option<Value> {
    if let Some(options) = schema.get("enum").and_then(Value::as_array) {
        return options
            .iter()
            .find(|option| is_written(option, text))
            .cloned();
    }
    if let Some(expected) = schema.get("const") {
        return is_written(expected, text).then(|| expected.clone());
    }
    let convert = |kind: &str| match kind {
        "integer" => integer(text).map(Value::Number),
        "number" => number(text).map(Value::Number),
        "boolean" => boolean(text).map(Value::Bool),
        "string" => Some(Value::from(text)),
        "object" => serde_json::from_str(text).ok().filter(Value::is_object),
        _ => None,
    };
    match schema.get("type")? {
        Value::String(kind) => convert(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find_map(convert),
        _ => None,
    }
}

/// Says whether a text is how an option would be written in a URL.
fn is_written(option: &Value, text: &str) -> bool {
    match option {
        Value::String(option) => option == text,
        Value::Bool(option) => boolean(text) == Some(*option),
        Value::Number(option) => number(text).is_some_and(|n| n.as_f64() == option.as_f64()),
        _ => false,
    }
}

fn has_type(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(found)) => found == kind,
        Some(Value::Array(found)) => found.iter().any(|found| found == kind),
        _ => false,
    }
}

/// Reads an optional sign and ASCII digits: no `_`, no spaces, no other scripts' digits.
fn integer(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let valid = (1..=MAX_INTEGER_DIGITS).contains(&digits.len());
    if !valid || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // JSON has no leading zeros, and a signed zero is none of its integers.
    match digits.trim_start_matches('0') {
        "" => Some(Number::from(0)),
        significant => format!("{sign}{significant}").parse().ok(),
    }
}

/// Reads a decimal number with an optional exponent, within the range of a double.
fn number(text: &str) -> Option<Number> {
    let syntax = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    syntax.then(|| text.parse().ok().and_then(Number::from_f64))?
}

fn boolean(text: &str) -> Option<bool> {
    let is_any = |words: [&str; 6]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_any(["true", "1", "yes", "on", "t", "y"]) {
        Some(true)
    } else {
        is_any(["false", "0", "no", "off", "f", "n"]).then_some(false)
    }
}

/// The longest integer that Python reads by default (CVE-2020-10735).
const MAX_INTEGER_DIGITS: usize = 4_300;
