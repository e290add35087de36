//! Traffic secrets, heard from rustls: it gives keys as opaque objects, and the secrets that they come of only to a
//! [`rustls::KeyLog`], which it calls inside of the calls that [`listen`] wraps.
//!
//! The ear is a cell of this thread that is full only for the time of such a call. What is heard is checked against
//! rustls's keys ([`are_of`]) before anything relies on it.

use std::cell::RefCell;

use rustls::quic::DirectionalKeys;
use zeroize::Zeroize;

use crate::keys::{Generation, HeaderKey, SECRET};

/// The secrets of generation 0; `None` until heard.
#[derive(Clone, Default)]
pub(super) struct Heard {
    pub(super) client: Option<[u8; SECRET]>,
    pub(super) server: Option<[u8; SECRET]>,
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.client.zeroize();
        self.server.zeroize();
    }
}

thread_local! {
    /// `None` while nobody listens.
    static EAR: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// Runs `process` and keeps in `heard` what rustls tells its key log meanwhile.
pub(super) fn listen<T>(heard: &mut Heard, process: impl FnOnce() -> T) -> T {
    EAR.set(Some(std::mem::take(heard)));
    let result = process();
    *heard = EAR.take().unwrap_or_default();
    result
}

/// The key log of our configurations.
#[derive(Debug)]
pub(super) struct Listener;

impl rustls::KeyLog for Listener {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        EAR.with_borrow_mut(|ear| {
            let Some(heard) = ear else {
                return;
            };
            // One of another length would be of a suite that we do not offer: it stays unheard.
            let secret = secret.try_into().ok();
            match label {
                "CLIENT_TRAFFIC_SECRET_0" => heard.client = secret,
                "SERVER_TRAFFIC_SECRET_0" => heard.server = secret,
                _ => {}
            }
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0")
    }
}

/// Keys of a secret, where they are those that rustls has: both seal one packet and make one mask.
pub(super) fn are_of(
    secret: Option<[u8; SECRET]>,
    keys: &DirectionalKeys,
) -> Option<(Generation, HeaderKey)> {
    const NUMBER: u64 = 7;
    const SAMPLE: [u8; 16] = *b"a sample of both";
    let generation = Generation::new(secret?).ok()?;
    let header_key = generation.header_key().ok()?;
    let mut ours = b"headpayload".to_vec();
    generation.seal(NUMBER, 4, &mut ours, 0).ok()?;
    let mut theirs = *b"payload";
    let tag = keys
        .packet
        .encrypt_in_place(NUMBER, b"head", &mut theirs)
        .ok()?;
    let (mut first, mut number) = (0, [0; 4]);
    keys.header
        .encrypt_in_place(&SAMPLE, &mut first, &mut number)
        .ok()?;
    let mask = header_key.mask(&SAMPLE).ok()?;
    // The first byte says how long the number is: one byte of it is masked.
    let same = ours[4..11] == theirs
        && ours[11..] == *tag.as_ref()
        && (first, number[0]) == (mask[0] & 0x1f, mask[1]);
    same.then_some((generation, header_key))
}
