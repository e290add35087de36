//! Protocol frames: what is accepted survives a copy and its canonical encoding.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rookery_wire::proto::fuzz::check(data));
