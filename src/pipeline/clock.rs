//! The two clocks that policies read; a parameter, so that tests set the time instead of waiting.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where policies get the time from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time since a point that all processes of this machine share and no clock step moves.
    fn monotonic(&self) -> Duration;

    /// The time since the Unix epoch.
    fn unix(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Duration::new(
            u64::try_from(now.tv_sec).unwrap_or(0),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        )
    }

    fn unix(&self) -> Duration {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::*;

    /// A clock that stands still until a test moves it; clones share their hands.
    #[derive(Clone, Debug)]
    pub(crate) struct TestClock(Arc<Hands>);

    #[derive(Debug)]
    struct Hands {
        nanos: AtomicU64,
        /// By how many seconds the wall clock has been stepped.
        step: AtomicI64,
    }

    impl TestClock {
        /// A clock at this many seconds, on both scales.
        pub(crate) fn at(seconds: u64) -> Self {
            Self(Arc::new(Hands {
                nanos: AtomicU64::new(seconds * 1_000_000_000),
                step: AtomicI64::new(0),
            }))
        }

        /// Moves both scales on.
        pub(crate) fn advance(&self, by: Duration) {
            let nanos = u64::try_from(by.as_nanos()).unwrap();
            self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
        }

        /// Steps the wall clock alone, as an administrator may.
        pub(crate) fn step_unix(&self, seconds: i64) {
            self.0.step.fetch_add(seconds, Ordering::Relaxed);
        }
    }

    impl Clock for TestClock {
        fn monotonic(&self) -> Duration {
            Duration::from_nanos(self.0.nanos.load(Ordering::Relaxed))
        }

        fn unix(&self) -> Duration {
            let step = Duration::from_secs(self.0.step.load(Ordering::Relaxed).unsigned_abs());
            if self.0.step.load(Ordering::Relaxed) < 0 {
                self.monotonic().saturating_sub(step)
            } else {
                self.monotonic() + step
            }
        }
    }
}
