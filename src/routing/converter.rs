//! Converters: the `int` of `{id:int}`, saying which type a path parameter's text must have.

use serde_json::{Value, json};

/// The declared type of a path parameter.
///
/// A converter never takes part in matching (only `path` does, by taking slashes too); it says how
/// the matched text is validated afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Converter {
    /// Any text without a slash.
    #[default]
    Str,
    /// A decimal integer.
    Int,
    /// A decimal number.
    Float,
    /// `true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off`.
    Bool,
    /// An RFC 9562 UUID.
    Uuid,
    /// An RFC 3339 full-date.
    Date,
    /// An RFC 3339 date-time.
    DateTime,
    /// The rest of the path, slashes included; may be empty.
    Path,
}

impl Converter {
    /// Returns the converter with that name in a template, `None` for an unknown one.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "str" => Self::Str,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "uuid" => Self::Uuid,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "path" => Self::Path,
            _ => return None,
        })
    }

    /// Returns the name this converter has in a template.
    pub fn name(self) -> &'static str {
        match self {
            Self::Str => "str",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::DateTime => "datetime",
            Self::Path => "path",
        }
    }

    /// Returns the JSON Schema of a parameter with this converter.
    pub fn json_schema(self) -> Value {
        match self {
            Self::Str | Self::Path => json!({"type": "string"}),
            Self::Int => json!({"type": "integer"}),
            Self::Float => json!({"type": "number"}),
            Self::Bool => json!({"type": "boolean"}),
            Self::Uuid => json!({"type": "string", "format": "uuid"}),
            Self::Date => json!({"type": "string", "format": "date"}),
            Self::DateTime => json!({"type": "string", "format": "date-time"}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_converter_is_found_by_its_own_name() {
        for name in [
            "str", "int", "float", "bool", "uuid", "date", "datetime", "path",
        ] {
            assert_eq!(Converter::from_name(name).unwrap().name(), name);
        }
    }

    #[test]
    fn an_unknown_name_has_no_converter() {
        for name in ["", "Int", "integer", "int ", "*"] {
            assert_eq!(Converter::from_name(name), None, "{name:?}");
        }
    }
}
