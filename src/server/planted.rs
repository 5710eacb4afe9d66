//! Panics that a test plants: `SPIKARD_PLANTED_PANIC` names the point, of the debug build alone.

/// Panics, once in a process, when this point is reached for the third time and the variable names
/// it. Nothing in a release build.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    debug::reached(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod debug {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Which time of many: what makes a server ready comes before.
    const TIME: u32 = 3;

    pub(super) fn reached(name: &'static str) {
        static PLANTED: OnceLock<Option<String>> = OnceLock::new();
        static TIMES: AtomicU32 = AtomicU32::new(0);
        let planted = PLANTED.get_or_init(|| std::env::var("SPIKARD_PLANTED_PANIC").ok());
        let is_due =
            planted.as_deref() == Some(name) && TIMES.fetch_add(1, Ordering::Relaxed) + 1 == TIME;
        assert!(!is_due, "planted at {name}");
    }
}
