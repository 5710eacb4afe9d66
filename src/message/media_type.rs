//! Media types (RFC 9110 §8.3.1) and lists with weights (§12.4.2), read without allocating.

/// A parsed `content-type`: `type/subtype; name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType<'header> {
    kind: &'header str,
    subtype: &'header str,
    params: &'header str,
}

impl<'header> MediaType<'header> {
    /// Parses a header's value; `None` when it is not a media type.
    ///
    /// Malformed parameters do not spoil the rest, they are skipped.
    pub fn parse(value: &'header str) -> Option<Self> {
        let (essence, params) = value.split_once(';').unwrap_or((value, ""));
        let (kind, subtype) = essence.trim_matches(OWS).split_once('/')?;
        (is_token(kind) && is_token(subtype)).then_some(Self {
            kind,
            subtype,
            params,
        })
    }

    /// Says whether this is `kind/subtype`, whatever the case and the parameters.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }

    /// Says whether this is `application/json` or has the suffix `+json` (RFC 6839 §3.1).
    pub fn is_json(&self) -> bool {
        let suffix = self.subtype.rsplit_once('+').map(|(_, suffix)| suffix);
        self.is("application", "json") || suffix.is_some_and(|s| s.eq_ignore_ascii_case("json"))
    }

    /// Returns the `charset` parameter.
    pub fn charset(&self) -> Option<&'header str> {
        self.param("charset")
    }

    /// Says whether the text is UTF-8: declared so, or nothing declared.
    pub fn is_utf8(&self) -> bool {
        self.charset().is_none_or(|name| {
            name.eq_ignore_ascii_case("utf-8") || name.eq_ignore_ascii_case("utf8")
        })
    }

    /// Returns the first parameter of that name, without its quotes.
    ///
    /// Escapes within a quoted value (`\"`) stay as they are: no value we read may have one.
    pub fn param(&self, name: &str) -> Option<&'header str> {
        params(self.params)
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// Reads `; name=value; name="value"`, skipping what is malformed.
pub(super) fn params(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches(|c| c == ';' || OWS.contains(&c));
            if rest.is_empty() {
                return None;
            }
            let end = rest.find(['=', ';']).unwrap_or(rest.len());
            let name = rest[..end].trim_matches(OWS);
            let Some(value) = rest[end..].strip_prefix('=') else {
                rest = &rest[end..];
                continue;
            };
            let (value, after) = split_value(value.trim_start_matches(OWS));
            rest = after;
            if is_token(name) {
                return Some((name, value));
            }
        }
    })
}

/// Splits a parameter's value, quoted or not, from what follows it.
fn split_value(text: &str) -> (&str, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim_matches(OWS), &text[end..]);
    };
    let mut escaped = false;
    let end = quoted.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    let end = end.unwrap_or(quoted.len());
    let after = quoted.get(end + 1..).unwrap_or("");
    let next = after.find(';').unwrap_or(after.len());
    (&quoted[..end], &after[next..])
}

/// The weight of a list's element, in thousandths: 0 (refused) to 1000.
pub type Weight = u16;

/// Reads a list with weights, as in `accept-encoding: br;q=0.5, gzip, *;q=0`.
///
/// Yields each element's text (with the parameters before `q`) and its weight. Elements that are
/// empty or whose weight is malformed (`q=1.0001`) are left out: what cannot be read is not asked
/// for. The time is proportional to the length.
pub fn weighted(list: &str) -> impl Iterator<Item = (&str, Weight)> {
    list.split(',').filter_map(|element| {
        let element = element.trim_matches(OWS);
        let Some((value, weight)) = split_weight(element) else {
            return (!element.is_empty()).then_some((element, 1000));
        };
        let value = value.trim_end_matches(OWS);
        (!value.is_empty()).then_some((value, weight?))
    })
}

/// Splits off `;q=…`; the inner `None` is a weight that cannot be read.
fn split_weight(element: &str) -> Option<(&str, Option<Weight>)> {
    let (value, last) = element.rsplit_once(';')?;
    let (name, weight) = last.split_once('=')?;
    let is_weight = name.trim_matches(OWS).eq_ignore_ascii_case("q");
    is_weight.then(|| (value, parse_weight(weight.trim_matches(OWS))))
}

/// RFC 9110 §12.4.2: `0` or `1`, then at most three decimals, none of them above zero for `1`.
fn parse_weight(text: &str) -> Option<Weight> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = decimals.bytes().chain(std::iter::repeat(b'0')).take(3);
    let fraction = thousandths.fold(0, |sum, digit| sum * 10 + Weight::from(digit - b'0'));
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// Optional white space, RFC 9110 §5.6.3.
const OWS: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_the_rest() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("application/vnd.api+JSON ;v=1", true),
            ("application/json5", false),
            ("application/jsonp", false),
            ("text/plain; a=application/json", false),
            ("application/x-json+xml", false),
        ] {
            assert_eq!(
                MediaType::parse(value).unwrap().is_json(),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn what_is_not_a_media_type_is_none() {
        for value in [
            "",
            "json",
            "/json",
            "text/",
            "te xt/plain",
            "text/plain/x",
            ";charset=a",
        ] {
            assert_eq!(MediaType::parse(value), None, "{value}");
        }
    }

    #[test]
    fn parameters_are_found_whatever_surrounds_them() {
        for (value, charset, boundary) in [
            ("text/plain", None, None),
            ("text/plain;charset=utf-8", Some("utf-8"), None),
            ("text/plain ; Charset = \"UTF-16\" ", Some("UTF-16"), None),
            ("text/plain; x; =y; charset=a; charset=b", Some("a"), None),
            (
                "multipart/form-data; boundary=\"a;charset=b\"",
                None,
                Some("a;charset=b"),
            ),
            (
                "multipart/form-data; x=\"\\\"\"; boundary=b",
                None,
                Some("b"),
            ),
            ("multipart/form-data; boundary=\"open", None, Some("open")),
            ("multipart/form-data; boundary=", None, Some("")),
            ("multipart/form-data; boundary=\"é\"", None, Some("é")),
        ] {
            let found = MediaType::parse(value).unwrap();
            assert_eq!(
                (found.charset(), found.param("boundary")),
                (charset, boundary),
                "{value}"
            );
        }
    }

    #[test]
    fn only_utf_8_and_silence_are_utf_8() {
        for (value, expected) in [
            ("application/json", true),
            ("application/json;charset=UTF-8", true),
            ("application/json;charset=\"utf8\"", true),
            ("application/json;charset=utf-16", false),
            ("application/json;charset=latin-1", false),
            ("application/json;charset=", false),
        ] {
            assert_eq!(
                MediaType::parse(value).unwrap().is_utf8(),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn weights_are_read_and_malformed_elements_left_out() {
        for (list, expected) in [
            ("", &[][..]),
            ("gzip, br", &[("gzip", 1000), ("br", 1000)]),
            ("gzip;q=0, *;q=0", &[("gzip", 0), ("*", 0)]),
            ("br ; Q = 0.5 ,gzip;q=0.125", &[("br", 500), ("gzip", 125)]),
            ("a;q=1.000,b;q=0.", &[("a", 1000), ("b", 0)]),
            (
                "br;q=1.0001, gzip;q=2, a;q=, b;q=-1, c;q=0.1x, d;q=1.1",
                &[],
            ),
            (" , ;q=1, ,deflate", &[("deflate", 1000)]),
            ("text/html;level=1;q=0.3", &[("text/html;level=1", 300)]),
            ("text/html;level=1", &[("text/html;level=1", 1000)]),
        ] {
            assert_eq!(weighted(list).collect::<Vec<_>>(), expected, "{list}");
        }
    }
}
