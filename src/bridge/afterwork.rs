//! What applications do once a response has been sent: counted, so that a stop can wait for it.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// The work after responses that has not ended, of one reactor.
#[derive(Default)]
pub(super) struct Afterwork {
    running: Cell<usize>,
    /// A stop that waits no longer: the user has asked twice.
    abandoned: Cell<bool>,
    changed: Notify,
}

/// One piece of work; dropping it says that it has ended.
pub(super) struct Piece(Rc<Afterwork>);

impl Afterwork {
    /// Counts a piece of work from now on.
    pub(super) fn begin(self: &Rc<Self>) -> Piece {
        self.running.set(self.running.get() + 1);
        Piece(Rc::clone(self))
    }

    /// Waits until nothing is left, or nobody wants to wait.
    pub(super) async fn ended(&self) {
        while self.running.get() > 0 && !self.abandoned.get() {
            self.changed.notified().await;
        }
    }

    /// Lets nobody wait any more.
    pub(super) fn abandon(&self) {
        self.abandoned.set(true);
        self.changed.notify_waiters();
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.changed.notify_waiters();
    }
}
