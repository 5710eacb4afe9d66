//! Converters: the `int` of `{id:int}`, saying which type a path parameter's text must have.

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_converter_is_found_by_its_name() {
        for name in [
            "str", "int", "float", "bool", "uuid", "date", "datetime", "path",
        ] {
            assert!(Converter::from_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_has_no_converter() {
        for name in ["", "Int", "integer", "int ", "*"] {
            assert_eq!(Converter::from_name(name), None, "{name:?}");
        }
    }
}
