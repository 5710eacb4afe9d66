//! The formats that the validator lacks or reads differently, and how a wrong one is told.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use jsonschema::ValidationOptions;
use regex::Regex;

/// What an email address must look like; shown to clients, so it is also what is checked.
pub(super) const EMAIL_PATTERN: &str = r"^[a-zA-Z0-9_.+-]+@[a-zA-Z0-9-]+\.[a-zA-Z0-9-.]+$";

/// Adds our formats to a validator's options.
pub(super) fn register(options: ValidationOptions<'_>) -> ValidationOptions<'_> {
    options
        .with_format("email", is_email)
        .with_format("byte", |text: &str| STANDARD.decode(text).is_ok())
        .with_format("base64", |text: &str| STANDARD.decode(text).is_ok())
        .with_format("base64url", |text: &str| URL_SAFE.decode(text).is_ok())
}

/// Returns the error type and the message of a value that lacks a format.
pub(super) fn violation(format: &str) -> (&'static str, String) {
    let (kind, noun) = match format {
        "uuid" => ("uuid_parsing", "UUID"),
        "date" => ("date_parsing", "date"),
        "date-time" => ("datetime_parsing", "datetime"),
        "uri" | "url" => ("url_parsing", "URL"),
        "time" => ("time_parsing", "time"),
        "duration" => ("time_delta_parsing", "duration"),
        "ipv4" | "ipv6" => ("ip_parsing", "IP address"),
        other => ("format_error", other),
    };
    (kind, format!("Input should be a valid {noun}"))
}

fn is_email(text: &str) -> bool {
    static PATTERN: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(EMAIL_PATTERN).expect("the pattern is constant and tested"));
    PATTERN.is_match(text)
}
