//! JSON Schema (2020-12) as the contract's errors: every violation of a body with its
//! type, place, message, input and bound.

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
