//! A validator's errors in the words of the contract.

use std::borrow::Cow;

use jsonschema::JsonType;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::{Location, LocationSegment};
use serde_json::{Number, Value};

use super::{MAX_EXPLAINED_VALUES, Schema, format, secret};
use crate::message::validation::{self, MAX_ERRORS, ValidationError};

type Violation<'value> = jsonschema::ValidationError<'value>;

/// Returns every violation of the schema, empty when the value is valid.
pub(super) fn errors(schema: &Schema, value: &Value, place: &[&str]) -> Vec<ValidationError> {
    if schema.validator.is_valid(value) {
        return Vec::new();
    }
    let mut explanation = Explanation {
        errors: Vec::new(),
        place,
        has_secrets: schema.has_secrets,
        // Made once: every error below shows a part of it.
        root: if schema.has_secrets {
            secret::without(&schema.source, &schema.source, value)
        } else {
            Cow::Borrowed(value)
        },
    };
    let mut left = MAX_EXPLAINED_VALUES;
    if is_larger_than(value, &mut left) {
        if let Err(violation) = schema.validator.validate(value) {
            explanation.add(&violation);
        }
    } else {
        for violation in schema.validator.iter_errors(value) {
            if explanation.errors.len() >= MAX_ERRORS {
                break;
            }
            explanation.add(&violation);
        }
    }
    explanation.errors
}

struct Explanation<'call> {
    errors: Vec<ValidationError>,
    place: &'call [&'call str],
    has_secrets: bool,
    /// The whole value, without what is secret.
    root: Cow<'call, Value>,
}

impl Explanation<'_> {
    fn add(&mut self, violation: &Violation<'_>) {
        match violation.kind() {
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => {
                self.add_unexpected(violation, unexpected);
            }
            // The validator's shortcut where a schema declares no property at all.
            Kind::FalseSchema
                if violation
                    .schema_path()
                    .as_str()
                    .ends_with("/additionalProperties") =>
            {
                let object = self.root.pointer(violation.instance_path().as_str());
                let names = object
                    .and_then(Value::as_object)
                    .map(|object| object.keys().cloned());
                let names: Vec<String> = names.into_iter().flatten().take(MAX_ERRORS).collect();
                self.add_unexpected(violation, &names);
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                match only_alternative(context) {
                    Some(inner) => inner.iter().for_each(|violation| self.add(violation)),
                    None => self.errors.push(self.in_the_validators_words(violation)),
                }
            }
            _ => {
                let error = self.one(violation);
                self.errors.push(error);
            }
        }
    }

    fn add_unexpected(&mut self, violation: &Violation<'_>, names: &[String]) {
        for name in names.iter().take(MAX_ERRORS - self.errors.len()) {
            let msg = "Additional properties are not allowed";
            let mut error = self
                .error(violation, "validation_error", msg)
                .with_ctx("additional_properties", false)
                .with_ctx("unexpected_field", name.as_str());
            error.loc.push(name.clone());
            self.errors.push(error);
        }
    }

    fn one(&self, violation: &Violation<'_>) -> ValidationError {
        let error = |kind: &str, msg: String| self.error(violation, kind, &msg);
        match violation.kind() {
            Kind::Required { property } => {
                let mut error = error("missing", "Field required".to_owned());
                error
                    .loc
                    .push(property.as_str().unwrap_or_default().to_owned());
                error
            }
            Kind::Type { kind } => match expected_type(kind).map(type_violation) {
                Some((kind, msg)) => error(kind, msg.to_owned()),
                None => self.in_the_validators_words(violation),
            },
            Kind::MinLength { limit } => {
                let msg = format!(
                    "String should have at least {}",
                    counted(*limit, "character")
                );
                error("string_too_short", msg).with_ctx("min_length", *limit)
            }
            Kind::MaxLength { limit } => {
                let msg = format!(
                    "String should have at most {}",
                    counted(*limit, "character")
                );
                error("string_too_long", msg).with_ctx("max_length", *limit)
            }
            Kind::MinItems { limit } => {
                let items = counted(*limit, "item");
                let msg = format!("List should have at least {items} after validation");
                error("too_short", msg).with_ctx("min_length", *limit)
            }
            Kind::MaxItems { limit } => {
                let items = counted(*limit, "item");
                let msg = format!("List should have at most {items} after validation");
                error("too_long", msg).with_ctx("max_length", *limit)
            }
            Kind::Minimum { limit } => {
                let msg = format!("Input should be greater than or equal to {limit}");
                error("greater_than_equal", msg).with_ctx("ge", limit.clone())
            }
            Kind::ExclusiveMinimum { limit } => {
                let msg = format!("Input should be greater than {limit}");
                error("greater_than", msg).with_ctx("gt", limit.clone())
            }
            Kind::Maximum { limit } => {
                let msg = format!("Input should be less than or equal to {limit}");
                error("less_than_equal", msg).with_ctx("le", limit.clone())
            }
            Kind::ExclusiveMaximum { limit } => {
                let msg = format!("Input should be less than {limit}");
                error("less_than", msg).with_ctx("lt", limit.clone())
            }
            Kind::MultipleOf { multiple_of } => {
                let step = shortest(*multiple_of);
                let msg = format!("Input should be a multiple of {step}");
                error("multiple_of", msg).with_ctx("multiple_of", step)
            }
            Kind::Enum { options } => {
                let expected = listed(options);
                error("enum", format!("Input should be {expected}")).with_ctx("expected", expected)
            }
            Kind::Constant { expected_value } => {
                let expected = quoted(expected_value);
                error("const", format!("Input should be {expected}")).with_ctx("expected", expected)
            }
            Kind::Pattern { pattern } => self.pattern(violation, pattern),
            Kind::Format { format } if format == "email" => {
                self.pattern(violation, format::EMAIL_PATTERN)
            }
            Kind::Format { format } => {
                let (kind, msg) = format::violation(format);
                error(kind, msg)
            }
            Kind::UniqueItems => error("unique_items", "List items should be unique".to_owned()),
            _ => self.in_the_validators_words(violation),
        }
    }

    fn pattern(&self, violation: &Violation<'_>, pattern: &str) -> ValidationError {
        let msg = format!("String should match pattern '{pattern}'");
        let error = self.error(violation, "string_pattern_mismatch", &msg);
        error.with_ctx("pattern", pattern)
    }

    /// The validator's own text shows the value, so it is masked where something is secret.
    fn in_the_validators_words(&self, violation: &Violation<'_>) -> ValidationError {
        let msg = if self.has_secrets {
            validation::shown_text(&violation.masked())
        } else {
            validation::shown_text(violation)
        };
        self.error(violation, "validation_error", &msg)
    }

    fn error(&self, violation: &Violation<'_>, kind: &str, msg: &str) -> ValidationError {
        let path = violation.instance_path();
        let input = self.root.pointer(path.as_str());
        let input = input.map_or(Value::Null, validation::shown);
        ValidationError::new(kind, self.loc(path), msg, input)
    }

    fn loc(&self, path: &Location) -> Vec<String> {
        let place = self.place.iter().map(|part| (*part).to_owned());
        let path = path.segments().map(|segment| match segment {
            LocationSegment::Property(name) => name.into_owned(),
            LocationSegment::Index(index) => index.to_string(),
        });
        place.chain(path).collect()
    }
}

/// Counts down over a value and all values within it; true when there are more than `left`.
fn is_larger_than(value: &Value, left: &mut usize) -> bool {
    let Some(fewer) = left.checked_sub(1) else {
        return true;
    };
    *left = fewer;
    match value {
        Value::Array(items) => items.iter().any(|item| is_larger_than(item, left)),
        Value::Object(fields) => fields.values().any(|field| is_larger_than(field, left)),
        _ => false,
    }
}

/// Of `anyOf: [T, null]`, the errors of `T`: that is how an optional value is declared.
fn only_alternative<'call>(
    context: &'call [Vec<Violation<'static>>],
) -> Option<&'call [Violation<'static>]> {
    let asks_for_null = |errors: &Vec<Violation<'_>>| {
        matches!(errors.as_slice(), [only] if matches!(
            only.kind(),
            Kind::Type { kind: TypeKind::Single(JsonType::Null) }
        ))
    };
    let mut others = context.iter().filter(|errors| !asks_for_null(errors));
    match (others.next(), others.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// Returns the one type that is asked for besides null; `None` when there are several.
fn expected_type(kind: &TypeKind) -> Option<JsonType> {
    match kind {
        TypeKind::Single(expected) => Some(*expected),
        TypeKind::Multiple(set) => {
            let mut types = set.iter().filter(|kind| *kind != JsonType::Null);
            types.next().filter(|_| types.next().is_none())
        }
    }
}

fn type_violation(expected: JsonType) -> (&'static str, &'static str) {
    match expected {
        JsonType::Integer => (
            "int_parsing",
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        JsonType::Number => (
            "float_parsing",
            "Input should be a valid number, unable to parse string as a number",
        ),
        JsonType::Boolean => (
            "bool_parsing",
            "Input should be a valid boolean, unable to interpret input",
        ),
        JsonType::String => ("string_type", "Input should be a valid string"),
        JsonType::Array => ("list_type", "Input should be a valid list"),
        JsonType::Object => ("dict_type", "Input should be a valid dictionary"),
        JsonType::Null => ("none_required", "Input should be None"),
    }
}

/// Returns `'a', 'b' or 'c'`.
fn listed(options: &Value) -> String {
    let options = options.as_array().map_or(&[][..], Vec::as_slice);
    let shown: Vec<String> = options.iter().map(quoted).collect();
    match shown.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Returns `5` for 5.0 and `0.5` for 0.5, as the schema's author wrote it.
fn shortest(value: f64) -> Number {
    let text = value.to_string();
    text.parse().unwrap_or_else(|_| Number::from(0))
}
