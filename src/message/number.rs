//! Numbers in JSON texts.

/// Whether a JSON text may hold an integer that is written with a fraction or an exponent, as
/// `2.0` or `2e1`. Text in strings may look so too.
#[must_use]
pub fn may_hold_whole_fraction(json: &[u8]) -> bool {
    let mut previous = b' ';
    for (index, byte) in json.iter().enumerate() {
        let is_whole = match byte {
            b'.' if previous.is_ascii_digit() => {
                let fraction = &json[index + 1..];
                let zeros = fraction.iter().take_while(|digit| **digit == b'0').count();
                zeros > 0 && !fraction.get(zeros).is_some_and(u8::is_ascii_digit)
            }
            b'e' | b'E' => previous.is_ascii_digit(),
            _ => false,
        };
        if is_whole {
            return true;
        }
        previous = *byte;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::may_hold_whole_fraction;

    #[test]
    fn finds_whole_numbers_with_fractions_and_exponents() {
        for text in [
            "2.0",
            "[1, -20.000]",
            "{\"a\": 1.50, \"b\": 0.0}",
            "1e2",
            "25E-1",
            "1.5e1",
        ] {
            assert!(may_hold_whole_fraction(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "2",
            "2.5",
            "[1.05, 10.001]",
            "\"a.0\"",
            "true",
            "{\"e\": \".\"}",
            "1.",
        ] {
            assert!(!may_hold_whole_fraction(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_string_that_looks_like_one_counts() {
        assert!(may_hold_whole_fraction(b"\"version 2.0\""));
    }
}
