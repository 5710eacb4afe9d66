//! The one error of this floor: a template or a registration that cannot work.

use http::Method;

/// A mistake in the declaration of a route, always found at registration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The template does not begin with `/`.
    #[error("path template '{template}' must start with '/'")]
    MissingLeadingSlash {
        /// The template as declared.
        template: String,
    },
    /// A brace without its partner, or one inside another.
    #[error(
        "path template '{template}' has unbalanced braces: expected '{{name}}' or '{{name:converter}}', found a stray '{found}' at byte {position}"
    )]
    UnbalancedBraces {
        /// The template as declared.
        template: String,
        /// The brace that has no partner.
        found: char,
        /// Where it is, in bytes from the start.
        position: usize,
    },
    /// `{}` or `{:int}`.
    #[error(
        "path template '{template}' has a parameter without a name: expected '{{name}}', found '{{{found}}}'"
    )]
    EmptyName {
        /// The template as declared.
        template: String,
        /// What stands between the braces.
        found: String,
    },
    /// A name that no handler parameter can have.
    #[error(
        "path template '{template}' has the parameter name '{name}': expected letters, digits, '_' or '-', not starting with a digit"
    )]
    InvalidName {
        /// The template as declared.
        template: String,
        /// The name as declared.
        name: String,
    },
    /// The same name twice in one template.
    #[error(
        "path template '{template}' names the parameter '{name}' twice: expected each name once"
    )]
    DuplicateName {
        /// The template as declared.
        template: String,
        /// The repeated name.
        name: String,
    },
    /// A converter that does not exist.
    #[error(
        "path template '{template}' gives the parameter '{name}' the unknown converter '{converter}': expected one of str, int, float, bool, uuid, date, datetime, path"
    )]
    UnknownConverter {
        /// The template as declared.
        template: String,
        /// The parameter's name.
        name: String,
        /// The converter as declared.
        converter: String,
    },
    /// More than one parameter between two slashes.
    #[error(
        "path template '{template}' has two parameters in the segment '{segment}': expected at most one between slashes"
    )]
    TwoParamsInSegment {
        /// The template as declared.
        template: String,
        /// The segment that holds them.
        segment: String,
    },
    /// A `path` parameter that is not the whole last segment.
    #[error(
        "path template '{template}' uses the path parameter '{name}' in the middle: expected it to be the whole last segment"
    )]
    PathNotLast {
        /// The template as declared.
        template: String,
        /// The parameter's name.
        name: String,
    },
    /// A route without any method.
    #[error("route '{template}' has no method: expected at least one")]
    NoMethods {
        /// The template as declared.
        template: String,
    },
    /// Two routes would take the same requests.
    #[error(
        "route {method} '{template}' conflicts with '{existing}': expected templates that differ in more than their parameter names"
    )]
    Conflict {
        /// The method both routes have.
        method: Method,
        /// The template that was being added.
        template: String,
        /// The template that was there before.
        existing: String,
    },
    /// Two mounts at one prefix.
    #[error("mount '{prefix}' is declared twice: expected each prefix once")]
    DuplicateMount {
        /// The prefix, without a trailing slash.
        prefix: String,
    },
}
