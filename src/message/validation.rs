//! One violated rule of a request, in the shape in which a 422 lists it.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

/// The most errors that one answer lists: a body of a million wrong items must not become an
/// answer ten times its size.
pub const MAX_ERRORS: usize = 1_000;

/// The most of one offending value that an answer shows, in bytes of JSON text.
pub const MAX_INPUT_BYTES: usize = 1_024;

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

    #[test]
    fn a_short_input_is_shown_whole() {
        let input = json!({"a": [1, 2.5, "é"]});
        assert_eq!(shown(&input), input);
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
            let length = shown(&input).to_string().len();
            assert!(
                length <= MAX_INPUT_BYTES && length > MAX_INPUT_BYTES - 16,
                "{length}"
            );
        }
    }
}
