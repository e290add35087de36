//! The WebSocket decoder: whole, byte by byte and in pieces gives the same, and nothing panics.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rookery_wire::ws::fuzz::check(data));
