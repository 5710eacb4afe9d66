//! Routing: path templates, their converters, and the table that finds a route for a request.
//!
//! Matching works on the **raw** (still percent-encoded) path, so an encoded slash never splits a
//! segment. What a parameter's text means is decided after the match: a value that does not
//! convert is a validation error of that route, not a 404.

mod converter;
mod error;
mod table;
mod template;

pub use converter::Converter;
pub use error::RouteError;
pub use table::{Lookup, PathParams, RouteTable};
pub use template::{Param, Template};
