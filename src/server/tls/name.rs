//! Names in certificates: DNS names (RFC 6125) and subjects as text (RFC 4514).

use std::fmt::Write;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

/// The DNS names that a certificate is for, in lower case.
pub(super) fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// How well a certificate's name fits the one that is asked for: 0 exactly, 1 by its wildcard.
/// Both are in lower case.
pub(super) fn rank(name: &str, asked: &str) -> Option<u8> {
    if name == asked {
        return Some(0);
    }
    // RFC 6125 §6.4.3: the wildcard is the whole first label and stands for one label
    let domain = name.strip_prefix("*.")?;
    let (label, rest) = asked.split_once('.')?;
    (!label.is_empty() && rest == domain).then_some(1)
}

/// The subject of a certificate as an RFC 4514 string: last part first.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let parts: Vec<_> = certificate.subject().iter_rdn().collect();
    let parts = parts.iter().rev().map(|part| {
        let attributes: Vec<_> = part.iter().map(attribute).collect();
        attributes.join("+")
    });
    Some(parts.collect::<Vec<_>>().join(","))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(id, _)| *id == oid);
    if let (Some((_, short)), Ok(value)) = (short, attribute.as_str()) {
        return format!("{short}={}", escape(value));
    }
    // RFC 4514 §2.4: otherwise the value is its BER encoding in hexadecimal
    let value = attribute.attr_value();
    let mut text = format!("{oid}=#");
    let tag = u8::try_from(value.header.tag().0).unwrap_or(u8::MAX);
    let head = [&[tag], &*der_length(value.data.len())].concat();
    for byte in head.iter().chain(value.data) {
        write!(text, "{byte:02x}").expect("a string takes all text");
    }
    text
}

/// RFC 4514 §3
const SHORT_NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// RFC 4514 §2.4
fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let outer_space = character == ' ' && (at == 0 || at == last);
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\');
        if special || outer_space || character == '#' && at == 0 {
            text.push('\\');
            text.push(character);
        } else if character.is_ascii_control() {
            write!(text, "\\{:02X}", u32::from(character)).expect("a string takes all text");
        } else {
            text.push(character);
        }
    }
    text
}

fn der_length(length: usize) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![short],
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let bytes = &bytes[zeros..];
            let count = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
            [&[0x80 | count], bytes].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_exactly_or_by_one_label() {
        for (name, asked, rank_expected) in [
            ("a.org", "a.org", Some(0)),
            ("*.a.org", "b.a.org", Some(1)),
            ("*.a.org", "c.b.a.org", None),
            ("*.a.org", "a.org", None),
            ("*.a.org", ".a.org", None),
            ("b*.a.org", "bc.a.org", None),
            ("a.org", "b.org", None),
        ] {
            assert_eq!(rank(name, asked), rank_expected, "{name} {asked}");
        }
    }

    #[test]
    fn values_are_escaped() {
        for (value, escaped) in [
            ("James \"Jim\" Smith, III", "James \\\"Jim\\\" Smith\\, III"),
            (" a ", "\\ a\\ "),
            ("#a#", "\\#a#"),
            ("a\rb\0", "a\\0Db\\00"),
            ("Lučić", "Lučić"),
            ("a+b;c<d>e\\f=g", "a\\+b\\;c\\<d\\>e\\\\f=g"),
            ("", ""),
            (" ", "\\ "),
        ] {
            assert_eq!(escape(value), escaped, "{value}");
        }
    }

    #[test]
    fn lengths_are_der() {
        for (length, der) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x81, 128]),
            (300, &[0x82, 1, 44]),
        ] {
            assert_eq!(der_length(length), der);
        }
    }
}
