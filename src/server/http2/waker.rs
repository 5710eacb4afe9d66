//! The waker that `h2` has of its connection's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// Wakes the connection's task, except while that task starts requests: `h2` calls for each answer
/// that it is given then, and is polled next anyway.
#[derive(Debug)]
pub(super) struct DriverWaker {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Debug)]
struct Shared {
    task: Waker,
    is_quiet: AtomicBool,
}

impl DriverWaker {
    pub(super) fn new(task: &Waker) -> Self {
        let shared = Arc::new(Shared {
            task: task.clone(),
            is_quiet: AtomicBool::new(false),
        });
        Self {
            waker: Waker::from(Arc::clone(&shared)),
            shared,
        }
    }

    /// Follows the task, should its own waker have changed.
    pub(super) fn follow(&mut self, task: &Waker) {
        if !self.shared.task.will_wake(task) {
            *self = Self::new(task);
        }
    }

    /// As `h2` is given it.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Whether calls are dropped from now on; whoever turns this on polls `h2` afterwards.
    pub(super) fn set_quiet(&self, is_quiet: bool) {
        self.shared.is_quiet.store(is_quiet, Ordering::Relaxed);
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_quiet.load(Ordering::Relaxed) {
            self.task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn calls_are_dropped_only_while_it_is_quiet_and_go_to_the_task_that_it_follows() {
        let (one, other) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let mut waker = DriverWaker::new(&Arc::clone(&one).into());
        let of_h2 = waker.waker().clone();
        waker.set_quiet(true);
        of_h2.wake_by_ref();
        waker.set_quiet(false);
        of_h2.wake_by_ref();
        waker.follow(&Arc::clone(&other).into());
        waker.waker().wake_by_ref();
        let counted = [one, other].map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(counted, [1, 1]);
    }
}
