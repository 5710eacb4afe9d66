//! The memory of the rate limiter: a table of fixed size made of atomics, so that the workers of
//! one machine can share it through one mapping and no request ever waits for a lock.
//!
//! How this works: a key's hash picks a set of eight slots. A slot is two cells, the hash and the
//! time at which the key will have earned everything back. A slot whose time has passed says the
//! same as no slot, so it may be taken over by any key; when all eight are in use the one that is
//! nearest to that goes. Memory and time per request are constant, whatever clients send.

use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots that a key may be in.
const WAYS: usize = 8;

/// Sets of slots. Together 98 304 keys, the nearest round number under 100 000.
const SETS: usize = 12_288;

/// Cells before the first slot: the seed and, to keep slots on their cache lines, seven unused.
const HEADER_CELLS: usize = 8;

/// How many cells of eight bytes a table is made of: about 1.5 MiB.
pub const TABLE_CELLS: usize = HEADER_CELLS + SETS * WAYS * 2;

/// Keys and the times at which they will have earned everything back.
pub struct SharedTable {
    cells: Cells,
    seed: u64,
}

enum Cells {
    Own(Box<[AtomicU64]>),
    Mapped(&'static [AtomicU64]),
}

impl SharedTable {
    /// A table of this process alone.
    pub fn private() -> Self {
        let cells = (0..TABLE_CELLS).map(|_| AtomicU64::new(0)).collect();
        Self::new(Cells::Own(cells))
    }

    /// A table in memory that other processes of this machine have mapped too; the first one to
    /// come finds it zeroed. `None` unless there are [`TABLE_CELLS`] cells.
    pub fn mapped(cells: &'static [AtomicU64]) -> Option<Self> {
        (cells.len() == TABLE_CELLS).then(|| Self::new(Cells::Mapped(cells)))
    }

    fn new(cells: Cells) -> Self {
        let mut table = Self { cells, seed: 0 };
        // Nobody outside may know which keys share a set; all who share the table must agree.
        let fresh = RandomState::new().hash_one(0_u8) | 1;
        let stored = &table.cells()[0];
        let outcome = stored.compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire);
        table.seed = outcome.map_or_else(|seed| seed, |_| fresh);
        table
    }

    /// Runs the generic cell rate algorithm for one request of `key`.
    ///
    /// Times are nanoseconds of a clock that all users of the table share. `interval` is what one
    /// request costs, `tolerance` how far ahead a key may be (`burst` × `interval`).
    pub(super) fn charge(&self, key: impl Hash, now: u64, interval: u64, tolerance: u64) -> Charge {
        let hash = self.hash(key);
        loop {
            let slot = self.slot(hash, now);
            if let Some(charge) = slot.charge(hash, now, interval, tolerance) {
                return charge;
            }
            // Another process took the slot for another key just now: look again.
        }
    }

    fn cells(&self) -> &[AtomicU64] {
        match &self.cells {
            Cells::Own(cells) => cells,
            Cells::Mapped(cells) => cells,
        }
    }

    fn hash(&self, key: impl Hash) -> u64 {
        // SipHash with a secret before the key; the standard library's keyed constructor differs
        // from process to process.
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        key.hash(&mut hasher);
        hasher.finish().max(1)
    }

    /// Finds the key's slot, or makes it one.
    fn slot(&self, hash: u64, now: u64) -> Slot<'_> {
        let sets = u64::try_from(SETS).expect("a small constant");
        let set = usize::try_from(hash % sets).expect("smaller than SETS");
        let start = HEADER_CELLS + set * WAYS * 2;
        let cells = &self.cells()[start..start + WAYS * 2];
        loop {
            let mut oldest: Option<(u64, u64, Slot<'_>)> = None;
            for pair in cells.chunks_exact(2) {
                let slot = Slot {
                    key: &pair[0],
                    time: &pair[1],
                };
                let owner = slot.key.load(Ordering::Acquire);
                if owner == hash {
                    return slot;
                }
                let time = slot.time.load(Ordering::Acquire);
                if oldest.as_ref().is_none_or(|(least, ..)| time < *least) {
                    oldest = Some((time, owner, slot));
                }
            }
            let (time, owner, slot) = oldest.expect("a set has slots");
            if slot
                .key
                .compare_exchange(owner, hash, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                if time > now {
                    // The evicted key's debt is not ours. Should somebody have charged our key in
                    // the meantime, this fails, and that charge stays.
                    let _ =
                        slot.time
                            .compare_exchange(time, 0, Ordering::AcqRel, Ordering::Acquire);
                }
                return slot;
            }
        }
    }
}

/// One key's place.
struct Slot<'table> {
    key: &'table AtomicU64,
    time: &'table AtomicU64,
}

/// What a request's charge came to; times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Charge {
    /// Whether the request is within the limit.
    pub(super) is_allowed: bool,
    /// How far ahead of its earnings the key is now.
    pub(super) debt: u64,
}

impl Slot<'_> {
    /// Charges one request; `None` when the slot has become another key's.
    fn charge(&self, hash: u64, now: u64, interval: u64, tolerance: u64) -> Option<Charge> {
        let mut time = self.time.load(Ordering::Acquire);
        loop {
            let debt = time.saturating_sub(now);
            let next = debt.saturating_add(interval);
            if next > tolerance {
                return Some(Charge {
                    is_allowed: false,
                    debt,
                });
            }
            if self.key.load(Ordering::Acquire) != hash {
                return None;
            }
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self
                .time
                .compare_exchange(time, now.saturating_add(next), success, failure)
            {
                Ok(_) => {
                    return Some(Charge {
                        is_allowed: true,
                        debt: next,
                    });
                }
                Err(changed) => time = changed,
            }
        }
    }
}

impl fmt::Debug for SharedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_shared = matches!(self.cells, Cells::Mapped(_));
        f.debug_struct("SharedTable")
            .field("is_shared", &is_shared)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn threads_on_one_key_never_pass_more_than_the_burst() {
        let table = SharedTable::private();
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        if table.charge("one", 1_000, 10, 2_000).is_allowed {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 200);
    }

    #[test]
    fn two_tables_over_the_same_cells_count_together() {
        let cells: Vec<AtomicU64> = (0..TABLE_CELLS).map(|_| AtomicU64::new(0)).collect();
        let cells: &'static [AtomicU64] = cells.leak();
        let workers = [
            SharedTable::mapped(cells).unwrap(),
            SharedTable::mapped(cells).unwrap(),
        ];
        let passed = (0..10)
            .filter(|turn| workers[turn % 2].charge("one", 1_000, 10, 40).is_allowed)
            .count();
        assert_eq!(passed, 4);
    }

    #[test]
    fn a_mapping_of_another_size_is_refused() {
        let cells: &'static [AtomicU64] = Vec::from([AtomicU64::new(0)]).leak();
        assert!(SharedTable::mapped(cells).is_none());
    }

    #[test]
    fn a_million_keys_fit_into_the_same_memory_and_each_has_its_own_budget() {
        let table = SharedTable::private();
        let refused = (0..1_000_000_u64)
            .filter(|key| !table.charge(key, 1_000, 10, 10).is_allowed)
            .count();
        assert_eq!(refused, 0, "a new key never pays for the one it replaced");
        assert_eq!(table.cells().len(), TABLE_CELLS);
    }

    #[test]
    fn an_active_key_outlives_keys_whose_time_has_passed() {
        let table = SharedTable::private();
        let far = 1_000_000_000;
        assert!(table.charge("active", 0, far, far).is_allowed);
        for (now, key) in (1..100_000_u64).enumerate() {
            let now = u64::try_from(now).unwrap() * 10;
            table.charge(key, now, 1, 1);
        }
        assert!(!table.charge("active", 1_000_000 - 1, far, far).is_allowed);
    }
}
