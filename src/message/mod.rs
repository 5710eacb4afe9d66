//! HTTP as values: what a request and a response are made of, without sockets and without Python.

pub mod body;
pub mod cookie;
pub mod head;
pub mod media_type;
pub mod multipart;
pub mod number;
pub mod percent;
pub mod problem;
pub mod query;
pub mod range;
pub mod schema;
pub mod validation;
