//! Properties of the protocol's frames that the fuzz target and the property tests share.

use super::{ClientFrame, Limits, ServerFrame};

/// Parses `data` as a frame of either side; what is accepted is the one encoding of its message,
/// wherever it lies in memory.
///
/// # Panics
/// Where it does not: that is what a fuzzer looks for.
pub fn check(data: &[u8]) {
    let limits = Limits {
        payload_bytes_max: 512,
        members_max: 16,
        ..Limits::SERVER_FRAMES
    };
    let mut canonical = Vec::new();
    if let Ok(frame) = ClientFrame::parse(data, &limits) {
        frame.encode_into(&mut canonical);
        assert_eq!(canonical, data, "a message has one encoding");
    }
    canonical.clear();
    if let Ok(frame) = ServerFrame::parse(data, &limits) {
        frame.encode_into(&mut canonical);
        assert_eq!(canonical, data, "a message has one encoding");
        // One byte further on, so that nothing depends on where a frame lies.
        let shifted: Vec<u8> = std::iter::once(0)
            .chain(canonical.iter().copied())
            .collect();
        let mut again = Vec::new();
        ServerFrame::parse(&shifted[1..], &limits)
            .expect("what was accepted is accepted again")
            .encode_into(&mut again);
        assert_eq!(canonical, again, "it lies elsewhere and says the same");
    }
}
