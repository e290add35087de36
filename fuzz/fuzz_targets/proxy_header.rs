//! The PROXY header in front of a client's bytes: what is said of it does not depend on how it comes, and nothing
//! panics.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rookery_wire::proxy_protocol::fuzz::check(data));
