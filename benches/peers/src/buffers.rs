//! Buffers that a thread's connections share: one holds a buffer only while it works.

use std::cell::RefCell;

/// What a read may take at once.
pub const READ_BYTES: usize = 16 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer of [`READ_BYTES`] or more.
pub fn take() -> Vec<u8> {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| Vec::with_capacity(READ_BYTES))
}

/// Gives a buffer back.
pub fn give(mut buffer: Vec<u8>) {
    buffer.clear();
    SPARE.with_borrow_mut(|spare| spare.push(buffer));
}
