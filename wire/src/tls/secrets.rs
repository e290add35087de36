//! Traffic secrets: heard from rustls, kept, moved on by KeyUpdate (RFC 8446 section 7).
//!
//! rustls gives the keys of the present generation (`dangerous_into_kernel_connection`) but not the
//! secrets that the next generation comes from; those it tells only to a [`rustls::KeyLog`]. It
//! calls the log synchronously, inside `process_tls_records`, so [`listen`] catches them in a cell
//! of this thread that is full only for the time of that call: at most one handshake is looked at.

use std::cell::RefCell;

use aws_lc_rs::hkdf::{KeyType, Prk};
use zeroize::Zeroize;

use super::record::AeadKey;
use super::{Error, Suite, keys};

/// The longest traffic secret: SHA-384.
const SECRET_MAX: usize = 48;

/// The two application traffic secrets of generation 0, as far as they were heard.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) client: Secret,
    pub(super) server: Secret,
}

impl Heard {
    const NOTHING: Self = Self {
        client: Secret::EMPTY,
        server: Secret::EMPTY,
    };
}

/// A traffic secret of either length; empty until heard.
pub(super) struct Secret {
    bytes: [u8; SECRET_MAX],
    len: usize,
}

impl Default for Secret {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Secret {
    const EMPTY: Self = Self {
        bytes: [0; SECRET_MAX],
        len: 0,
    };

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn set(&mut self, secret: &[u8]) {
        // A longer one would be a suite that we do not offer: it stays empty and parking refuses.
        if let Some(room) = self.bytes.get_mut(..secret.len()) {
            room.copy_from_slice(secret);
            self.len = secret.len();
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// What the key log was told, while somebody listens.
struct Ear {
    listens: bool,
    heard: Heard,
}

thread_local! {
    static EAR: RefCell<Ear> = const {
        RefCell::new(Ear { listens: false, heard: Heard::NOTHING })
    };
}

/// Runs `process` and keeps in `heard` what rustls tells its key log meanwhile. Nearly every call hears
/// nothing, and moves and wipes nothing.
pub(super) fn listen<T>(heard: &mut Heard, process: impl FnOnce() -> T) -> T {
    EAR.with_borrow_mut(|ear| ear.listens = true);
    let result = process();
    EAR.with_borrow_mut(|ear| {
        ear.listens = false;
        for (new, kept) in [
            (&mut ear.heard.client, &mut heard.client),
            (&mut ear.heard.server, &mut heard.server),
        ] {
            if new.len > 0 {
                *kept = std::mem::take(new);
            }
        }
    });
    result
}

/// The key log of our configurations. Outside of [`listen`] it drops what it is told.
#[derive(Debug)]
pub(super) struct Listener;

impl rustls::KeyLog for Listener {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        EAR.with_borrow_mut(|ear| match label {
            _ if !ear.listens => {}
            "CLIENT_TRAFFIC_SECRET_0" => ear.heard.client.set(secret),
            "SERVER_TRAFFIC_SECRET_0" => ear.heard.server.set(secret),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0")
    }
}

/// One direction of a session: the secret of this generation. Its key and iv are remembered or expanded
/// ([`keys`]).
pub(super) struct Direction<const SECRET: usize>([u8; SECRET]);

impl<const SECRET: usize> Direction<SECRET> {
    /// Bytes of [`Direction::write`].
    pub(super) const BYTES: usize = SECRET;

    /// From `secret`, which must be as long as the suite's hash. Where rustls has told key and iv
    /// (`given`), they are remembered.
    pub(super) fn new(secret: &[u8], given: Option<(&[u8], &[u8])>) -> Result<Self, Error> {
        let wrong = |_| Error::Internal("a traffic secret of the wrong length");
        let this = Self(secret.try_into().map_err(wrong)?);
        if let Some((key, iv)) = given {
            keys::know(secret, key, iv)?;
        }
        Ok(this)
    }

    pub(super) fn blank() -> Self {
        Self([0; SECRET])
    }

    /// The key, ready for records.
    pub(super) fn aead(&self, suite: Suite) -> Result<AeadKey, Error> {
        keys::aead(suite, &self.0)
    }

    /// Nothing of it stays on this thread: the session goes to another one.
    pub(super) fn forget_keys(&self) {
        keys::forget(&self.0);
    }

    #[cfg(test)]
    pub(super) fn key_comes_of_it(&self, suite: Suite) -> bool {
        keys::is_known_right(suite, &self.0)
    }

    /// Moves on to the next generation (RFC 8446 section 7.2).
    pub(super) fn update(&mut self, suite: Suite) -> Result<(), Error> {
        self.forget_keys();
        expand_label(&suite.prk(&self.0), b"traffic upd", &mut self.0)
    }

    /// Appends the bytes that [`Direction::read`] takes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    /// `None` when `bytes` are not [`Direction::BYTES`] long.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }
}

impl<const SECRET: usize> Drop for Direction<SECRET> {
    fn drop(&mut self) {
        self.forget_keys();
        self.0.zeroize();
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
pub(super) fn expand_label(prk: &Prk, label: &[u8], out: &mut [u8]) -> Result<(), Error> {
    const PREFIX: &[u8] = b"tls13 ";
    let [_, .., high, low] = out.len().to_be_bytes();
    let label_len = [(PREFIX.len() + label.len()) as u8];
    let info: [&[u8]; 5] = [&[high, low], &label_len, PREFIX, label, &[0]];
    prk.expand(&info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .map_err(|_| Error::Internal("HKDF refused an output of a hash's length"))
}
