//! Path templates: `/users/{id:int}/files/{rest:path}` parsed once, at registration.
//!
//! Literal text is kept in the percent-encoded form that a client sends, so `/café` matches.

use std::fmt::Write as _;

use super::{Converter, RouteError};
use crate::message::percent::byte_of;

/// A parsed path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    params: Vec<Param>,
    segments: Vec<Segment>,
}

/// One parameter of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// The name between the braces.
    pub name: String,
    /// What its text must be.
    pub converter: Converter,
}

/// What stands between two slashes; parameter names never take part in matching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Text in the form that arrives on the wire.
    Literal(String),
    /// A parameter with literal text before or after it.
    Affixed { prefix: String, suffix: String },
    /// A parameter that is the whole segment.
    Param,
    /// A `path` parameter: this segment and all that follows.
    Rest,
}

impl Template {
    /// Parses a template such as `/users/{id:int}`.
    ///
    /// # Errors
    ///
    /// A [`RouteError`] for a missing leading slash, unbalanced braces, an empty, invalid or
    /// repeated name, an unknown converter, two parameters in one segment, or a `path` parameter
    /// that is not the whole last segment.
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        let Some(body) = text.strip_prefix('/') else {
            return Err(RouteError::MissingLeadingSlash {
                template: text.to_owned(),
            });
        };
        check_braces(text)?;
        let mut template = Self {
            text: text.to_owned(),
            params: Vec::new(),
            segments: Vec::new(),
        };
        let mut segments = body.split('/').peekable();
        while let Some(segment) = segments.next() {
            let segment = template.parse_segment(segment, segments.peek().is_none())?;
            template.segments.push(segment);
        }
        Ok(template)
    }

    /// Returns the template as it was declared.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the parameters in the order in which they stand in the path.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn parse_segment(&mut self, segment: &str, is_last: bool) -> Result<Segment, RouteError> {
        let Some(open) = segment.find('{') else {
            return Ok(Segment::Literal(wire_form(segment)));
        };
        let close = segment[open..]
            .find('}')
            .map(|offset| open + offset)
            .expect("check_braces has paired every brace within its segment");
        let (before, inside, after) = (
            &segment[..open],
            &segment[open + 1..close],
            &segment[close + 1..],
        );
        if after.contains('{') {
            return Err(RouteError::TwoParamsInSegment {
                template: self.text.clone(),
                segment: segment.to_owned(),
            });
        }
        let param = self.parse_param(inside)?;
        let alone = before.is_empty() && after.is_empty();
        let takes_rest = param.converter == Converter::Path;
        if takes_rest && !(alone && is_last) {
            return Err(RouteError::PathNotLast {
                template: self.text.clone(),
                name: param.name,
            });
        }
        self.params.push(param);
        Ok(match (takes_rest, alone) {
            (true, _) => Segment::Rest,
            (false, true) => Segment::Param,
            (false, false) => Segment::Affixed {
                prefix: wire_form(before),
                suffix: wire_form(after),
            },
        })
    }

    fn parse_param(&self, inside: &str) -> Result<Param, RouteError> {
        let (name, converter) = match inside.split_once(':') {
            Some((name, converter)) => (name, Some(converter)),
            None => (inside, None),
        };
        if name.is_empty() {
            return Err(RouteError::EmptyName {
                template: self.text.clone(),
                found: inside.to_owned(),
            });
        }
        let valid_start = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !valid_start
            || !name
                .chars()
                .all(|c| c.is_alphanumeric() || "_-".contains(c))
        {
            return Err(RouteError::InvalidName {
                template: self.text.clone(),
                name: name.to_owned(),
            });
        }
        if self.params.iter().any(|param| param.name == name) {
            return Err(RouteError::DuplicateName {
                template: self.text.clone(),
                name: name.to_owned(),
            });
        }
        let converter = match converter {
            None => Converter::Str,
            Some(found) => {
                Converter::from_name(found).ok_or_else(|| RouteError::UnknownConverter {
                    template: self.text.clone(),
                    name: name.to_owned(),
                    converter: found.to_owned(),
                })?
            }
        };
        Ok(Param {
            name: name.to_owned(),
            converter,
        })
    }
}

/// Returns text in the form in which clients send it, and equal for equivalent texts: what needs
/// an escape has one, unreserved characters have none, digits are upper case (RFC 3986 §6.2.2).
pub(super) fn wire_form(text: &str) -> String {
    let mut wire = String::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        let mut byte = *byte;
        let mut escaped = !(is_unreserved(byte) || b"!$&'()*+,;=:@%/".contains(&byte));
        if byte == b'%'
            && let Some(decoded) = after.get(..2).and_then(byte_of)
        {
            (byte, rest) = (decoded, &after[2..]);
            escaped = !is_unreserved(byte);
        }
        if escaped {
            write!(wire, "%{byte:02X}").expect("writing to a String cannot fail");
        } else {
            wire.push(char::from(byte));
        }
    }
    wire
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn check_braces(text: &str) -> Result<(), RouteError> {
    let mut open = None;
    for (position, found) in text.char_indices() {
        match (found, open) {
            ('{', None) => open = Some(position),
            ('}', Some(_)) => open = None,
            ('{' | '}', _) => {
                return Err(RouteError::UnbalancedBraces {
                    template: text.to_owned(),
                    found,
                    position,
                });
            }
            // A slash inside braces leaves the opening one without a partner in its segment.
            ('/', Some(position)) => {
                return Err(RouteError::UnbalancedBraces {
                    template: text.to_owned(),
                    found: '{',
                    position,
                });
            }
            _ => {}
        }
    }
    match open {
        None => Ok(()),
        Some(position) => Err(RouteError::UnbalancedBraces {
            template: text.to_owned(),
            found: '{',
            position,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(template: &str) -> Vec<(String, Converter)> {
        let template = Template::parse(template).unwrap();
        let params = template.params().iter();
        params.map(|p| (p.name.clone(), p.converter)).collect()
    }

    #[test]
    fn parameters_keep_their_order_and_converters() {
        assert_eq!(
            names("/a/{x}/{y:int}/v{z:float}.json/{rest:path}"),
            [
                ("x".to_owned(), Converter::Str),
                ("y".to_owned(), Converter::Int),
                ("z".to_owned(), Converter::Float),
                ("rest".to_owned(), Converter::Path),
            ]
        );
    }

    #[test]
    fn literal_text_is_stored_as_it_arrives_on_the_wire() {
        for (text, wire) in [
            ("", ""),
            ("a.b-c~", "a.b-c~"),
            ("café", "caf%C3%A9"),
            ("a b", "a%20b"),
            ("a%20b", "a%20b"),
            ("%c3%a9", "%C3%A9"),
            ("%61%2e%2fb", "a.%2Fb"),
            ("100%", "100%"),
            ("*", "*"),
        ] {
            let template = Template::parse(&format!("/{text}")).unwrap();
            assert_eq!(template.segments, [Segment::Literal(wire.to_owned())]);
        }
    }

    #[test]
    fn a_wrong_template_says_what_was_expected_and_what_came() {
        for (template, message) in [
            ("", "path template '' must start with '/'"),
            ("items", "path template 'items' must start with '/'"),
            (
                "/{a",
                "path template '/{a' has unbalanced braces: expected '{name}' or '{name:converter}', found a stray '{' at byte 1",
            ),
            (
                "/a}",
                "path template '/a}' has unbalanced braces: expected '{name}' or '{name:converter}', found a stray '}' at byte 2",
            ),
            (
                "/{{a}}",
                "path template '/{{a}}' has unbalanced braces: expected '{name}' or '{name:converter}', found a stray '{' at byte 2",
            ),
            (
                "/{a/b}",
                "path template '/{a/b}' has unbalanced braces: expected '{name}' or '{name:converter}', found a stray '{' at byte 1",
            ),
            (
                "/{}",
                "path template '/{}' has a parameter without a name: expected '{name}', found '{}'",
            ),
            (
                "/{:int}",
                "path template '/{:int}' has a parameter without a name: expected '{name}', found '{:int}'",
            ),
            (
                "/{*rest}",
                "path template '/{*rest}' has the parameter name '*rest': expected letters, digits, '_' or '-', not starting with a digit",
            ),
            (
                "/{a}/{a:int}",
                "path template '/{a}/{a:int}' names the parameter 'a' twice: expected each name once",
            ),
            (
                "/{a:integer}",
                "path template '/{a:integer}' gives the parameter 'a' the unknown converter 'integer': expected one of str, int, float, bool, uuid, date, datetime, path",
            ),
            (
                "/{a}-{b}",
                "path template '/{a}-{b}' has two parameters in the segment '{a}-{b}': expected at most one between slashes",
            ),
            (
                "/{a:path}/b",
                "path template '/{a:path}/b' uses the path parameter 'a' in the middle: expected it to be the whole last segment",
            ),
            (
                "/v{a:path}",
                "path template '/v{a:path}' uses the path parameter 'a' in the middle: expected it to be the whole last segment",
            ),
        ] {
            assert_eq!(Template::parse(template).unwrap_err().to_string(), message);
        }
    }
}
