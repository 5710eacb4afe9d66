//! Things of the reactor's thread that Python objects refer to by key.
//!
//! A Python object may be dropped on any thread, and long after the request that it belongs to has
//! ended. So it holds a [`Key`], two numbers; what the key stands for stays on the reactor's
//! thread, and a key whose thing is gone finds nothing. Neither does a key on another thread, even
//! if that has a registry of its own: no two registries give the same key.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use slab::Slab;

/// Names one thing in a [`Registry`], and never another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    index: usize,
    id: u64,
}

/// The things of one kind.
pub(crate) struct Registry<T> {
    things: RefCell<Things<T>>,
}

struct Things<T> {
    slab: Slab<(u64, Rc<T>)>,
    /// The registry's number above [`NUMBER_SHIFT`]; 0 before the first thing.
    next_id: u64,
}

/// Ids below it are one registry's own: 1.7e13, a year of 500,000 a second.
const NUMBER_SHIFT: u32 = 44;

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

impl<T> Registry<T> {
    pub(crate) const fn new() -> Self {
        let things = Things {
            slab: Slab::new(),
            next_id: 0,
        };
        Self {
            things: RefCell::new(things),
        }
    }

    /// Adds a thing.
    pub(crate) fn add(&self, thing: Rc<T>) -> Key {
        let mut things = self.things.borrow_mut();
        if things.next_id == 0 {
            things.next_id = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed) << NUMBER_SHIFT;
        }
        let id = things.next_id;
        things.next_id += 1;
        let index = things.slab.insert((id, thing));
        Key { index, id }
    }

    /// The thing, if it is still there.
    pub(crate) fn thing(&self, key: Key) -> Option<Rc<T>> {
        let things = self.things.borrow();
        let (id, thing) = things.slab.get(key.index)?;
        (*id == key.id).then(|| Rc::clone(thing))
    }

    /// Whether a key is of this registry, whether or not its thing is still there.
    pub(crate) fn gave(&self, key: Key) -> bool {
        self.things.borrow().next_id >> NUMBER_SHIFT == key.id >> NUMBER_SHIFT
    }

    /// Takes a thing out.
    pub(crate) fn remove(&self, key: Key) -> Option<Rc<T>> {
        self.thing(key)?;
        let (_, thing) = self.things.borrow_mut().slab.remove(key.index);
        Some(thing)
    }
}
