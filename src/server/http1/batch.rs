//! Small responses of several connections, written one after the other at the end of a turn.
//!
//! How this works: the bytes of a small response first wait in their connection's [`Wire`], which
//! stands in the server's [`Batch`]. The batch has a task of its own, woken by the first of them,
//! so it runs behind the connections that are ready already and writes for all of them; only the
//! first two of a turn are written at once. A client on this machine, usually a proxy with many
//! connections, then finds a row of answers when it wakes. Written one by one, each would find it
//! asleep again, and waking a process costs the writer more than everything else about a small
//! response. Nothing waits for more than [`MAX_WAIT`] behind other requests, or for the one step
//! of a handler that takes longer.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::super::planted;
use super::wire::Wire;

/// How long a response may wait for others: a fraction of what a network adds by itself, and
/// enough for a dozen small requests.
const MAX_WAIT: Duration = Duration::from_micros(100);

/// How many responses of a turn are written at once. The first wakes the client, and with two it is
/// at work, and back with new requests, while the rest of the turn is still being answered. With
/// none the two would take turns to sleep.
const WRITTEN_AT_ONCE: u32 = 2;

/// The connections of one server that have a response to write.
#[derive(Default)]
pub struct Batch {
    waiting: RefCell<Vec<Weak<RefCell<Wire>>>>,
    /// When the first of them began to wait.
    since: Cell<Option<Instant>>,
    /// How many responses of this turn were written at once.
    written: Cell<u32>,
    task: RefCell<Option<Waker>>,
}

impl Batch {
    /// Adds a connection that has begun to hold bytes back.
    pub(super) fn add(&self, wire: &Rc<RefCell<Wire>>) {
        if self.written.get() == 0
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
        if self.written.get() < WRITTEN_AT_ONCE {
            self.written.set(self.written.get() + 1);
            release(wire);
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.since.set(Some(Instant::now()));
        }
        waiting.push(Rc::downgrade(wire));
    }

    /// Writes now if the first connection has waited for long enough.
    pub(super) fn flush_if_due(&self) {
        if self
            .since
            .get()
            .is_some_and(|since| since.elapsed() > MAX_WAIT)
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

    fn flush(&self) {
        self.since.set(None);
        let mut waiting = self.waiting.take();
        for wire in waiting.drain(..) {
            if let Some(wire) = wire.upgrade() {
                release(&wire);
            }
        }
        // Keeps its room for the next turn.
        self.waiting.replace(waiting);
    }
}

/// One connection's trouble must not keep the answers of the others back.
fn release(wire: &RefCell<Wire>) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        planted::point("batch");
        wire.borrow_mut().release();
    }));
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("waiting", &self.waiting.borrow().len())
            .finish_non_exhaustive()
    }
}
