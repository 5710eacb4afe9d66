//! The `date` field (RFC 9110 §6.6.1), formatted once a second.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

thread_local! {
    static CACHED: RefCell<(u64, HeaderValue)> =
        const { RefCell::new((0, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))) };
}

/// The current date as a field value.
pub(super) fn now() -> HeaderValue {
    let now = SystemTime::now();
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_secs());
    CACHED.with_borrow_mut(|(at, value)| {
        if *at != seconds {
            *at = seconds;
            *value = HeaderValue::try_from(httpdate::fmt_http_date(now))
                .expect("a formatted date is visible ASCII");
        }
        value.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_the_current_second() {
        let parsed = httpdate::parse_http_date(now().to_str().unwrap()).unwrap();
        assert!(parsed.elapsed().unwrap().as_secs() < 60);
    }
}
