//! The memory allocator of the extension: mimalloc.

#![expect(unsafe_code, reason = "mimalloc is a C library")]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// Gives what is free back to the system; with `force` also what became free just now.
    safe fn mi_collect(force: bool);
}

/// Gives memory that is free in this thread back to the system. mimalloc does so by itself too, but
/// late, and only when somebody allocates: a server that has become quiet does not.
pub(super) fn give_back() {
    mi_collect(true);
}
