//! Things of the reactor's thread that Python objects refer to by key.
//!
//! A Python object may be dropped on any thread, and long after the request that it belongs to has
//! ended. So it holds a [`Key`], two numbers; what the key stands for stays on the reactor's
//! thread, and a key whose thing is gone finds nothing.

use std::cell::RefCell;
use std::rc::Rc;

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
    next_id: u64,
}

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

    /// Takes a thing out.
    pub(crate) fn remove(&self, key: Key) -> Option<Rc<T>> {
        self.thing(key)?;
        let (_, thing) = self.things.borrow_mut().slab.remove(key.index);
        Some(thing)
    }
}
