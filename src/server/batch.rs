//! Small writes to several sockets, made one after the other at the end of a turn.
//!
//! How this works: what is to be written waits in its owner (see [`Held`]), and the owner stands
//! in a [`Batch`]. The batch has a task of its own, woken by the first of them, so it runs behind
//! everything that is ready already and writes for all; only the first two of a turn are written
//! at once. A peer on this machine (a proxy, a database) then finds a row of messages when it
//! wakes. Written one by one, each would find it asleep again, and waking a process costs the
//! writer more than everything else about a small message. Nothing waits for longer than
//! [`Held::MAX_WAIT`] behind others, or for the one step of a handler that takes longer.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How many of a turn are written at once. The first wakes the peer, and with two it is at work,
/// and back with its next message, while the rest of the turn is still being dealt with. With none
/// the two processes would take turns to sleep.
const WRITTEN_AT_ONCE: u32 = 2;

/// Something that holds bytes back.
pub trait Held {
    /// How long they may wait for others.
    const MAX_WAIT: Duration;

    /// Writes them, as far as the socket takes them.
    fn release(&self);
}

/// Those that have bytes to write, of one kind, on one thread.
pub struct Batch<T> {
    waiting: RefCell<Vec<T>>,
    /// When the first of them began to wait.
    since: Cell<Option<Instant>>,
    /// How many of this turn were written at once.
    written: Cell<u32>,
    task: RefCell<Option<Waker>>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            waiting: RefCell::default(),
            since: Cell::default(),
            written: Cell::default(),
            task: RefCell::default(),
        }
    }
}

impl<T: Held> Batch<T> {
    /// Adds one that has begun to hold bytes back. `wake` wakes the batch's task.
    pub fn add(&self, held: T, wake: impl FnOnce(&Waker)) {
        let written = self.written.get();
        if written == 0
            && let Some(task) = &*self.task.borrow()
        {
            wake(task);
        }
        if written < WRITTEN_AT_ONCE {
            self.written.set(written + 1);
            release(&held);
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.since.set(Some(Instant::now()));
        }
        waiting.push(held);
    }

    /// Writes now if the first has waited for long enough.
    pub fn flush_if_due(&self) {
        if self
            .since
            .get()
            .is_some_and(|since| since.elapsed() > T::MAX_WAIT)
        {
            self.flush();
        }
    }

    /// Runs the batch for as long as the future is polled; without it nothing would be written.
    pub async fn run(&self) {
        poll_fn(|cx| {
            let mut task = self.task.borrow_mut();
            if task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
            drop(task);
            self.written.set(0);
            self.flush();
            Poll::<()>::Pending
        })
        .await;
    }

    /// Writes now.
    pub fn flush(&self) {
        self.since.set(None);
        let mut waiting = self.waiting.take();
        for held in waiting.drain(..) {
            release(&held);
        }
        // Keeps its room for the next turn, unless a release has added to the new list.
        let mut added = self.waiting.borrow_mut();
        if added.is_empty() {
            *added = waiting;
        }
    }
}

/// One's trouble must not keep the bytes of the others back.
fn release(held: &impl Held) {
    let _ = catch_unwind(AssertUnwindSafe(|| held.release()));
}

impl<T> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("waiting", &self.waiting.borrow().len())
            .finish_non_exhaustive()
    }
}
