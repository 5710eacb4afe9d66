//! The route table: method and raw path to a route, in time proportional to the path's length.
//!
//! A tree of path segments. At each node literal text is tried before affixed parameters
//! (`v{n}`), those before a plain parameter, that before a `path` parameter; when a branch leads
//! nowhere, or to routes of other methods only, the next one is tried. So the answer is always the
//! most specific template that takes the request, whatever else is registered (the radix trees of
//! the usual crates refuse or miss some of these combinations). Parameters come out by position.

use std::cmp::Reverse;
use std::fmt;
use std::ops::Deref;

use http::{HeaderValue, Method};

use super::template::{Segment, wire_form};
use super::{RouteError, Template};

/// Routes with values of type `R`, mounted applications with values of type `M`.
pub struct RouteTable<R, M = R> {
    routes: Vec<Route<R>>,
    root: Node,
    /// Longest prefix first.
    mounts: Vec<Mount<M>>,
}

/// What the table says about a request.
#[derive(Debug)]
pub enum Lookup<'table, 'path, R, M = R> {
    /// A route takes the request.
    Match {
        /// The value that was registered with the route.
        route: &'table R,
        /// The parameters' raw text, in the template's order.
        params: PathParams<'path>,
    },
    /// No route takes the path, a mounted application does.
    Mounted {
        /// The value that was registered with the mount.
        value: &'table M,
        /// How many bytes of the path the prefix takes; what follows is empty or begins with `/`.
        prefix_len: usize,
    },
    /// `OPTIONS` on a path whose routes do not answer it themselves: 204 with this `allow`.
    Options {
        /// The methods that the path has.
        allow: HeaderValue,
    },
    /// Routes take the path, none of them with this method: 405 with this `allow`.
    MethodNotAllowed {
        /// The methods that the path has.
        allow: HeaderValue,
    },
    /// Nothing takes the path.
    NotFound,
}

impl<R, M> RouteTable<R, M> {
    /// Returns an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route for the given methods, all or none of them.
    ///
    /// # Errors
    ///
    /// A [`RouteError`] when the template is wrong, no method is given, or a route of the same
    /// method takes the same paths (also under other parameter names).
    pub fn insert(
        &mut self,
        methods: &[Method],
        template: &str,
        value: R,
    ) -> Result<(), RouteError> {
        let template = Template::parse(template)?;
        if methods.is_empty() {
            return Err(RouteError::NoMethods {
                template: template.as_str().to_owned(),
            });
        }
        let leaf = self.root.leaf_mut(&template);
        if let Some((method, existing)) = leaf.iter().find(|(method, _)| methods.contains(method)) {
            return Err(RouteError::Conflict {
                method: method.clone(),
                template: template.as_str().to_owned(),
                existing: self.routes[*existing].template.as_str().to_owned(),
            });
        }
        for method in methods {
            if leaf.iter().all(|(known, _)| known != method) {
                leaf.push((method.clone(), self.routes.len()));
            }
        }
        self.routes.push(Route { template, value });
        Ok(())
    }

    /// Adds an application that takes every path at or below a prefix, unless a route takes it.
    ///
    /// A trailing slash of the prefix is ignored; `""` and `"/"` take everything. The longest
    /// prefix wins. The prefix is literal text without parameters.
    ///
    /// # Errors
    ///
    /// A [`RouteError`] when the prefix lacks its leading slash or is mounted already.
    pub fn insert_mount(&mut self, prefix: &str, value: M) -> Result<(), RouteError> {
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() && !prefix.starts_with('/') {
            return Err(RouteError::MissingLeadingSlash {
                template: prefix.to_owned(),
            });
        }
        let literal = wire_form(prefix);
        if self.mounts.iter().any(|mount| mount.prefix == literal) {
            return Err(RouteError::DuplicateMount {
                prefix: prefix.to_owned(),
            });
        }
        let longer = |mount: &Mount<M>| mount.prefix.len() >= literal.len();
        let place = self.mounts.partition_point(longer);
        let prefix = literal;
        self.mounts.insert(place, Mount { prefix, value });
        Ok(())
    }

    /// Finds what takes a request.
    ///
    /// `raw_path` is the request target's path as it was received, without the query.
    /// Segments are matched as they are: `..`, empty ones and `;` have no meaning here.
    /// `HEAD` falls back to `GET`. Per segment, literal text beats a parameter with literal text
    /// around it, which beats a plain parameter, which beats a `path` parameter.
    pub fn lookup<'table, 'path>(
        &'table self,
        method: &Method,
        raw_path: &'path str,
    ) -> Lookup<'table, 'path, R, M> {
        let mut params = PathParams::default();
        if let Some(rest) = raw_path.strip_prefix('/') {
            if let Some(index) = self.root.find(method, Some(rest), &mut params) {
                let route = &self.routes[index].value;
                return Lookup::Match { route, params };
            }
            if let Some(allow) = self.allow(rest) {
                return if *method == Method::OPTIONS {
                    Lookup::Options { allow }
                } else {
                    Lookup::MethodNotAllowed { allow }
                };
            }
        }
        match self.mounts.iter().find(|mount| mount.takes(raw_path)) {
            Some(mount) => Lookup::Mounted {
                value: &mount.value,
                prefix_len: mount.prefix.len(),
            },
            None => Lookup::NotFound,
        }
    }

    /// Lists the methods that routes have at this path, `None` when there are none.
    fn allow(&self, rest: &str) -> Option<HeaderValue> {
        let mut allowed = Vec::new();
        self.root.collect_methods(Some(rest), &mut allowed);
        if allowed.is_empty() {
            return None;
        }
        for implied in [&Method::HEAD, &Method::OPTIONS] {
            let applies = *implied == Method::OPTIONS || allowed.contains(&&Method::GET);
            if applies && !allowed.contains(&implied) {
                allowed.push(implied);
            }
        }
        allowed.sort_by_key(|method| {
            let place = METHOD_ORDER.iter().position(|known| known == *method);
            (place.unwrap_or(METHOD_ORDER.len()), method.as_str())
        });
        let names: Vec<&str> = allowed.iter().map(|method| method.as_str()).collect();
        Some(HeaderValue::try_from(names.join(", ")).expect("methods are tokens (RFC 9110 §9.1)"))
    }
}

impl<R, M> Default for RouteTable<R, M> {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            root: Node::default(),
            mounts: Vec::new(),
        }
    }
}

impl<R, M> fmt::Debug for RouteTable<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable")
            .field("routes", &self.routes.len())
            .field("mounts", &self.mounts.len())
            .finish_non_exhaustive()
    }
}

/// The raw text of a match's parameters, by position; no allocation for up to four of them.
#[derive(Clone, Debug, Default)]
pub struct PathParams<'path> {
    inline: [&'path str; INLINE_PARAMS],
    len: usize,
    /// All of them, once there are more than fit inline.
    spilled: Vec<&'path str>,
}

impl<'path> PathParams<'path> {
    fn push(&mut self, value: &'path str) {
        if self.len < INLINE_PARAMS {
            self.inline[self.len] = value;
        } else {
            if self.spilled.is_empty() {
                self.spilled.extend_from_slice(&self.inline);
            }
            self.spilled.push(value);
        }
        self.len += 1;
    }

    /// Takes back what a branch that led nowhere has added.
    fn truncate(&mut self, len: usize) {
        self.len = len;
        if len <= INLINE_PARAMS {
            self.spilled.clear();
        } else {
            self.spilled.truncate(len);
        }
    }
}

impl<'path> Deref for PathParams<'path> {
    type Target = [&'path str];

    fn deref(&self) -> &Self::Target {
        if self.spilled.is_empty() {
            &self.inline[..self.len]
        } else {
            &self.spilled
        }
    }
}

/// How many parameters a match holds without an allocation; few templates have more.
const INLINE_PARAMS: usize = 4;

/// The order in which `allow` lists the methods; others follow by name.
const METHOD_ORDER: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

struct Route<R> {
    template: Template,
    value: R,
}

struct Mount<M> {
    /// In the form that arrives on the wire, without a trailing slash.
    prefix: String,
    value: M,
}

impl<M> Mount<M> {
    fn takes(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.prefix.as_str());
        rest.is_some_and(|rest| rest.starts_with('/') || rest.is_empty() && !path.is_empty())
    }
}

/// The routes that end at one place of the tree: a handful of methods, searched in order.
type Leaf = Vec<(Method, usize)>;

/// The place after some segments of a path.
#[derive(Default)]
struct Node {
    /// Sorted by text.
    literals: Vec<(Box<str>, Node)>,
    /// Longest prefix first, then longest suffix.
    affixed: Vec<(Affixes, Node)>,
    param: Option<Box<Node>>,
    /// Routes whose last segment takes the rest of the path.
    rest: Leaf,
    /// Routes that end here.
    leaf: Leaf,
}

impl Node {
    /// Returns the leaf of a template, with the nodes on the way to it.
    fn leaf_mut(&mut self, template: &Template) -> &mut Leaf {
        let mut node = self;
        for segment in template.segments() {
            node = match segment {
                Segment::Literal(text) => node.literal_mut(text),
                Segment::Affixed { prefix, suffix } => node.affixed_mut(prefix, suffix),
                Segment::Param => node.param.get_or_insert_default(),
                Segment::Rest => return &mut node.rest,
            };
        }
        &mut node.leaf
    }

    fn literal_mut(&mut self, text: &str) -> &mut Node {
        let found = self
            .literals
            .binary_search_by(|(known, _)| (**known).cmp(text));
        let place = found.unwrap_or_else(|place| {
            self.literals.insert(place, (text.into(), Node::default()));
            place
        });
        &mut self.literals[place].1
    }

    fn affixed_mut(&mut self, prefix: &str, suffix: &str) -> &mut Node {
        let affixes = Affixes {
            prefix: prefix.into(),
            suffix: suffix.into(),
        };
        let found = self
            .affixed
            .binary_search_by(|(known, _)| known.order().cmp(&affixes.order()));
        let place = match found {
            Ok(place) => place,
            Err(place) => {
                self.affixed.insert(place, (affixes, Node::default()));
                place
            }
        };
        &mut self.affixed[place].1
    }

    /// Finds the most specific route below this node for a method.
    ///
    /// `rest` is what follows the last slash, `None` when the path has ended.
    fn find<'path>(
        &self,
        method: &Method,
        rest: Option<&'path str>,
        params: &mut PathParams<'path>,
    ) -> Option<usize> {
        let Some(rest) = rest else {
            return of_method(&self.leaf, method);
        };
        let (segment, after) = split_segment(rest);
        if let Some(node) = self.literal(segment)
            && let Some(found) = node.find(method, after, params)
        {
            return Some(found);
        }
        if !segment.is_empty() {
            let before = params.len;
            for (affixes, node) in &self.affixed {
                if let Some(value) = affixes.strip(segment) {
                    params.push(value);
                    if let Some(found) = node.find(method, after, params) {
                        return Some(found);
                    }
                    params.truncate(before);
                }
            }
            if let Some(node) = &self.param {
                params.push(segment);
                if let Some(found) = node.find(method, after, params) {
                    return Some(found);
                }
                params.truncate(before);
            }
        }
        let found = of_method(&self.rest, method)?;
        params.push(rest);
        Some(found)
    }

    /// Adds the methods of every route that takes the path.
    fn collect_methods<'node>(&'node self, rest: Option<&str>, methods: &mut Vec<&'node Method>) {
        let mut add = |leaf: &'node Leaf| {
            for (method, _) in leaf {
                if !methods.contains(&method) {
                    methods.push(method);
                }
            }
        };
        let Some(rest) = rest else {
            return add(&self.leaf);
        };
        add(&self.rest);
        let (segment, after) = split_segment(rest);
        if let Some(node) = self.literal(segment) {
            node.collect_methods(after, methods);
        }
        if segment.is_empty() {
            return;
        }
        for (affixes, node) in &self.affixed {
            if affixes.strip(segment).is_some() {
                node.collect_methods(after, methods);
            }
        }
        if let Some(node) = &self.param {
            node.collect_methods(after, methods);
        }
    }

    fn literal(&self, segment: &str) -> Option<&Node> {
        let find = |text: &str| {
            let place = self
                .literals
                .binary_search_by(|(known, _)| (**known).cmp(text));
            Some(&self.literals[place.ok()?].1)
        };
        find(segment).or_else(|| {
            // A client may escape what needs no escape, or in lower case.
            let has_escape = memchr::memchr(b'%', segment.as_bytes()).is_some();
            has_escape.then(|| find(&wire_form(segment)))?
        })
    }
}

/// The literal text around a parameter.
struct Affixes {
    prefix: Box<str>,
    suffix: Box<str>,
}

impl Affixes {
    fn strip<'path>(&self, segment: &'path str) -> Option<&'path str> {
        let value = segment
            .strip_prefix(&*self.prefix)?
            .strip_suffix(&*self.suffix)?;
        (!value.is_empty()).then_some(value)
    }

    /// Longest prefix first, then longest suffix; the texts make it a total order.
    fn order(&self) -> (Reverse<usize>, Reverse<usize>, &str, &str) {
        let (prefix, suffix) = (&*self.prefix, &*self.suffix);
        (Reverse(prefix.len()), Reverse(suffix.len()), prefix, suffix)
    }
}

fn of_method(leaf: &Leaf, method: &Method) -> Option<usize> {
    let of = |wanted: &Method| leaf.iter().find(|(method, _)| method == wanted);
    let found = of(method);
    // RFC 9110 §9.3.2: HEAD is GET without the content.
    let found = found.or_else(|| (*method == Method::HEAD).then(|| of(&Method::GET))?);
    found.map(|(_, index)| *index)
}

fn split_segment(rest: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'/', rest.as_bytes()) {
        Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
        None => (rest, None),
    }
}

#[cfg(test)]
mod tests;
