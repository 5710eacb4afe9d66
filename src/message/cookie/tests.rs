use http::HeaderValue;

use super::*;

fn head(values: &[&[u8]]) -> HeaderMap {
    let values = values
        .iter()
        .map(|value| HeaderValue::from_bytes(value).unwrap());
    values.map(|value| (COOKIE, value)).collect()
}

#[test]
fn a_request_cookie_is_read_and_never_fails() {
    for (header, expected) in [
        (&b"a=1; b=2"[..], &[("a", "1"), ("b", "2")][..]),
        (b"a=1;b=2;", &[("a", "1"), ("b", "2")]),
        (b" a = 1 ", &[("a", "1")]),
        (b"a=b=c", &[("a", "b=c")]),
        (b"a=", &[("a", "")]),
        (b"=nameless; bare; ; c=3", &[("c", "3")]),
        (b"=__Host-s=evil; __Host-s=good", &[("__Host-s", "good")]),
        (b"a=\"x y\"", &[("a", "x y")]),
        (b"a=\"q\\\"q\\054\\303\\251\\\\\"", &[("a", "q\"q,é\\")]),
        (b"a=\"\\400\\9\\\"", &[("a", "4009\\")]),
        (b"a=\"", &[("a", "\"")]),
        (b"a=\"\"", &[("a", "")]),
        (b"a=%20+", &[("a", "%20+")]),
        ("a=é".as_bytes(), &[("a", "é")]),
        (b"a=\xe9", &[("a", "é")]),
        (b"", &[]),
    ] {
        let headers = head(&[header]);
        let found: Vec<_> = Cookies::of(&headers).pairs().collect();
        let found: Vec<_> = found.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(found, expected, "{}", header.escape_ascii());
    }
}

#[test]
fn the_first_of_several_wins_over_all_headers() {
    let headers = head(&[b"a=1; a=2", b"a=3; b=4"]);
    let cookies = Cookies::of(&headers);
    assert_eq!(cookies.first("a").as_deref(), Some("1"));
    assert_eq!(cookies.first("b").as_deref(), Some("4"));
    assert_eq!(cookies.first("c"), None);
    assert_eq!(cookies.pairs().count(), 4);
}
