use serde_json::json;

use super::*;
use crate::message::validation::{MAX_ERRORS, MAX_INPUT_BYTES};

fn schema(source: Value) -> Schema {
    Schema::compile(source).unwrap()
}

/// The errors of a body as JSON, in the order of their places.
fn errors(source: Value, body: &Value) -> Vec<Value> {
    let mut errors = schema(source).validate(body).err().unwrap_or_default();
    errors.sort_by(|a, b| a.loc.cmp(&b.loc));
    errors.into_iter().map(Value::from).collect()
}

/// The type, message and context of the only error of a property `v`.
fn violation(rule: &Value, value: &Value) -> Value {
    let source = json!({"type": "object", "properties": {"v": rule}});
    let found = errors(source, &json!({"v": value}));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["loc"], json!(["body", "v"]));
    assert_eq!(&found[0]["input"], value);
    json!([found[0]["type"], found[0]["msg"], found[0].get("ctx")])
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table, a line or two per rule")]
fn every_violated_rule_has_its_type_message_and_context() {
    const INT: &str = "Input should be a valid integer, unable to parse string as an integer";
    const FLOAT: &str = "Input should be a valid number, unable to parse string as a number";
    const BOOL: &str = "Input should be a valid boolean, unable to interpret input";
    for (rule, value, expected) in [
        (
            json!({"type": "integer"}),
            json!("1"),
            json!(["int_parsing", INT, null]),
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            json!(["int_parsing", INT, null]),
        ),
        (
            json!({"type": "number"}),
            json!("x"),
            json!(["float_parsing", FLOAT, null]),
        ),
        (
            json!({"type": "boolean"}),
            json!(1),
            json!(["bool_parsing", BOOL, null]),
        ),
        (
            json!({"type": "string"}),
            json!(1),
            json!(["string_type", "Input should be a valid string", null]),
        ),
        (
            json!({"type": "array"}),
            json!({}),
            json!(["list_type", "Input should be a valid list", null]),
        ),
        (
            json!({"type": "object"}),
            json!([]),
            json!(["dict_type", "Input should be a valid dictionary", null]),
        ),
        (
            json!({"type": ["integer", "null"]}),
            json!("1"),
            json!(["int_parsing", INT, null]),
        ),
        (
            json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}),
            json!("1"),
            json!(["int_parsing", INT, null]),
        ),
        (
            json!({"minLength": 3}),
            json!("ab"),
            json!(["string_too_short", "String should have at least 3 characters", {"min_length": 3}]),
        ),
        (
            json!({"minLength": 1}),
            json!(""),
            json!(["string_too_short", "String should have at least 1 character", {"min_length": 1}]),
        ),
        (
            json!({"maxLength": 2}),
            json!("abc"),
            json!(["string_too_long", "String should have at most 2 characters", {"max_length": 2}]),
        ),
        (
            json!({"minimum": 0.01}),
            json!(0),
            json!(["greater_than_equal", "Input should be greater than or equal to 0.01", {"ge": 0.01}]),
        ),
        (
            json!({"exclusiveMinimum": 3}),
            json!(3),
            json!(["greater_than", "Input should be greater than 3", {"gt": 3}]),
        ),
        (
            json!({"maximum": 100}),
            json!(101),
            json!(["less_than_equal", "Input should be less than or equal to 100", {"le": 100}]),
        ),
        (
            json!({"exclusiveMaximum": 50}),
            json!(50),
            json!(["less_than", "Input should be less than 50", {"lt": 50}]),
        ),
        (
            json!({"multipleOf": 5}),
            json!(17),
            json!(["multiple_of", "Input should be a multiple of 5", {"multiple_of": 5}]),
        ),
        (
            json!({"multipleOf": 0.5}),
            json!(0.7),
            json!(["multiple_of", "Input should be a multiple of 0.5", {"multiple_of": 0.5}]),
        ),
        (
            json!({"enum": ["a", "b", "c"]}),
            json!("d"),
            json!(["enum", "Input should be 'a', 'b' or 'c'", {"expected": "'a', 'b' or 'c'"}]),
        ),
        (
            json!({"enum": [1]}),
            json!(2),
            json!(["enum", "Input should be 1", {"expected": "1"}]),
        ),
        (
            json!({"const": "x"}),
            json!("y"),
            json!(["const", "Input should be 'x'", {"expected": "'x'"}]),
        ),
        (
            json!({"pattern": "^a$"}),
            json!("b"),
            json!(["string_pattern_mismatch", "String should match pattern '^a$'", {"pattern": "^a$"}]),
        ),
        (
            json!({"minItems": 1}),
            json!([]),
            json!(["too_short", "List should have at least 1 item after validation", {"min_length": 1}]),
        ),
        (
            json!({"maxItems": 2}),
            json!([1, 2, 3]),
            json!(["too_long", "List should have at most 2 items after validation", {"max_length": 2}]),
        ),
        (
            json!({"uniqueItems": true}),
            json!([1, 1]),
            json!(["unique_items", "List items should be unique", null]),
        ),
        (
            json!({"maxProperties": 1}),
            json!({"a": 1, "b": 2}),
            json!([
                "validation_error",
                "{\"a\":1,\"b\":2} has more than 1 property",
                null
            ]),
        ),
    ] {
        assert_eq!(violation(&rule, &value), expected, "{rule} {value}");
    }
}

#[test]
fn every_format_has_its_type_and_message() {
    const EMAIL: &str = r"^[a-zA-Z0-9_.+-]+@[a-zA-Z0-9-]+\.[a-zA-Z0-9-.]+$";
    for (format, wrong, right, kind, msg) in [
        (
            "uuid",
            "x",
            "c892496f-b1fd-4b91-bdb8-b46f92df1716",
            "uuid_parsing",
            "UUID",
        ),
        ("date", "2025-13-45", "2025-12-31", "date_parsing", "date"),
        (
            "date-time",
            "2025-01-01",
            "2024-01-15T10:30:00Z",
            "datetime_parsing",
            "datetime",
        ),
        (
            "uri",
            "not a uri",
            "https://example.com/p?q=v",
            "url_parsing",
            "URL",
        ),
        ("time", "25:00", "10:30:00Z", "time_parsing", "time"),
        ("duration", "1h", "PT1H", "time_delta_parsing", "duration"),
        ("ipv4", "1.2.3", "1.2.3.4", "ip_parsing", "IP address"),
        ("ipv6", "::g", "2001:db8::1", "ip_parsing", "IP address"),
        ("hostname", "-a-", "example.com", "format_error", "hostname"),
        ("byte", "a", "YQ==", "format_error", "byte"),
    ] {
        let rule = json!({"type": "string", "format": format});
        assert!(
            schema(rule.clone()).validate(&json!(right)).is_ok(),
            "{format} {right}"
        );
        let expected = json!([kind, format!("Input should be a valid {msg}"), null]);
        assert_eq!(violation(&rule, &json!(wrong)), expected, "{format}");
    }
    let rule = json!({"type": "string", "format": "email"});
    assert!(
        schema(rule.clone())
            .validate(&json!("user@example.com"))
            .is_ok()
    );
    let msg = format!("String should match pattern '{EMAIL}'");
    let expected = json!(["string_pattern_mismatch", msg, {"pattern": EMAIL}]);
    assert_eq!(violation(&rule, &json!("not-an-email")), expected);
}

#[test]
fn all_violations_are_listed_with_their_places() {
    let source = json!({
        "type": "object",
        "required": ["name", "profile"],
        "properties": {
            "name": {"type": "string"},
            "profile": {"type": "object", "required": ["email"]},
            "tags": {"type": "array", "items": {"type": "integer"}},
        },
        "additionalProperties": false,
    });
    let body = json!({"profile": {"x": 1}, "tags": [1, "b", "c"], "a/b~": 1, "z": 2});
    let found = errors(source, &body);
    let places: Vec<_> = found
        .iter()
        .map(|e| (e["type"].clone(), e["loc"].clone()))
        .collect();
    assert_eq!(
        places,
        [
            (json!("validation_error"), json!(["body", "a/b~"])),
            (json!("missing"), json!(["body", "name"])),
            (json!("missing"), json!(["body", "profile", "email"])),
            (json!("int_parsing"), json!(["body", "tags", "1"])),
            (json!("int_parsing"), json!(["body", "tags", "2"])),
            (json!("validation_error"), json!(["body", "z"])),
        ]
    );
    assert_eq!(
        found[5],
        json!({
            "type": "validation_error",
            "loc": ["body", "z"],
            "msg": "Additional properties are not allowed",
            "input": body,
            "ctx": {"additional_properties": false, "unexpected_field": "z"},
        })
    );
    let missing = json!({"type": "missing", "loc": ["body", "profile", "email"], "msg": "Field required", "input": {"x": 1}});
    assert_eq!(found[2], missing);
}

#[test]
fn the_old_dependencies_keyword_still_counts() {
    let source = json!({"type": "object", "dependencies": {"card": ["address"]}});
    assert!(
        schema(source.clone())
            .validate(&json!({"card": 1, "address": 2}))
            .is_ok()
    );
    let found = errors(source, &json!({"card": 1}));
    assert_eq!(found.len(), 1);
}

#[test]
fn references_within_the_schema_are_followed() {
    let source = json!({
        "$ref": "#/$defs/Node",
        "$defs": {"Node": {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
            "required": ["id"],
        }},
    });
    assert!(
        schema(source.clone())
            .validate(&json!({"id": 1, "next": {"id": 2, "next": null}}))
            .is_ok()
    );
    let found = errors(source, &json!({"id": 1, "next": {"id": "x"}}));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["type"], "int_parsing");
    assert_eq!(found[0]["loc"], json!(["body", "next", "id"]));
}

#[test]
fn a_schema_that_is_none_is_an_error() {
    for source in [
        json!({"type": "int"}),
        json!({"minLength": "3"}),
        json!({"pattern": "("}),
    ] {
        assert!(Schema::compile(source.clone()).is_err(), "{source}");
    }
}

#[test]
fn huge_numbers_are_judged_without_a_panic() {
    let digits = "9".repeat(5_000);
    for (text, rule, valid) in [
        (digits.as_str(), json!({"type": "integer"}), true),
        (
            digits.as_str(),
            json!({"type": "integer", "maximum": 10}),
            false,
        ),
        ("1e400", json!({"type": "integer", "maximum": 10}), false),
        ("1e400", json!({"type": "number", "multipleOf": 3}), false),
        ("-1e400", json!({"type": "number", "minimum": 0}), false),
        (
            "18446744073709551616",
            json!({"type": "integer", "minimum": 0}),
            true,
        ),
    ] {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            schema(rule.clone()).validate(&value).is_ok(),
            valid,
            "{text:.20} {rule}"
        );
    }
}

#[test]
fn a_secret_is_never_shown() {
    for mark in [
        json!({"writeOnly": true}),
        json!({"format": "password"}),
        json!({"secret": true}),
    ] {
        let mut secret = mark.clone();
        secret["type"] = json!("string");
        secret["minLength"] = json!(100);
        let source = json!({
            "type": "object",
            "required": ["missing"],
            "maxProperties": 1,
            "additionalProperties": false,
            "properties": {
                "password": secret,
                "users": {"type": "array", "items": {"$ref": "#/$defs/User"}, "maxItems": 0},
                "maybe": {"anyOf": [secret, {"type": "null"}]},
            },
            "$defs": {"User": {"type": "object", "properties": {"key": secret}, "required": ["id"]}},
        });
        let body = json!({
            "password": "hunter2",
            "users": [{"key": "hunter2"}, {"key": 1}],
            "maybe": "hunter2",
            "other": "shown",
        });
        let shown = Value::from(errors(source, &body)).to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains(
            r#"{"password":null,"users":[{"key":null},{"key":null}],"maybe":null,"other":"shown"}"#
        ));
    }
}

#[test]
fn errors_about_one_large_value_stay_small() {
    let names: Vec<String> = (0..200).map(|n| format!("field{n}")).collect();
    let source = json!({"type": "object", "required": names});
    let body = json!({"junk": "x".repeat(100_000)});
    for error in schema(source).validate(&body).unwrap_err() {
        assert!(error.input.to_string().len() <= MAX_INPUT_BYTES);
    }
    let found = errors(json!({"maxProperties": 0}), &body);
    assert!(found[0]["msg"].as_str().unwrap().len() <= MAX_INPUT_BYTES);
}

#[test]
fn the_number_of_errors_is_bounded() {
    let source = json!({"type": "array", "items": {"type": "string"}});
    let many = schema(source.clone())
        .validate(&json!(vec![0; 5_000]))
        .unwrap_err();
    assert_eq!(many.len(), MAX_ERRORS);
    let beyond = schema(source)
        .validate(&json!(vec![0; MAX_EXPLAINED_VALUES]))
        .unwrap_err();
    assert_eq!(beyond.len(), 1);
}

#[test]
fn many_unexpected_fields_are_bounded_too() {
    let fields = (0..5_000).map(|n| (n.to_string(), json!(1)));
    let body = Value::Object(fields.collect());
    for properties in [json!({}), json!({"a": {"type": "string"}})] {
        let source = json!({"properties": properties, "additionalProperties": false});
        let many = schema(source).validate(&body).unwrap_err();
        assert_eq!(many.len(), MAX_ERRORS);
        assert_eq!(many[7].loc, ["body", "7"]);
    }
}
