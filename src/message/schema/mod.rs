//! JSON Schema (2020-12) as the contract's errors: every violation of a body or a parameter with
//! its type, place, message, input and bound.
//!
//! Parameters and forms arrive as text. They are first turned into the JSON value that the schema
//! asks for, as far as that goes; text that does not convert stays text, and the validator then
//! says what it should have been.

mod coerce;
mod explain;
mod format;
mod secret;
#[cfg(test)]
mod tests;

use std::fmt;

use jsonschema::{Draft, Validator};
use serde_json::Value;

use super::validation::ValidationError;

/// The largest value, in nested values, of which all errors are listed: the validator collects
/// them before it can be stopped, and a large body can make millions. A larger value is checked
/// all the same, and its first error is told.
pub const MAX_EXPLAINED_VALUES: usize = 100_000;

/// A compiled schema.
pub struct Schema {
    validator: Validator,
    source: Value,
    has_secrets: bool,
}

/// A schema that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSON schema: {0}")]
pub struct SchemaError(String);

impl Schema {
    /// Compiles a schema.
    ///
    /// Only references within the schema are followed, nothing is fetched. Keywords that JSON
    /// Schema does not know (`separator`, `optional`) are left to those who use them.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] when it is not a valid schema.
    pub fn compile(source: Value) -> Result<Self, SchemaError> {
        let options = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true);
        let validator = format::register(options)
            .build(&source)
            .map_err(|error| SchemaError(error.to_string()))?;
        Ok(Self {
            has_secrets: secret::marks_any(&source),
            validator,
            source,
        })
    }

    /// Compiles the schema of one parameter.
    ///
    /// A parameter declares beside its schema whether it must be there:
    /// `"required": true`. That is the caller's business and left out here, where the keyword
    /// means the fields of an object.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] when the rest is not a valid schema.
    pub fn of_parameter(mut source: Value) -> Result<Self, SchemaError> {
        if let Value::Object(keywords) = &mut source
            && keywords.get("required").is_some_and(Value::is_boolean)
        {
            keywords.shift_remove("required");
        }
        Self::compile(source)
    }

    /// Returns the schema as it was declared.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Checks a body.
    ///
    /// # Errors
    ///
    /// Every violated rule, at `["body", …]`; never an empty list.
    pub fn validate(&self, body: &Value) -> Result<(), Vec<ValidationError>> {
        let errors = explain::errors(self, body, &["body"]);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Converts the texts of one parameter and checks the result.
    ///
    /// `raw` has the decoded texts in order, at least one; a parameter that is not an array takes
    /// the first. An array parameter with `separator` splits each text at it.
    ///
    /// # Errors
    ///
    /// Every violated rule, at `[source, name, …]`, with the raw text as input; never empty.
    pub fn coerce(
        &self,
        source: &str,
        name: &str,
        raw: &[&str],
    ) -> Result<Value, Vec<ValidationError>> {
        let value = coerce::parameter(&self.source, raw);
        let mut errors = explain::errors(self, &value, &[source, name]);
        if errors.is_empty() {
            return Ok(value);
        }
        if !self.has_secrets {
            let raw = coerce::as_text(&self.source, raw);
            for error in &mut errors {
                explain::show_raw(error, &raw);
            }
        }
        Err(errors)
    }

    /// Collects a form's fields into the object that the schema asks for, converting their texts.
    ///
    /// `name[]` counts as `name` where the schema knows only that. Check the result with
    /// [`Schema::validate`]: a text that does not convert stays text.
    pub fn form_value(
        &self,
        fields: impl Iterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Value {
        coerce::form(&self.source, fields)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.source).finish()
    }
}

/// Follows local references (`#/$defs/…`) from a schema to the one that says something.
fn resolved<'schema>(root: &'schema Value, schema: &'schema Value) -> &'schema Value {
    let mut schema = schema;
    for _ in 0..MAX_REFERENCES {
        let target = schema.get("$ref").and_then(Value::as_str);
        let pointer = target.and_then(|target| target.strip_prefix('#'));
        match pointer.and_then(|pointer| root.pointer(pointer)) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

/// The longest chain of references that is followed; a longer one is a circle.
const MAX_REFERENCES: usize = 32;
