//! Frames as bytes, whole and cut anywhere: groups E01 to E06.

use super::*;

const LIMITS: Limits = Limits {
    max_message_bytes: 1000,
    max_fragments: 8,
};
const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x84];

/// A client's frame with `first` as its first byte and a length in its shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode_head(Opcode::Text, payload.len(), &mut bytes);
    bytes[0] = first;
    bytes[1] |= 0x80;
    bytes.extend_from_slice(&MASK);
    let mask = MASK.iter().cycle();
    bytes.extend(payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    bytes.to_vec()
}

/// Decodes bytes that come in pieces of `size`; the items, and how many bytes went in before a
/// violation.
fn decode(bytes: &[u8], size: usize) -> (Vec<Item>, Option<(Violation, usize)>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut items = Vec::new();
    for (number, piece) in bytes.chunks(size).enumerate() {
        let mut input = piece;
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(violation) => return (items, Some((violation, number * size + piece.len()))),
            }
        }
        assert!(input.is_empty(), "all input is taken");
    }
    (items, None)
}

#[track_caller]
fn check(bytes: &[u8], expected: &[Item]) {
    for size in 1..=bytes.len() {
        assert_eq!(
            decode(bytes, size),
            (expected.to_vec(), None),
            "pieces of {size}"
        );
    }
}

#[test]
fn messages_come_out_however_they_are_cut() {
    let long = vec![b'x'; 300];
    let mut bytes = frame(0x81, "héllo".as_bytes());
    bytes.extend(frame(0x82, &long));
    bytes.extend(frame(0x81, b""));
    check(
        &bytes,
        &[
            Item::Text("héllo".into()),
            Item::Binary(long.into()),
            Item::Text(Bytes::new()),
        ],
    );
}

#[test]
fn fragments_are_joined_around_control_frames() {
    let euro = "€".as_bytes();
    let mut bytes = frame(0x01, &euro[..1]);
    bytes.extend(frame(0x89, b"ping"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x00, &euro[1..2]));
    bytes.extend(frame(0x8a, b"pong"));
    bytes.extend(frame(0x80, &euro[2..]));
    check(
        &bytes,
        &[
            Item::Ping("ping".into()),
            Item::Pong,
            Item::Text("€".into()),
        ],
    );
}

#[test]
fn close_frames_tell_code_and_reason() {
    let close = |code, reason: &str| {
        Item::Close(Close {
            code,
            reason: reason.into(),
        })
    };
    check(&frame(0x88, b""), &[close(1005, "")]);
    check(&frame(0x88, b"\x03\xe8"), &[close(1000, "")]);
    check(
        &frame(0x88, "\x0f\u{20}déjà".as_bytes()),
        &[close(0x0f20, "déjà")],
    );
}

/// Each violation is found at the last byte given, however the bytes are cut.
#[track_caller]
fn check_violations(cases: Vec<(&str, Vec<u8>, Violation)>) {
    for (name, bytes, expected) in cases {
        for size in [1, 2, 3, bytes.len()] {
            let (_, found) = decode(&bytes, size);
            assert_eq!(
                found,
                Some((expected, bytes.len())),
                "{name} in pieces of {size}"
            );
        }
    }
}

/// A whole frame and the first `bytes` bytes of another.
fn then(mut one: Vec<u8>, other: &[u8], bytes: usize) -> Vec<u8> {
    one.extend(&other[..bytes]);
    one
}

/// The head of a frame with its length in 64 bits.
fn long(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, 0xff];
    bytes.extend(length.to_be_bytes());
    bytes.extend(MASK);
    bytes
}

#[test]
fn a_broken_frame_is_refused_at_its_first_wrong_byte() {
    check_violations(vec![
        ("unmasked", vec![0x81, 0x05], Violation::Unmasked),
        ("rsv1", vec![0xc1], Violation::ReservedBits),
        ("rsv2", vec![0xa1], Violation::ReservedBits),
        ("rsv3", vec![0x91], Violation::ReservedBits),
        ("opcode 3", vec![0x83], Violation::Opcode(3)),
        ("opcode 11", vec![0x8b], Violation::Opcode(11)),
        ("fragmented ping", vec![0x09], Violation::FragmentedControl),
        (
            "ping of 126 bytes",
            vec![0x89, 0xfe],
            Violation::LongControl,
        ),
        (
            "continuation first",
            frame(0x80, b""),
            Violation::UnexpectedContinuation,
        ),
        (
            "text inside text",
            then(frame(0x01, b"a"), &frame(0x81, b"b"), 6),
            Violation::ExpectedContinuation,
        ),
    ]);
}

#[test]
fn a_wrong_or_excessive_length_is_refused_at_the_head() {
    let too_long = Violation::MessageTooLong(1000);
    let rest = frame(0x80, &[0; 401]);
    check_violations(vec![
        (
            "5 in 16 bits",
            vec![0x82, 0xfe, 0, 5, 0, 0, 0, 0],
            Violation::Length,
        ),
        ("65535 in 64 bits", long(0x82, 65535), Violation::Length),
        ("2^63+5", long(0x82, (1 << 63) + 5), Violation::Length),
        ("1 GiB claimed", long(0x82, 1 << 30), too_long),
        (
            "one byte over",
            frame(0x82, &[0; 1001])[..8].to_vec(),
            too_long,
        ),
        (
            "over together",
            then(frame(0x02, &[0; 600]), &rest, 8),
            too_long,
        ),
    ]);
}

#[test]
fn a_close_frame_without_a_valid_code_is_refused() {
    let mut cases = vec![("one byte", frame(0x88, b"\x03"), Violation::CloseLength)];
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535_u16] {
        cases.push((
            "code",
            frame(0x88, &code.to_be_bytes()),
            Violation::CloseCode(code),
        ));
    }
    cases.push((
        "reason ff",
        frame(0x88, b"\x03\xe8\xff"),
        Violation::NotUtf8,
    ));
    check_violations(cases);
}

#[test]
fn text_that_is_not_utf8_is_refused_at_its_first_wrong_byte() {
    check_violations(vec![
        (
            "ff fe",
            frame(0x81, b"ab\xff\xfe")[..9].to_vec(),
            Violation::NotUtf8,
        ),
        (
            "surrogate",
            frame(0x81, b"\xed\xa0\x80")[..8].to_vec(),
            Violation::NotUtf8,
        ),
        (
            "overlong",
            frame(0x81, b"\xc0\xaf")[..7].to_vec(),
            Violation::NotUtf8,
        ),
        (
            "surrogate across fragments",
            then(frame(0x01, b"\xed"), &frame(0x80, b"\xa0\x80"), 7),
            Violation::NotUtf8,
        ),
        (
            "text cut in a character",
            frame(0x81, b"\xe2\x82"),
            Violation::NotUtf8,
        ),
    ]);
}

#[test]
fn fragments_are_counted_also_empty_ones() {
    for payload in [&b""[..], b"x"] {
        let mut bytes = frame(0x02, payload);
        for _ in 1..8 {
            bytes.extend(frame(0x00, payload));
        }
        assert_eq!(decode(&bytes, 5), (vec![], None));
        bytes.extend(frame(0x00, payload));
        let (_, found) = decode(&bytes, 5);
        assert_eq!(found.unwrap().0, Violation::TooManyFragments(8));
    }
}

#[test]
fn a_claimed_length_reserves_little() {
    let limits = Limits {
        max_message_bytes: 1 << 20,
        ..LIMITS
    };
    let mut decoder = Decoder::new(limits);
    let whole = frame(0x82, &vec![7; 1 << 20]);
    let mut input = &whole[..17];
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!(decoder.missing(), (1 << 20) - 3);
    let Step::Data(_, _, message) = &decoder.step else {
        panic!("no data frame")
    };
    assert!(message.data.capacity() <= 8192);
    let mut input = &whole[17..];
    assert_eq!(
        decoder.decode(&mut input),
        Ok(Some(Item::Binary(vec![7; 1 << 20].into())))
    );
}

#[test]
fn violations_are_answered_with_their_code() {
    let cases = [
        (Violation::Unmasked, 1002),
        (Violation::Length, 1002),
        (Violation::CloseCode(999), 1002),
        (Violation::CloseLength, 1002),
        (Violation::NotUtf8, 1007),
        (Violation::MessageTooLong(1), 1009),
        (Violation::TooManyFragments(1), 1009),
    ];
    for (violation, code) in cases {
        assert_eq!(violation.close().code, code);
    }
}

#[test]
fn lengths_are_encoded_in_their_shortest_form() {
    let cases: [(usize, &[u8]); 5] = [
        (0, &[0x82, 0]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (65535, &[0x82, 126, 0xff, 0xff]),
        (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ];
    for (length, expected) in cases {
        let mut out = BytesMut::new();
        encode_head(Opcode::Binary, length, &mut out);
        assert_eq!(out, expected, "{length}");
    }
}
