//! The allocator of all Rust code: mimalloc, which is quick to take back on one thread what another one made.
//!
//! Promise: a block that need not be aligned more than a word is, as nearly all need not, is asked for in the plain
//! way; the one for aligned blocks, which mimalloc's own binding takes for all, costs some thirty instructions more.
//! Caveat: Python has an allocator of its own.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mimalloc;

/// What every block is aligned to, as `malloc` promises.
const WORD: usize = align_of::<usize>();

/// mimalloc.
pub(crate) struct Allocator;

// SAFETY: every function hands its arguments on to mimalloc, whose blocks are as large as asked for and aligned to a
// word or, where more is asked for, to that; all of them may be resized and freed by any of its functions, on any
// thread.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size will do, and a layout's alignment is a power of two.
        unsafe {
            if layout.align() <= WORD {
                mimalloc::mi_malloc(layout.size()).cast()
            } else {
                mimalloc::mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            if layout.align() <= WORD {
                mimalloc::mi_zalloc(layout.size()).cast()
            } else {
                mimalloc::mi_zalloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller vouches that the block came from here.
        unsafe { mimalloc::mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that the block came from here with this layout.
        unsafe {
            if layout.align() <= WORD {
                mimalloc::mi_realloc(block.cast(), size).cast()
            } else {
                mimalloc::mi_realloc_aligned(block.cast(), size, layout.align()).cast()
            }
        }
    }
}
