//! A whole connection, TLS, HTTP and frames: the same comes of its bytes however they are cut. What begins
//! with 0xff is a handshake of two ends, in one of which a byte may be wrong.

#![no_main]

use std::sync::LazyLock;

use rookery_wire::{link, tls};

static ENDS: LazyLock<(tls::ServerConfig, tls::ClientConfig)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = tls::ServerConfig::from_pem(chain.as_bytes(), key.as_bytes(), tls::Tickets::One);
    let client = tls::ClientConfig::new(tls::Verify::Insecure, tls::Offer::default());
    (server.expect("a server"), client.expect("a client"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| match data.split_first() {
    Some((0xff, data)) => link::fuzz::check_handshake(data, &ENDS.0, &ENDS.1),
    _ => link::fuzz::check(data),
});
