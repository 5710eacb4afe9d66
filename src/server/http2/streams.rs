//! What the streams of a connection and its driver know of each other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use slab::Slab;

use crate::server::watch::{Activity, Phase};

use super::exchange::StreamState;
use super::wire::IoState;

/// The streams of one connection, counted.
#[derive(Debug)]
pub(super) struct Streams {
    /// Those that our side has not finished with.
    pub(super) open: Cell<usize>,
    /// The streams that wait for the client.
    pub(super) watched: RefCell<Slab<Rc<StreamState>>>,
    /// Requests so far.
    pub(super) requests: Cell<u64>,
    /// Streams that we reset for the client's errors; `h2` counts only its own.
    pub(super) faults: Cell<usize>,
    io: Rc<IoState>,
    activity: Rc<Activity>,
}

impl Streams {
    pub(super) fn new(io: Rc<IoState>, activity: Rc<Activity>) -> Self {
        Self {
            open: Cell::new(0),
            watched: RefCell::new(Slab::new()),
            requests: Cell::new(0),
            faults: Cell::new(0),
            io,
            activity,
        }
    }

    pub(super) fn opened(&self) {
        if self.open.replace(self.open.get() + 1) == 0 {
            self.activity.enter(Phase::Handed);
        }
    }

    pub(super) fn closed(&self, watched: Option<usize>) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.activity.enter(Phase::Idle);
            self.activity.set_parked(false);
        }
        if let Some(key) = watched {
            self.watched.borrow_mut().remove(key);
        }
    }

    pub(super) fn completed(&self) {
        let completed = &self.io.completed;
        completed.set(completed.get().saturating_add(1));
    }

    pub(super) fn watch(&self, state: Rc<StreamState>) -> usize {
        self.watched.borrow_mut().insert(state)
    }
}
