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

#[test]
fn a_response_cookie_is_written_with_its_attributes() {
    let base = || SetCookie::new("s", "v");
    for (cookie, expected) in [
        (base(), "s=v; Path=/"),
        (
            SetCookie {
                path: None,
                ..base()
            },
            "s=v",
        ),
        (
            SetCookie {
                domain: Some(".example.com".into()),
                max_age: Some(Duration::from_secs(3600)),
                expires: Some(SystemTime::UNIX_EPOCH),
                secure: true,
                http_only: true,
                partitioned: true,
                same_site: Some(SameSite::None),
                ..base()
            },
            "s=v; Domain=.example.com; Path=/; Max-Age=3600; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; HttpOnly; Partitioned; SameSite=None",
        ),
        (
            SetCookie {
                secure: true,
                ..SetCookie::new("__Host-s", "")
            },
            "__Host-s=; Path=/; Secure",
        ),
        (
            SetCookie::new("s", r#"{"a": 1, "b\": "é"}"#),
            r#"s="{\"a\": 1\054 \"b\\\": \"\303\251\"}"; Path=/"#,
        ),
    ] {
        assert_eq!(cookie.to_header_value().unwrap(), expected);
    }
}

#[test]
fn what_is_written_reads_back_the_same() {
    for value in [
        "",
        "plain",
        "a b",
        "\"",
        "\\",
        "\\054",
        "a,b",
        "é€",
        r#"{"k":[1,2]}"#,
        "a=b",
    ] {
        let header = SetCookie::new("s", value).to_header_value().unwrap();
        let pair = header
            .as_bytes()
            .split(|byte| *byte == b';')
            .next()
            .unwrap();
        let headers = head(&[pair]);
        assert_eq!(Cookies::of(&headers).first("s").as_deref(), Some(value));
    }
}

#[test]
fn text_that_would_break_out_of_the_header_is_an_error() {
    let base = || SetCookie::new("s", "v");
    for (cookie, message) in [
        (SetCookie::new("", "v"), r#"cookie name "" is not a token"#),
        (
            SetCookie::new("a b", "v"),
            r#"cookie name "a b" is not a token"#,
        ),
        (
            SetCookie::new("a=b", "v"),
            r#"cookie name "a=b" is not a token"#,
        ),
        (
            SetCookie::new("é", "v"),
            r#"cookie name "é" is not a token"#,
        ),
        (
            SetCookie::new("s", "a;b"),
            "value of cookie 's' has the character ';'",
        ),
        (
            SetCookie::new("s", "a\rb"),
            "value of cookie 's' has the character '\\r'",
        ),
        (
            SetCookie::new("s", "a\nb"),
            "value of cookie 's' has the character '\\n'",
        ),
        (
            SetCookie::new("s", "a\0b"),
            "value of cookie 's' has the character '\\0'",
        ),
        (
            SetCookie {
                domain: Some("a;b".into()),
                ..base()
            },
            "Domain of cookie 's' has the character ';'",
        ),
        (
            SetCookie {
                path: Some("/\r".into()),
                ..base()
            },
            "Path of cookie 's' has the character '\\r'",
        ),
        (
            SetCookie {
                path: Some("a".into()),
                ..base()
            },
            "path of cookie 's' must start with '/'",
        ),
    ] {
        assert_eq!(cookie.to_header_value().unwrap_err().to_string(), message);
    }
}

#[test]
fn a_cookie_that_browsers_would_refuse_is_an_error() {
    let base = || SetCookie::new("s", "v");
    let day = Duration::from_secs(86_400);
    for (cookie, message) in [
        (
            SetCookie {
                same_site: Some(SameSite::None),
                ..base()
            },
            "cookie 's' needs Secure because of SameSite=None",
        ),
        (
            SetCookie {
                partitioned: true,
                ..base()
            },
            "cookie 's' needs Secure because of Partitioned",
        ),
        (
            SetCookie::new("__Host-s", "v"),
            "cookie '__Host-s' needs Secure because of its prefix __Host-",
        ),
        (
            SetCookie::new("__secure-s", "v"),
            "cookie '__secure-s' needs Secure because of its prefix __Secure-",
        ),
        (
            SetCookie {
                secure: true,
                domain: Some("a.b".into()),
                ..SetCookie::new("__Host-s", "v")
            },
            "cookie '__Host-s' has the prefix __Host-: expected Path=/ and no Domain",
        ),
        (
            SetCookie {
                secure: true,
                path: Some("/x".into()),
                ..SetCookie::new("__Host-s", "v")
            },
            "cookie '__Host-s' has the prefix __Host-: expected Path=/ and no Domain",
        ),
        (
            SetCookie::new("s", "x".repeat(4_096)),
            "cookie 's' has 4097 bytes: expected at most 4096 for name and value",
        ),
        (
            SetCookie {
                expires: Some(SystemTime::UNIX_EPOCH - day),
                ..base()
            },
            "cookie 's' expires outside the years 1970 to 9999",
        ),
        (
            SetCookie {
                expires: Some(SystemTime::UNIX_EPOCH + YEAR_10_000),
                ..base()
            },
            "cookie 's' expires outside the years 1970 to 9999",
        ),
    ] {
        assert_eq!(cookie.to_header_value().unwrap_err().to_string(), message);
    }
}

#[test]
fn same_site_is_read_in_any_case() {
    assert_eq!(SameSite::from_name("LAX"), Some(SameSite::Lax));
    assert_eq!(SameSite::from_name("other"), None);
}
