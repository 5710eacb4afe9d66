use super::*;

const BOUNDARY: &str = "X-b";

const FORM: &[u8] = b"preamble\r\n\
    --X-b\r\n\
    Content-Disposition: form-data; name=\"a\"\r\n\
    \r\n\
    one\r\n--X-\r\n\r\r\n--X\r\n\
    --X-b \t\r\n\
    content-disposition: form-data; name=\"f\"; filename=\"f.txt\"\r\n\
    Content-Type: text/plain\r\n\
    \r\n\
    \r\n\
    --X-b\r\n\
    Content-Disposition: form-data; name=b\r\n\
    \r\n\
    \0\xff--X-b\r\n\
    --X-b--\r\nepilogue --X-b\r\n";

/// Joins the content of each part: its name, file name, media type and bytes.
type Parts = Vec<(String, Option<String>, Option<String>, Vec<u8>)>;

fn parse(chunks: &[&[u8]], limits: Limits) -> Result<Parts, MultipartError> {
    let mut parser = MultipartParser::new(BOUNDARY, limits)?;
    let mut parts = Parts::new();
    let mut open = false;
    for chunk in chunks {
        parser.push(Bytes::copy_from_slice(chunk));
        while let Some(event) = parser.next_event()? {
            match event {
                Event::PartHead(head) => {
                    assert!(!open, "a part begins within another");
                    open = true;
                    let content_type = head.content_type().map(str::to_owned);
                    let filename = head.filename.map(|name| name.basename);
                    parts.push((head.name, filename, content_type, Vec::new()));
                }
                Event::Data(data) => {
                    assert!(open && !data.is_empty());
                    parts.last_mut().unwrap().3.extend_from_slice(&data);
                }
                Event::PartEnd => assert!(std::mem::take(&mut open), "nothing to end"),
                Event::End => assert!(!open, "the form ends within a part"),
            }
        }
    }
    parser.finish()?;
    Ok(parts)
}

fn expected() -> Parts {
    let text = |text: &str| Some(text.to_owned());
    vec![
        (
            "a".to_owned(),
            None,
            None,
            b"one\r\n--X-\r\n\r\r\n--X".to_vec(),
        ),
        (
            "f".to_owned(),
            text("f.txt"),
            text("text/plain"),
            b"".to_vec(),
        ),
        ("b".to_owned(), None, None, b"\0\xff--X-b".to_vec()),
    ]
}

/// A form of one part with this head.
fn with_head(head: &str) -> Vec<u8> {
    format!("--X-b\r\n{head}\r\n\r\nv\r\n--X-b--").into_bytes()
}

fn error_of(body: &[u8]) -> MultipartError {
    parse(&[body], Limits::default()).unwrap_err()
}

#[test]
fn a_form_split_anywhere_gives_the_same_parts() {
    for first in 0..FORM.len() {
        // The second split at most a delimiter's length behind the first.
        for second in first..FORM.len().min(first + 9) {
            let chunks = [&FORM[..first], &FORM[first..second], &FORM[second..]];
            let parts = parse(&chunks, Limits::default());
            assert_eq!(parts, Ok(expected()), "split at {first} and {second}");
        }
    }
}

#[test]
fn a_form_that_comes_byte_by_byte_gives_the_same_parts() {
    let chunks: Vec<&[u8]> = FORM.chunks(1).collect();
    assert_eq!(parse(&chunks, Limits::default()), Ok(expected()));
}

#[test]
fn a_form_cut_anywhere_before_its_end_is_incomplete() {
    let end = FORM.len() - b"\r\nepilogue --X-b\r\n".len();
    for cut in 0..end {
        let error = parse(&[&FORM[..cut]], Limits::default()).unwrap_err();
        assert_eq!(error, MultipartError::Incomplete, "cut at {cut}");
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
    }
    assert!(parse(&[&FORM[..end]], Limits::default()).is_ok());
}

#[test]
fn content_is_identical_at_every_size_and_chunking() {
    for size in [0, 1, 255, 256, 65_536, 300_000] {
        let content: Vec<u8> = (0..size)
            .map(|n: u32| n.to_le_bytes()[n as usize % 3])
            .collect();
        let mut body =
            b"--X-b\r\ncontent-disposition: form-data; name=f; filename=f\r\n\r\n".to_vec();
        body.extend_from_slice(&content);
        body.extend_from_slice(b"\r\n--X-b--");
        for chunk in [7, 1_000, 65_536, body.len()] {
            let chunks: Vec<&[u8]> = body.chunks(chunk).collect();
            let parts = parse(&chunks, Limits::default()).unwrap();
            assert!(parts[0].3 == content, "{size} bytes in chunks of {chunk}");
        }
    }
}

#[test]
fn what_waits_in_the_parser_does_not_grow_with_the_body() {
    let mut parser = MultipartParser::new(BOUNDARY, Limits::default()).unwrap();
    let head = b"--X-b\r\ncontent-disposition: form-data; name=f; filename=f\r\n\r\n";
    parser.push(Bytes::from_static(head));
    for _ in 0..1_000 {
        // Nearly a delimiter, again and again.
        parser.push(Bytes::from_static(b"\r\n--X-\r\n--X-\r\n--X-\r\n--X-"));
        while parser.next_event().unwrap().is_some() {}
        assert!(parser.buffer.len() < b"\r\n--X-b".len());
    }
}

#[test]
fn a_boundary_has_one_to_seventy_allowed_characters() {
    for (boundary, valid) in [
        ("a", true),
        ("----WebKitFormBoundary7MA4YWxkTrZu0gW", true),
        ("a b'()+_,-./:=?", true),
        (&"x".repeat(70), true),
        (&"x".repeat(71), false),
        (&"x".repeat(5_000), false),
        ("", false),
        ("a ", false),
        ("a\r\nb", false),
        ("é", false),
    ] {
        let parser = MultipartParser::new(boundary, Limits::default());
        assert_eq!(parser.is_ok(), valid, "{boundary:?}");
    }
}

#[test]
fn malformed_framing_is_400() {
    for (body, expected) in [
        (&b""[..], MultipartError::Incomplete),
        (b"no delimiter", MultipartError::Incomplete),
        (
            b"--X-b\ncontent-disposition: form-data; name=a\n\nv\n--X-b--\n",
            MultipartError::Delimiter,
        ),
        (b"--X-bc\r\n", MultipartError::Delimiter),
        (b"--X-b -", MultipartError::Delimiter),
        (
            b"--X-b\r\ncontent-disposition: form-data; name=a\n\r\n",
            MultipartError::HeaderLine,
        ),
        (b"--X-b\r\nno colon\r\n", MultipartError::HeaderLine),
        (b"--X-b\r\n: empty\r\n", MultipartError::HeaderLine),
        (b"--X-b\r\na b: c\r\n", MultipartError::HeaderLine),
        (b"--X-b\r\na: b\0c\r\n", MultipartError::HeaderLine),
        (b"--X-b\r\na: b\rc\r\n", MultipartError::HeaderLine),
        (b"--X-b\r\na: b\r\n folded\r\n", MultipartError::HeaderLine),
    ] {
        let error = error_of(body);
        assert_eq!(error, expected, "{}", body.escape_ascii());
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
    }
}

#[test]
fn a_part_without_exactly_one_name_is_400() {
    let mut invalid_utf8 = with_head("content-disposition: form-data; name=\"?\"");
    let place = invalid_utf8.iter().position(|byte| *byte == b'?').unwrap();
    invalid_utf8[place] = 0xFF;
    for body in [
        invalid_utf8,
        with_head(""),
        with_head("content-type: text/plain"),
        with_head("content-disposition: form-data"),
        with_head("content-disposition: attachment; name=a"),
        with_head("content-disposition: form-data; name=a; name=b"),
        with_head("content-disposition: form-data; name=a; Name=a"),
        with_head("content-disposition: form-data; name=a; filename=x; filename=y"),
        with_head(
            "content-disposition: form-data; name=a\r\ncontent-disposition: form-data; name=a",
        ),
    ] {
        assert_eq!(
            error_of(&body),
            MultipartError::Disposition,
            "{}",
            body.escape_ascii()
        );
    }
}

#[test]
fn every_limit_holds_and_has_its_status() {
    let part = "--X-b\r\ncontent-disposition: form-data; name=a\r\n\r\nv\r\n";
    let field = |bytes: usize| {
        let value = "v".repeat(bytes);
        format!("--X-b\r\ncontent-disposition: form-data; name=a\r\n\r\n{value}\r\n--X-b--")
    };
    let file = field(MAX_FIELD_BYTES + 1).replacen("name=a", "name=a; filename=f", 1);
    let headers = |count: usize| {
        let others = "x: y\r\n".repeat(count - 1);
        format!("--X-b\r\n{others}content-disposition: form-data; name=a\r\n\r\nv\r\n--X-b--")
    };
    let long_header = |bytes: usize| format!("--X-b\r\nx: {}", "y".repeat(bytes));
    for (body, status) in [
        (format!("{}--X-b--", part.repeat(1_000)), None),
        (format!("{}--X-b--", part.repeat(1_001)), Some(413)),
        (field(MAX_FIELD_BYTES), None),
        (field(MAX_FIELD_BYTES + 1), Some(413)),
        (file, None),
        (headers(16), None),
        (headers(17), Some(431)),
        (headers(50_000), Some(431)),
        (long_header(8 * 1024), Some(431)),
        (long_header(1024 * 1024), Some(431)),
        (
            format!("{}\r\n{}", "p".repeat(4 * 1024 - 2), field(1)),
            None,
        ),
        (
            format!("{}\r\n{}", "p".repeat(4 * 1024 + 1), field(1)),
            Some(400),
        ),
        ("p".repeat(100_000), Some(400)),
        (format!("--X-b{}", " ".repeat(1_000)), Some(400)),
    ] {
        for chunk in [997, body.len()] {
            let chunks: Vec<&[u8]> = body.as_bytes().chunks(chunk).collect();
            let found = parse(&chunks, Limits::default()).err();
            let found = found.map(|error| error.status().as_u16());
            assert_eq!(found, status, "{:.60} … of {} bytes", body, body.len());
        }
    }
}

#[test]
fn a_file_name_is_reduced_to_a_harmless_basename() {
    for (disposition, raw, basename) in [
        (r#"filename="a.txt""#, "a.txt", "a.txt"),
        ("filename=a.txt", "a.txt", "a.txt"),
        (r#"filename="""#, "", ""),
        (
            r#"filename="../../etc/passwd""#,
            "../../etc/passwd",
            "passwd",
        ),
        (r#"filename="C:\x\CON.txt""#, r"C:\x\CON.txt", "CON.txt"),
        (r#"filename="..""#, "..", ""),
        (r#"filename="a/..""#, "a/..", ""),
        (r#"filename="a;b\"c.txt""#, "a;b\"c.txt", "a;b\"c.txt"),
        ("filename=\"\u{202E}gpj.exe\"", "\u{202E}gpj.exe", "gpj.exe"),
        ("filename=\"naïve €.txt\"", "naïve €.txt", "naïve €.txt"),
        ("filename*=utf-8''%2e%2e%2fpwn", "../pwn", "pwn"),
        ("filename*=UTF-8'en'%e2%82%ac.txt", "€.txt", "€.txt"),
        ("filename=plain; filename*=utf-8''other", "plain", "plain"),
    ] {
        let mut parser = MultipartParser::new(BOUNDARY, Limits::default()).unwrap();
        let head = format!("content-disposition: form-data; name=f; {disposition}");
        parser.push(with_head(&head).into());
        let Ok(Some(Event::PartHead(head))) = parser.next_event() else {
            panic!("no part head for {disposition}");
        };
        let (raw, basename) = (raw.to_owned(), basename.to_owned());
        assert_eq!(
            head.filename,
            Some(FileName { raw, basename }),
            "{disposition}"
        );
    }
}

#[test]
fn a_file_name_is_cut_to_what_file_systems_take() {
    let name = FileName::new("é".repeat(3_000));
    assert_eq!(name.basename.len(), 254);
    assert_eq!(name.raw.len(), 6_000);
}

#[test]
fn control_characters_never_reach_a_basename() {
    assert_eq!(
        FileName::new("a\0\u{7}\u{85}.txt".to_owned()).basename,
        "a.txt"
    );
}

#[test]
fn an_unreadable_extended_name_is_as_good_as_none() {
    for extended in ["filename*=latin1''a", "filename*=utf-8''%ff", "filename*=a"] {
        let body = with_head(&format!(
            "content-disposition: form-data; name=f; {extended}"
        ));
        assert_eq!(parse(&[&body], Limits::default()).unwrap()[0].1, None);
    }
}
