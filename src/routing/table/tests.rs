use std::fmt::Write as _;

use super::*;

type Table = RouteTable<&'static str>;

fn table(routes: &[(&str, &'static str)]) -> Table {
    let mut table = Table::new();
    for (methods, template) in routes {
        let methods: Vec<Method> = methods.split(',').map(|m| m.parse().unwrap()).collect();
        table.insert(&methods, template, template).unwrap();
    }
    table
}

/// One line that says everything about a lookup.
fn shown(table: &Table, method: &str, path: &str) -> String {
    match table.lookup(&method.parse().unwrap(), path) {
        Lookup::Match { route, params } => format!("{route} {:?}", &*params),
        Lookup::Mounted { value, prefix_len } => format!("mount {value} {}", &path[prefix_len..]),
        Lookup::Options { allow } => format!("options {}", allow.to_str().unwrap()),
        Lookup::MethodNotAllowed { allow } => format!("405 {}", allow.to_str().unwrap()),
        Lookup::NotFound => "404".to_owned(),
    }
}

#[test]
fn the_most_specific_template_takes_the_path() {
    let table = table(&[
        ("GET", "/"),
        ("GET", "/users/me"),
        ("GET", "/users/{id:int}"),
        ("GET", "/users/{id}/posts/{post}"),
        ("GET", "/users/me/{rest:path}"),
        ("GET", "/img/v{n}"),
        ("GET", "/img/{name}.png"),
        ("GET", "/img/{name}"),
        ("GET", "/{rest:path}"),
    ]);
    for (path, expected) in [
        ("/", "/ []"),
        ("/users/me", "/users/me []"),
        ("/users/7", r#"/users/{id:int} ["7"]"#),
        ("/users/abc", r#"/users/{id:int} ["abc"]"#),
        ("/users/7/posts/8", r#"/users/{id}/posts/{post} ["7", "8"]"#),
        ("/users/me/posts/8", r#"/users/me/{rest:path} ["posts/8"]"#),
        ("/users/7/x", r#"/{rest:path} ["users/7/x"]"#),
        ("/users/", r#"/{rest:path} ["users/"]"#),
        ("/img/v2", r#"/img/v{n} ["2"]"#),
        ("/img/x.png", r#"/img/{name}.png ["x"]"#),
        ("/img/x", r#"/img/{name} ["x"]"#),
    ] {
        assert_eq!(shown(&table, "GET", path), expected, "{path}");
    }
}

#[test]
fn an_encoded_slash_never_splits_a_segment() {
    let table = table(&[("GET", "/{id}"), ("GET", "/a/b")]);
    assert_eq!(shown(&table, "GET", "/a%2fb"), r#"/{id} ["a%2fb"]"#);
    assert_eq!(shown(&table, "GET", "/a%2Fb"), r#"/{id} ["a%2Fb"]"#);
}

#[test]
fn literal_text_matches_however_it_is_escaped() {
    let table = table(&[("GET", "/café/{x}"), ("GET", "/admin"), ("GET", "/{x}")]);
    for path in ["/caf%C3%A9/%61", "/caf%c3%a9/%61", "/%63af%c3%A9/%61"] {
        assert_eq!(shown(&table, "GET", path), r#"/café/{x} ["%61"]"#, "{path}");
    }
    assert_eq!(shown(&table, "GET", "/%61dmin"), "/admin []");
    assert_eq!(shown(&table, "GET", "/admin%2F"), r#"/{x} ["admin%2F"]"#);
    assert_eq!(shown(&table, "GET", "/admin%"), r#"/{x} ["admin%"]"#);
}

#[test]
fn no_segment_has_a_meaning_of_its_own() {
    let table = table(&[("GET", "/b"), ("GET", "/a/{x}/b"), ("GET", "/c")]);
    for (path, expected) in [
        ("/a/../b", r#"/a/{x}/b [".."]"#),
        ("/a/%2e%2e/b", r#"/a/{x}/b ["%2e%2e"]"#),
        ("/./b", "404"),
        ("//b", "404"),
        ("/b/", "404"),
        ("/b;v=1", "404"),
    ] {
        assert_eq!(shown(&table, "GET", path), expected, "{path}");
    }
}

#[test]
fn a_path_parameter_takes_slashes_and_may_be_empty() {
    let table = table(&[("GET", "/files/{p:path}")]);
    for (path, expected) in [
        ("/files/a/b/c", r#"/files/{p:path} ["a/b/c"]"#),
        ("/files/a//b/", r#"/files/{p:path} ["a//b/"]"#),
        ("/files/", r#"/files/{p:path} [""]"#),
        ("/files", "404"),
        ("/filesx", "404"),
    ] {
        assert_eq!(shown(&table, "GET", path), expected, "{path}");
    }
}

#[test]
fn a_declared_parent_beats_the_empty_rest() {
    let table = table(&[("GET", "/files/{p:path}"), ("GET", "/files/")]);
    assert_eq!(shown(&table, "GET", "/files/"), "/files/ []");
}

#[test]
fn a_parameter_and_a_path_parameter_stand_side_by_side() {
    let table = table(&[("GET", "/{id}"), ("GET", "/{p:path}")]);
    assert_eq!(shown(&table, "GET", "/a"), r#"/{id} ["a"]"#);
    assert_eq!(shown(&table, "GET", "/a/b"), r#"/{p:path} ["a/b"]"#);
    assert_eq!(shown(&table, "GET", "/"), r#"/{p:path} [""]"#);
}

#[test]
fn a_literal_of_another_method_does_not_hide_a_parameter() {
    let table = table(&[("GET", "/users/me"), ("POST", "/users/{id}")]);
    assert_eq!(shown(&table, "POST", "/users/me"), r#"/users/{id} ["me"]"#);
}

#[test]
fn the_wrong_method_is_405_with_every_method_of_the_path() {
    let table = table(&[
        ("PUT,PURGE", "/a/{x}"),
        ("GET", "/a/b"),
        ("DELETE", "/{p:path}"),
        ("POST", "/c"),
    ]);
    for (method, path, expected) in [
        (
            "PATCH",
            "/a/b",
            "405 GET, HEAD, PUT, DELETE, OPTIONS, PURGE",
        ),
        ("POST", "/a/c", "405 PUT, DELETE, OPTIONS, PURGE"),
        ("GET", "/c", "405 POST, DELETE, OPTIONS"),
        ("HEAD", "/c", "405 POST, DELETE, OPTIONS"),
        ("get", "/a/b", "405 GET, HEAD, PUT, DELETE, OPTIONS, PURGE"),
        ("PURGE", "/a/c", r#"/a/{x} ["c"]"#),
    ] {
        assert_eq!(shown(&table, method, path), expected, "{method} {path}");
    }
}

#[test]
fn options_is_answered_unless_a_route_does() {
    let table = table(&[("GET", "/a"), ("OPTIONS,POST", "/b")]);
    assert_eq!(shown(&table, "OPTIONS", "/a"), "options GET, HEAD, OPTIONS");
    assert_eq!(shown(&table, "OPTIONS", "/b"), "/b []");
    assert_eq!(shown(&table, "OPTIONS", "/c"), "404");
    assert_eq!(shown(&table, "OPTIONS", "*"), "404");
}

#[test]
fn head_falls_back_to_the_more_specific_get() {
    let table = table(&[
        ("GET", "/a/b"),
        ("HEAD", "/a/{x}"),
        ("GET", "/c/{x}"),
        ("HEAD", "/c/{x}"),
    ]);
    assert_eq!(shown(&table, "HEAD", "/a/b"), "/a/b []");
    assert_eq!(shown(&table, "HEAD", "/a/c"), r#"/a/{x} ["c"]"#);
    let mut table = table;
    table.insert(&[Method::HEAD], "/d", "head").unwrap();
    table.insert(&[Method::GET], "/d", "get").unwrap();
    assert_eq!(shown(&table, "HEAD", "/d"), "head []");
    assert_eq!(shown(&table, "GET", "/d"), "get []");
}

#[test]
fn templates_that_take_the_same_requests_conflict() {
    for (first, second) in [
        ("/a", "/a"),
        ("/a/{x}", "/a/{y}"),
        ("/a/{x:int}/b", "/a/{y}/b"),
        ("/a/{x:path}", "/a/{y:path}"),
    ] {
        let mut table = table(&[("GET,POST", first)]);
        let error = table
            .insert(&[Method::PUT, Method::POST], second, "second")
            .unwrap_err();
        let expected = format!(
            "route POST '{second}' conflicts with '{first}': expected templates that differ in more than their parameter names"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_refused_route_leaves_no_trace() {
    let mut table = table(&[("POST", "/a/{x}"), ("POST", "/b/{x:path}")]);
    for template in ["/a/{y}", "/b/{y:path}"] {
        table
            .insert(&[Method::PUT, Method::POST], template, "second")
            .unwrap_err();
    }
    assert_eq!(shown(&table, "PUT", "/a/1"), "405 POST, OPTIONS");
    assert_eq!(shown(&table, "PUT", "/b/"), "405 POST, OPTIONS");
    table.insert(&[Method::PUT], "/a/{z}", "third").unwrap();
    assert_eq!(shown(&table, "PUT", "/a/1"), r#"third ["1"]"#);
}

#[test]
fn other_methods_may_name_the_same_parameter_differently() {
    let table = table(&[("GET", "/a/{x}"), ("DELETE", "/a/{y}")]);
    assert_eq!(shown(&table, "DELETE", "/a/1"), r#"/a/{y} ["1"]"#);
}

#[test]
fn a_route_without_methods_is_an_error() {
    let error = Table::new().insert(&[], "/a", "a").unwrap_err();
    assert_eq!(
        error.to_string(),
        "route '/a' has no method: expected at least one"
    );
}

#[test]
fn a_method_given_twice_counts_once() {
    let table = table(&[("GET,GET", "/a")]);
    assert_eq!(shown(&table, "POST", "/a"), "405 GET, HEAD, OPTIONS");
}

#[test]
fn more_parameters_than_fit_inline_are_all_kept() {
    let table = table(&[("GET", "/{a}/{b}/{c}/{d}/{e}/{f:path}")]);
    assert_eq!(
        shown(&table, "GET", "/1/2/3/4/5/6/7"),
        r#"/{a}/{b}/{c}/{d}/{e}/{f:path} ["1", "2", "3", "4", "5", "6/7"]"#
    );
    assert_eq!(
        shown(&table, "GET", "/1/2/3/4/5/"),
        r#"/{a}/{b}/{c}/{d}/{e}/{f:path} ["1", "2", "3", "4", "5", ""]"#
    );
}

#[test]
fn a_mount_takes_what_no_route_takes_at_a_segment_boundary() {
    let mut table = table(&[("GET", "/old/new"), ("GET", "/other")]);
    table.insert_mount("/old", "old").unwrap();
    table.insert_mount("/old/deep/", "deep").unwrap();
    for (path, expected) in [
        ("/old", "mount old "),
        ("/old/", "mount old /"),
        ("/old/x/y", "mount old /x/y"),
        ("/old/deep", "mount deep "),
        ("/old/deep/z", "mount deep /z"),
        ("/old/deeper", "mount old /deeper"),
        ("/older", "404"),
        ("/old/new", "/old/new []"),
    ] {
        assert_eq!(shown(&table, "GET", path), expected, "{path}");
    }
    assert_eq!(shown(&table, "POST", "/old/new"), "405 GET, HEAD, OPTIONS");
    let error = table.insert_mount("/old/", "again").unwrap_err();
    assert_eq!(
        error.to_string(),
        "mount '/old' is declared twice: expected each prefix once"
    );
    assert!(table.insert_mount("old", "x").is_err());
}

#[test]
fn a_mount_at_the_root_takes_everything_else() {
    for prefix in ["", "/"] {
        let mut table = table(&[("GET", "/a")]);
        table.insert_mount(prefix, "root").unwrap();
        assert_eq!(shown(&table, "GET", "/a"), "/a []");
        assert_eq!(shown(&table, "GET", "/"), "mount root /");
        assert_eq!(shown(&table, "POST", "/b/c"), "mount root /b/c");
    }
}

#[test]
fn every_one_of_two_thousand_routes_is_found() {
    let mut table: RouteTable<usize> = RouteTable::new();
    let template = |n: usize| match n % 4 {
        0 => format!("/static/{n}/list"),
        1 => format!("/item{n}/{{id:int}}"),
        2 => format!("/tenant/{{t}}/thing{n}/{{id}}"),
        _ => format!("/tree{n}/{{rest:path}}"),
    };
    let path = |n: usize| match n % 4 {
        0 => format!("/static/{n}/list"),
        1 => format!("/item{n}/{n}"),
        2 => format!("/tenant/acme/thing{n}/{n}"),
        _ => format!("/tree{n}/a/b/{n}"),
    };
    for n in 0..2_000 {
        table.insert(&[Method::GET], &template(n), n).unwrap();
    }
    for n in 0..2_000 {
        let path = path(n);
        match table.lookup(&Method::GET, &path) {
            Lookup::Match { route, .. } => assert_eq!(*route, n),
            other => panic!("{path}: {other:?}"),
        }
    }
}

/// A small generator (xorshift64*), so that a failing seed can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(value).unwrap() % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn template(&mut self) -> String {
        let mut text = String::new();
        let depth = 1 + self.below(4);
        for n in 0..depth {
            let last = n + 1 == depth;
            text.push('/');
            match self.below(10) {
                0..5 => text.push_str(self.pick(&["a", "b", "ab", "abc", "ba"])),
                5..8 => write!(text, "{{p{n}}}").unwrap(),
                8 => text.push_str(&self.affixed(n)),
                _ if last => write!(text, "{{p{n}:path}}").unwrap(),
                _ => text.push_str(self.pick(&["a", "c"])),
            }
        }
        if self.below(12) == 0 && !text.ends_with(":path}") {
            text.push('/');
        }
        text
    }

    fn affixed(&mut self, n: usize) -> String {
        let affix = self.pick(&["a", "b", "ab"]);
        match self.below(3) {
            0 => format!("{affix}{{p{n}}}"),
            1 => format!("{{p{n}}}{affix}"),
            _ => format!("{affix}{{p{n}}}{}", self.pick(&["a", "b"])),
        }
    }

    fn path(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..=self.below(5) {
            path.push('/');
            path.push_str(self.pick(&["a", "b", "ab", "abc", "ba", "c", "aab", "x", "", "%2F"]));
        }
        path
    }
}

/// The obvious matcher: try every template, segment by segment.
fn naive_params<'p>(template: &Template, path: &'p str) -> Option<Vec<&'p str>> {
    let mut params = Vec::new();
    let mut rest = Some(&path[1..]);
    for segment in template.as_str()[1..].split('/') {
        let text = rest?;
        if segment.ends_with(":path}") {
            params.push(text);
            return Some(params);
        }
        let (head, tail) = match text.split_once('/') {
            Some((head, tail)) => (head, Some(tail)),
            None => (text, None),
        };
        rest = tail;
        if let (Some(open), Some(close)) = (segment.find('{'), segment.find('}')) {
            let inner = head
                .strip_prefix(&segment[..open])?
                .strip_suffix(&segment[close + 1..])?;
            if inner.is_empty() {
                return None;
            }
            params.push(inner);
        } else if segment != head {
            return None;
        }
    }
    rest.is_none().then_some(params)
}

/// Of two templates that take the same path, the one whose ranks are smaller wins.
fn rank(segment: &Segment) -> (usize, Reverse<usize>, Reverse<usize>) {
    let (kind, prefix, suffix) = match segment {
        Segment::Literal(_) => (0, 0, 0),
        Segment::Affixed { prefix, suffix } => (1, prefix.len(), suffix.len()),
        Segment::Param => (2, 0, 0),
        Segment::Rest => (3, 0, 0),
    };
    (kind, Reverse(prefix), Reverse(suffix))
}

/// Q11: the table agrees with the obvious matcher on random templates and paths.
#[test]
fn the_table_agrees_with_a_naive_matcher() {
    let mut matched = 0;
    for seed in 1..=10 {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ seed);
        let mut table: RouteTable<usize> = RouteTable::new();
        let mut kept: Vec<Template> = Vec::new();
        for _ in 0..150 {
            let text = random.template();
            match table.insert(&[Method::GET], &text, kept.len()) {
                Ok(()) => kept.push(Template::parse(&text).unwrap()),
                Err(RouteError::Conflict { .. }) => {}
                Err(other) => panic!("{text}: {other}"),
            }
        }
        for _ in 0..1_000 {
            let path = random.path();
            let fits = kept.iter().enumerate().filter_map(|(n, template)| {
                let params = naive_params(template, &path)?;
                Some((
                    template.segments().iter().map(rank).collect::<Vec<_>>(),
                    n,
                    params,
                ))
            });
            match (table.lookup(&Method::GET, &path), fits.min()) {
                (Lookup::Match { route, params }, Some((_, best, expected))) => {
                    let text = kept[*route].as_str();
                    assert_eq!(*route, best, "{text} {path} seed {seed}");
                    assert_eq!(*params, *expected, "{text} {path} seed {seed}");
                    matched += 1;
                }
                (Lookup::NotFound, None) => {}
                (found, best) => panic!("{path} seed {seed}: {found:?}, naive {best:?}"),
            }
        }
    }
    assert!(
        matched > 3_000,
        "the corpus must match often, not {matched} times"
    );
}
