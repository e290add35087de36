//! Properties of [`parse`] that the fuzz target and the property tests share.

use super::{HEADER_BYTES_MAX, parse};

/// Gives [`parse`] the input byte by byte: once it has said something it goes on to say that, it never waits for
/// more than a header may have, and takes no byte that has not come.
///
/// # Panics
/// Where that is not so: that is what a fuzzer looks for.
pub fn check(data: &[u8]) {
    let mut said = None;
    for len in 0..=data.len() {
        let now = parse(&data[..len]);
        match said {
            None if now == Ok(None) => assert!(len < HEADER_BYTES_MAX, "waits after {len} bytes"),
            None => said = Some(now),
            Some(before) => assert_eq!(now, before, "after {len} bytes"),
        }
        if let Ok(Some(header)) = now {
            assert!(header.bytes <= len.min(HEADER_BYTES_MAX), "{header:?}");
        }
    }
}
