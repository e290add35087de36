//! The parked record layer against bytes of an attacker, with and without the right keys.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rookery_wire::tls::fuzz_open(data));
