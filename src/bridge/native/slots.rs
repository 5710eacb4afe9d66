//! How many requests one worker has in the application at once, and how many wait for their turn.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pipeline::Concurrency;

/// The places of one worker, given in the order of arrival.
pub(super) struct Slots {
    free: Arc<Semaphore>,
    waiting: Cell<u32>,
    max_waiting: u32,
}

/// A place, given back when dropped.
pub(super) type Slot = OwnedSemaphorePermit;

/// As many run and wait as may.
pub(super) struct Overloaded;

impl Slots {
    /// The places that the configuration allows; `None` for any number of them.
    pub(super) fn new(concurrency: Concurrency) -> Option<Self> {
        let places = usize::try_from(concurrency.max_running?).unwrap_or(usize::MAX);
        Some(Self {
            free: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            waiting: Cell::new(0),
            max_waiting: concurrency.max_waiting,
        })
    }

    /// Takes a place, after waiting for one if need be. Dropping the future gives up the wait.
    pub(super) async fn enter(&self) -> Result<Slot, Overloaded> {
        if let Ok(slot) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(slot);
        }
        if self.waiting.get() >= self.max_waiting {
            return Err(Overloaded);
        }
        let _waiting = Waiting::new(&self.waiting);
        let slot = Arc::clone(&self.free).acquire_owned().await;
        slot.map_err(|_closed| Overloaded)
    }
}

/// Counts one that waits, however its wait ends.
struct Waiting<'slots>(&'slots Cell<u32>);

impl<'slots> Waiting<'slots> {
    fn new(count: &'slots Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
