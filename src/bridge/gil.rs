//! The GIL as the reactor holds it: taken while there is work, given up while the thread parks.
//!
//! How this works: [`Reactor::select`](super::reactor::Reactor) gives the GIL up the way pyo3
//! knows (`Python::detach`), and the runtime's park hooks take and release it with
//! `PyGILState_Ensure` and `PyGILState_Release`. A step into Python then uses `Python::attach`,
//! which is a counter when the GIL is there already. pyo3 never believes that it is attached while
//! the thread is parked, so nothing can touch a reference count without the GIL.

#![expect(unsafe_code, reason = "PyGILState is an unsafe C interface")]

use std::cell::Cell;
use std::time::{Duration, Instant};

use pyo3::ffi;

/// How long the GIL may be held without a park before other Python threads get a turn; the
/// interpreter's own switch interval (`sys.getswitchinterval`).
const TURN: Duration = Duration::from_millis(5);
/// Calls of [`offer`] between two looks at the clock.
const OFFERS_PER_LOOK: u32 = 16;

thread_local! {
    static HELD: Cell<Option<ffi::PyGILState_STATE>> = const { Cell::new(None) };
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
    static OFFERS: Cell<u32> = const { Cell::new(0) };
}

/// Takes the GIL for this thread, unless it holds it.
pub(super) fn hold() {
    if HELD.get().is_none() {
        // SAFETY: the interpreter lives: the thread is inside `Reactor::select`, called by it.
        HELD.set(Some(unsafe { ffi::PyGILState_Ensure() }));
        SINCE.set(None);
    }
}

/// Gives up what [`hold`] took.
pub(super) fn release() {
    if let Some(state) = HELD.take() {
        // SAFETY: `state` is what the matching `PyGILState_Ensure` on this thread returned.
        unsafe { ffi::PyGILState_Release(state) }
    }
}

/// Gives other Python threads a turn when this one has been at work for long. The park hooks do
/// not fire while there is always more to do, so connections call this as they are polled.
pub(super) fn offer() {
    let offers = OFFERS.get().wrapping_add(1);
    OFFERS.set(offers);
    if !offers.is_multiple_of(OFFERS_PER_LOOK) || HELD.get().is_none() {
        return;
    }
    let now = Instant::now();
    match SINCE.get() {
        None => SINCE.set(Some(now)),
        Some(since) if now - since > TURN => {
            release();
            hold();
        }
        Some(_) => {}
    }
}
