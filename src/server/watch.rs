//! The watch over all connections of a server: one coarse clock instead of timers for each.
//!
//! How this works: every connection keeps an [`Activity`], plain cells that say what it is doing
//! and since which tick. Moving on costs a few stores. Once a tick the [`Watch`] looks at all of
//! them, compares with the limits and wakes those that are over: the connection finds the
//! [`Order`] in its activity and acts on it. The same round tells connections whose request is in
//! flight and who read nothing meanwhile to ask the kernel whether their peer is still there,
//! because a read half that nobody drains hides the FIN.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

use super::limits::Limits;
use super::planted;
use super::shutdown::Stop;

/// Time before the minimum rates count, so that slow starts are no offence.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// Connections that hold enough memory together to be worth a walk through the allocator's pages.
const MANY: usize = 64;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has come yet.
    FirstByte,
    /// A request head has begun.
    Head,
    /// A request is being answered, and the application is at work.
    Handling,
    /// A request is being answered, and the application waits for its body.
    Body,
    /// Between two requests.
    Idle,
    /// Not HTTP/1 any more; its protocol has its own timers.
    Handed,
}

/// What the watch tells a connection to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Close; nobody is owed an answer.
    Close,
    /// The head did not arrive in time: 408 and close.
    HeadTooSlow,
    /// The body did not arrive in time: 408 and close, the application hears of it.
    BodyTooSlow,
    /// The peer has gone, or takes nothing: cut.
    Cut,
    /// Idle for a while: give the buffers back.
    Park,
    /// Nobody reads: ask the kernel whether the peer is still there.
    CheckPeer,
}

/// One connection as the watch sees it.
#[derive(Debug)]
pub struct Activity {
    clock: Rc<Clock>,
    phase: Cell<Phase>,
    /// The tick at which the phase began.
    since: Cell<u32>,
    /// Bytes of the body so far, and the tick of the last.
    body_bytes: Cell<u64>,
    body_tick: Cell<u32>,
    /// Ticks that the application waited for the body before this phase.
    body_waited: Cell<u32>,
    /// Whether the socket takes no more, and since when; with the bytes it took meanwhile.
    write_blocked: Cell<bool>,
    write_since: Cell<u32>,
    write_bytes: Cell<u64>,
    write_tick: Cell<u32>,
    order: Cell<Option<Order>>,
    stop: Cell<Stop>,
    parked: Cell<bool>,
    /// Whether a read waits for the socket, so that a hang-up is seen at once.
    reading: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Debug)]
struct Clock {
    tick: Cell<u32>,
}

/// All connections of one server.
#[derive(Debug)]
pub struct Watch {
    clock: Rc<Clock>,
    tick: Duration,
    connections: RefCell<Slab<Rc<Activity>>>,
    /// Connections that have ended, or begun to idle, since [`Watch::run`] told of it.
    resting: Cell<usize>,
    limits: Rc<Limits>,
}

impl Activity {
    /// Enters a phase; time counts from now.
    pub fn enter(&self, phase: Phase) {
        let now = self.clock.tick.get();
        if self.phase.replace(phase) == Phase::Body {
            let waited = now.wrapping_sub(self.since.get());
            self.body_waited.set(self.body_waited.get() + waited);
        }
        self.since.set(now);
        if phase == Phase::Body {
            self.body_tick.set(now);
        }
    }

    /// What the connection is doing.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Begins to count a new request's body.
    pub fn reset_body(&self) {
        self.body_bytes.set(0);
        self.body_waited.set(0);
    }

    /// Notes bytes of a request body.
    pub fn read_body(&self, bytes: usize) {
        self.body_bytes.set(self.body_bytes.get() + bytes as u64);
        self.body_tick.set(self.clock.tick.get());
    }

    /// Notes that the socket takes no more for now.
    pub fn write_blocked(&self) {
        if !self.write_blocked.replace(true) {
            self.write_since.set(self.clock.tick.get());
            self.write_tick.set(self.clock.tick.get());
            self.write_bytes.set(0);
        }
    }

    /// Notes bytes that the socket took.
    pub fn wrote(&self, bytes: usize) {
        if self.write_blocked.get() {
            self.write_bytes.set(self.write_bytes.get() + bytes as u64);
            self.write_tick.set(self.clock.tick.get());
        }
    }

    /// Notes that all output has gone.
    pub fn flushed(&self) {
        self.write_blocked.set(false);
    }

    /// Whether output waits for the socket.
    pub fn is_write_blocked(&self) -> bool {
        self.write_blocked.get()
    }

    /// Sets who is woken by orders and by the stop.
    pub fn set_waker(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        match &*slot {
            Some(old) if old.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }

    /// Runs `work` with the waker of the connection's task, if that has been polled.
    pub fn with_waker<T>(&self, work: impl FnOnce(&Waker) -> T) -> Option<T> {
        self.waker.borrow().as_ref().map(work)
    }

    /// Takes the order, if there is one.
    pub fn take_order(&self) -> Option<Order> {
        self.order.take()
    }

    /// Says whether the connection holds nothing but its socket.
    pub fn set_parked(&self, parked: bool) {
        self.parked.set(parked);
    }

    /// Says whether a read waits for the socket.
    pub fn set_reading(&self, reading: bool) {
        self.reading.set(reading);
    }

    /// How far the server's stop has come.
    pub fn stop(&self) -> Stop {
        self.stop.get()
    }

    /// Wakes the connection.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn give(&self, order: Order) {
        self.order.set(Some(order));
        self.wake();
    }

    /// What the limits say of this connection now.
    fn judge(&self, tick: Duration, limits: &Limits) -> Option<Order> {
        let now = self.clock.tick.get();
        let age = |since: u32| tick * now.wrapping_sub(since);
        let too_slow = |age: Duration, bytes: u64, rate: u64| {
            age > RATE_GRACE && bytes < rate.saturating_mul(age.as_secs())
        };
        if self.write_blocked.get()
            && (age(self.write_tick.get()) > limits.write_stall_timeout
                || too_slow(
                    age(self.write_since.get()),
                    self.write_bytes.get(),
                    limits.min_write_rate,
                ))
        {
            return Some(Order::Cut);
        }
        let age_of_phase = age(self.since.get());
        match self.phase.get() {
            Phase::FirstByte if age_of_phase > limits.protocol_detect_timeout => Some(Order::Close),
            Phase::Head if age_of_phase > limits.header_timeout => Some(Order::HeadTooSlow),
            Phase::Idle if age_of_phase > limits.keep_alive_timeout => Some(Order::Close),
            Phase::Idle if age_of_phase > limits.park_after && !self.parked.get() => {
                Some(Order::Park)
            }
            Phase::Body
                if age(self.body_tick.get()) > limits.body_timeout
                    || too_slow(
                        age_of_phase + tick * self.body_waited.get(),
                        self.body_bytes.get(),
                        limits.min_body_rate,
                    ) =>
            {
                Some(Order::BodyTooSlow)
            }
            Phase::Handling | Phase::Body if !self.reading.get() && age_of_phase > tick => {
                Some(Order::CheckPeer)
            }
            _ => None,
        }
    }
}

impl Watch {
    /// A watch that keeps these limits.
    pub fn new(limits: Rc<Limits>) -> Self {
        let shortest = limits
            .protocol_detect_timeout
            .min(limits.header_timeout)
            .min(limits.body_timeout)
            .min(limits.write_stall_timeout)
            .min(limits.keep_alive_timeout);
        Self {
            clock: Rc::new(Clock { tick: Cell::new(0) }),
            tick: (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(250)),
            connections: RefCell::new(Slab::new()),
            resting: Cell::new(0),
            limits,
        }
    }

    /// Adds a connection; the key is for [`Watch::remove`].
    pub fn add(&self) -> (usize, Rc<Activity>) {
        let activity = Rc::new(Activity {
            clock: Rc::clone(&self.clock),
            phase: Cell::new(Phase::FirstByte),
            since: Cell::new(self.clock.tick.get()),
            body_bytes: Cell::new(0),
            body_tick: Cell::new(0),
            body_waited: Cell::new(0),
            write_blocked: Cell::new(false),
            write_since: Cell::new(0),
            write_bytes: Cell::new(0),
            write_tick: Cell::new(0),
            order: Cell::new(None),
            stop: Cell::new(Stop::Running),
            parked: Cell::new(false),
            reading: Cell::new(false),
            waker: RefCell::new(None),
        });
        let key = self.connections.borrow_mut().insert(Rc::clone(&activity));
        (key, activity)
    }

    /// Forgets a connection.
    pub fn remove(&self, key: usize) {
        self.connections.borrow_mut().remove(key);
        self.resting.set(self.resting.get() + 1);
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }

    /// Tells all connections how far the stop has come.
    pub fn stop(&self, stop: Stop) {
        for (_, activity) in &*self.connections.borrow() {
            activity.stop.set(stop);
            activity.wake();
        }
    }

    /// Closes the connection that has been idle for longest; `false` when none is idle.
    pub fn evict_longest_idle(&self) -> bool {
        let now = self.clock.tick.get();
        let connections = self.connections.borrow();
        let longest = connections
            .iter()
            .map(|(_, activity)| activity)
            .filter(|activity| {
                matches!(activity.phase.get(), Phase::Idle | Phase::FirstByte)
                    && activity.order.get() != Some(Order::Close)
            })
            // Of several that are as old the first one came first.
            .reduce(|oldest, activity| {
                let age = |activity: &Activity| now.wrapping_sub(activity.since.get());
                if age(activity) > age(oldest) {
                    activity
                } else {
                    oldest
                }
            });
        if let Some(activity) = longest {
            activity.give(Order::Close);
        }
        longest.is_some()
    }

    /// Runs the clock for as long as the future is polled. `rested` is called when many connections
    /// have given memory back.
    pub async fn run(&self, rested: impl Fn()) {
        let mut interval = tokio::time::interval(self.tick);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            // Without its clock the server would wait for every slow client for ever.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                if self.round() {
                    rested();
                }
            }));
        }
    }

    /// Looks at all connections; whether many have given memory back before this round.
    fn round(&self) -> bool {
        let have_rested = self.resting.get() >= MANY;
        if have_rested {
            self.resting.set(0);
        }
        self.clock.tick.set(self.clock.tick.get().wrapping_add(1));
        let connections = self.connections.borrow();
        planted::point("watch");
        for (_, activity) in &*connections {
            if let Some(order) = activity.judge(self.tick, &self.limits) {
                if order == Order::Park {
                    self.resting.set(self.resting.get() + 1);
                }
                activity.give(order);
            }
        }
        have_rested
    }
}
