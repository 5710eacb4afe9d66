//! HTTP as values: what a request and a response are made of, without sockets and without Python.

pub mod body;
pub mod head;
