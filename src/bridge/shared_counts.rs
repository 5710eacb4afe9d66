//! The rate limiter's counts in memory that all workers of one machine have mapped.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::pipeline::{SharedTable, TABLE_CELLS};

/// Bytes of the memory that the counts take.
pub(crate) const COUNTS_BYTES: usize = TABLE_CELLS * size_of::<AtomicU64>();

/// Maps the memory behind a descriptor, which the caller may close afterwards. The mapping stays
/// for the life of the process.
///
/// # Errors
///
/// When the descriptor has no memory of [`COUNTS_BYTES`] to map.
pub(crate) fn map(descriptor: RawFd) -> io::Result<SharedTable> {
    if descriptor < 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    #[expect(unsafe_code, reason = "Python hands descriptors over as numbers")]
    // SAFETY: the caller keeps the descriptor open during this call.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let length = rustix::fs::fstat(descriptor)?.st_size;
    if usize::try_from(length) != Ok(COUNTS_BYTES) {
        return Err(io::Error::other(format!(
            "expected {COUNTS_BYTES} bytes of memory, got {length}"
        )));
    }
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    #[expect(unsafe_code, reason = "mapping memory has no safe form")]
    // SAFETY: the kernel chooses a free address, so that nothing else is mapped over.
    let memory = unsafe { mmap(ptr::null_mut(), COUNTS_BYTES, access, flags, descriptor, 0) }?;
    #[expect(unsafe_code, reason = "the mapping is plain memory")]
    // SAFETY: the mapping has this length, page alignment, and is never unmapped; any bits are a
    // valid `AtomicU64`, and other processes change them by atomics alone.
    let cells = unsafe { std::slice::from_raw_parts(memory.cast::<AtomicU64>(), TABLE_CELLS) };
    SharedTable::mapped(cells).ok_or_else(|| io::Error::other("the counts have another size"))
}
