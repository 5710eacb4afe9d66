//! One violated rule of a request, in the shape in which a 422 lists it.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

/// The most errors that one answer lists: a body of a million wrong items must not become an
/// answer ten times its size.
pub const MAX_ERRORS: usize = 1_000;

/// The most of one offending value that an answer shows, in bytes of JSON text.
pub const MAX_INPUT_BYTES: usize = 1_024;

/// The most of all offending values that an answer shows, in bytes of JSON text.
pub const MAX_ANSWER_INPUT_BYTES: usize = 4_096;

/// The most of one client-made name (an unexpected field) that an answer shows, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// A violated rule: `{"type", "loc", "msg", "input", "ctx"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationError {
    /// The kind of violation, such as `int_parsing`.
    pub kind: String,
    /// Where: the source (`path`, `query`, `headers`, `cookie`, `body`), then names and indexes.
    pub loc: Vec<String>,
    /// What was expected, for people.
    pub msg: String,
    /// The offending value: the raw text of a parameter, the JSON of a body; null when absent.
    pub input: Value,
    /// The bound that was violated, such as `{"ge": 18}`.
    pub ctx: Map<String, Value>,
}

impl ValidationError {
    /// Returns an error without context.
    pub fn new(kind: &str, loc: Vec<String>, msg: impl Into<String>, input: Value) -> Self {
        Self {
            kind: kind.to_owned(),
            loc,
            msg: msg.into(),
            input,
            ctx: Map::new(),
        }
    }

    /// Returns the error of an absent parameter or field.
    pub fn missing(loc: Vec<String>, input: Value) -> Self {
        Self::new("missing", loc, "Field required", input)
    }

    /// Adds one entry to the context.
    #[must_use]
    pub fn with_ctx(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.ctx.insert(name.to_owned(), value.into());
        self
    }
}

impl From<ValidationError> for Value {
    /// Returns `{"type", "loc", "msg", "input"}`, with `ctx` when it has entries.
    fn from(error: ValidationError) -> Self {
        let mut object = Map::new();
        object.insert("type".to_owned(), error.kind.into());
        object.insert("loc".to_owned(), error.loc.into());
        object.insert("msg".to_owned(), error.msg.into());
        object.insert("input".to_owned(), error.input);
        if !error.ctx.is_empty() {
            object.insert("ctx".to_owned(), error.ctx.into());
        }
        object.into()
    }
}

/// Cuts a list down to what one answer may show.
pub(super) fn bounded(errors: &[ValidationError]) -> Vec<ValidationError> {
    let mut left = MAX_ANSWER_INPUT_BYTES;
    let errors = errors.iter().take(MAX_ERRORS);
    errors.map(|error| error.bounded(&mut left)).collect()
}

impl ValidationError {
    fn bounded(&self, left: &mut usize) -> Self {
        let (input, used) = cut_value(&self.input, MAX_INPUT_BYTES.min(*left));
        *left -= used;
        Self {
            kind: self.kind.clone(),
            loc: self
                .loc
                .iter()
                .map(|part| cut_text(part, MAX_NAME_BYTES).to_owned())
                .collect(),
            msg: cut_text(&self.msg, MAX_INPUT_BYTES).to_owned(),
            input,
            ctx: self
                .ctx
                .iter()
                .map(|(name, value)| (name.clone(), cut_ctx(value)))
                .collect(),
        }
    }
}

/// Returns what an answer shows of a value: all of it, or the first [`MAX_INPUT_BYTES`].
///
/// A value that is too long becomes the beginning of its JSON text. The work is bounded by the
/// limit, not by the value, so that many errors about one large value stay cheap.
pub fn shown(value: &Value) -> Value {
    cut_value(value, MAX_INPUT_BYTES).0
}

/// Returns the beginning of what a value displays, at most [`MAX_INPUT_BYTES`].
pub(super) fn shown_text(value: &impl fmt::Display) -> String {
    let mut text = LimitedText::new(MAX_INPUT_BYTES);
    // The only error is that the limit was reached, and then the beginning is there.
    let _ = write!(text, "{value}");
    text.text
}

/// Cuts a value to a JSON text of at most `limit` bytes; null when nothing fits. Also returns the
/// length of that text.
fn cut_value(value: &Value, limit: usize) -> (Value, usize) {
    let mut text = LimitedText::new(limit);
    if write!(text, "{value}").is_ok() {
        let used = text.text.len();
        return (value.clone(), used);
    }
    let mut keep = cut_text(value.as_str().unwrap_or(&text.text), limit);
    // Escapes make the JSON text longer than the plain one, at most six times.
    while !keep.is_empty() {
        let cut = Value::from(keep);
        let used = cut.to_string().len();
        if used <= limit {
            return (cut, used);
        }
        keep = cut_text(keep, keep.len().saturating_sub((used - limit).div_ceil(6)));
    }
    (Value::Null, 0)
}

/// Text that refuses to grow beyond its limit, which ends the formatting.
struct LimitedText {
    text: String,
    limit: usize,
}

impl LimitedText {
    fn new(limit: usize) -> Self {
        Self {
            text: String::new(),
            limit,
        }
    }
}

impl fmt::Write for LimitedText {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let left = self.limit - self.text.len();
        self.text.push_str(cut_text(more, left));
        if more.len() > left {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

/// Bounds come from the application's own schema, only texts can carry what a client sent.
fn cut_ctx(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(cut_text(text, MAX_INPUT_BYTES)),
        other => other.clone(),
    }
}

fn cut_text(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with_input(input: Value) -> ValidationError {
        ValidationError::new("string_type", vec!["body".to_owned()], "m", input)
    }

    #[test]
    fn a_short_input_is_shown_whole() {
        let error = with_input(json!({"a": [1, 2.5, "é"]}));
        assert_eq!(bounded(std::slice::from_ref(&error)), [error]);
    }

    #[test]
    fn a_long_input_is_cut_to_its_limit() {
        for input in [
            json!("x".repeat(1_000_000)),
            json!("\u{1}".repeat(1_000_000)),
            json!("€".repeat(10_000)),
            json!({"a": "y".repeat(5_000)}),
            json!(vec![7; 100_000]),
        ] {
            let shown = bounded(&[with_input(input)]);
            let length = shown[0].input.to_string().len();
            assert!(
                length <= MAX_INPUT_BYTES && length > MAX_INPUT_BYTES - 16,
                "{length}"
            );
        }
    }

    #[test]
    fn all_inputs_together_stay_within_the_answers_limit() {
        let errors = vec![with_input(json!("x".repeat(3_000))); 50];
        let shown = bounded(&errors);
        assert_eq!(shown.len(), 50);
        let total: usize = shown.iter().map(|e| e.input.to_string().len()).sum();
        assert!(
            total <= MAX_ANSWER_INPUT_BYTES + 50 * "null".len(),
            "{total}"
        );
        assert_eq!(shown[49].input, Value::Null);
    }

    #[test]
    fn a_name_that_a_client_made_up_is_cut() {
        let name = "n".repeat(100_000);
        let error = ValidationError::new(
            "validation_error",
            vec![name.clone()],
            name.clone(),
            json!(1),
        )
        .with_ctx("unexpected_field", name);
        let shown = Value::from(bounded(&[error])[0].clone()).to_string();
        assert!(shown.len() < 4_096, "{}", shown.len());
    }

    #[test]
    fn an_answer_lists_at_most_a_thousand_errors() {
        assert_eq!(
            bounded(&vec![with_input(json!(1)); 5_000]).len(),
            MAX_ERRORS
        );
    }
}
