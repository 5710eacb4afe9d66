//! How long one direction of a stream has been waiting for the client.

use std::cell::RefCell;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// Counts only the time in which our side was ready and the client was not.
#[derive(Debug, Default)]
pub(super) struct Stall(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    since: Option<Instant>,
    waited: Duration,
    bytes: u64,
    waker: Option<Waker>,
    expired: bool,
}

impl Stall {
    /// Our side waits for the client from now on, if it did not already.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut inner = self.0.borrow_mut();
        if inner.since.is_none() {
            inner.since = Some(Instant::now());
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => inner.waker = Some(cx.waker().clone()),
        }
    }

    /// The client let `bytes` more through.
    pub(super) fn progress(&self, bytes: usize) {
        let mut inner = self.0.borrow_mut();
        if let Some(since) = inner.since.take() {
            inner.waited += since.elapsed();
            inner.bytes += bytes as u64;
        }
    }

    /// Whether the client has been given up on.
    pub(super) fn expired(&self) -> bool {
        self.0.borrow().expired
    }

    /// Gives the client up, and wakes who waits for it, when it has been silent for longer than
    /// `idle` or, once `grace` has been waited, slower than `rate` bytes a second (0 is off).
    pub(super) fn check(&self, now: Instant, idle: Duration, rate: u64, grace: Duration) {
        let mut inner = self.0.borrow_mut();
        let Some(since) = inner.since else { return };
        let silent = now.saturating_duration_since(since);
        let waited = inner.waited + silent;
        let too_slow = waited > grace
            && u128::from(inner.bytes) * 1000 < u128::from(rate) * waited.as_millis();
        if too_slow || silent > idle {
            inner.expired = true;
            if let Some(waker) = inner.waker.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    fn waiting(waited: u64, bytes: u64) -> (Stall, Instant) {
        let now = Instant::now();
        let stall = Stall::default();
        stall.wait(&Context::from_waker(Waker::noop()));
        stall.0.borrow_mut().since = Some(now);
        stall.0.borrow_mut().waited = Duration::from_secs(waited);
        stall.0.borrow_mut().bytes = bytes;
        (stall, now)
    }

    #[test]
    fn a_client_is_given_up_on_when_silent_or_slow() {
        // waited before, bytes before, seconds of silence now, rate, expired
        for (waited, bytes, silence, rate, expired) in [
            (0, 0, 4, 240, false),
            (0, 0, 6, 240, true),
            (0, 0, 6, 0, false),
            (0, 0, 31, 0, true),
            (100, 240 * 110, 5, 240, false),
            (100, 240 * 90, 5, 240, true),
        ] {
            let (stall, now) = waiting(waited, bytes);
            let idle = Duration::from_secs(30);
            stall.check(now + Duration::from_secs(silence), idle, rate, GRACE);
            assert_eq!(stall.expired(), expired, "{waited} {bytes} {silence}");
        }
    }

    #[test]
    fn time_in_which_nobody_waits_does_not_count() {
        let (stall, now) = waiting(0, 0);
        stall.progress(1);
        stall.check(now + Duration::from_secs(3600), GRACE, 240, GRACE);
        assert!(!stall.expired());
    }
}
