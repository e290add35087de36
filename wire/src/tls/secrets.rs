//! Traffic secrets: heard from rustls, expanded into keys, moved on by KeyUpdate (RFC 8446
//! section 7).
//!
//! rustls gives the keys of the present generation (`dangerous_into_kernel_connection`) but not the
//! secrets that the next generation comes from; those it tells only to a [`rustls::KeyLog`]. It
//! calls the log synchronously, inside `process_tls_records`, so [`listen`] catches them in a cell
//! of this thread that is full only for the time of that call.

use std::cell::RefCell;

use aws_lc_rs::hkdf::{self, KeyType, Prk};
use zeroize::Zeroize;

use super::record::IV;
use super::{Error, Suite};

/// The longest traffic secret: SHA-384.
const SECRET_MAX: usize = 48;

/// The two application traffic secrets of generation 0, as far as they were heard.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) client: Secret,
    pub(super) server: Secret,
}

/// A traffic secret of either length; empty until heard.
pub(super) struct Secret {
    bytes: [u8; SECRET_MAX],
    len: usize,
}

impl Default for Secret {
    fn default() -> Self {
        Self {
            bytes: [0; SECRET_MAX],
            len: 0,
        }
    }
}

impl Secret {
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

thread_local! {
    static CELL: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// Runs `process` and keeps in `heard` what rustls tells its key log meanwhile.
pub(super) fn listen<T>(heard: &mut Heard, process: impl FnOnce() -> T) -> T {
    CELL.with_borrow_mut(|cell| *cell = Some(std::mem::take(heard)));
    let result = process();
    if let Some(back) = CELL.with_borrow_mut(Option::take) {
        *heard = back;
    }
    result
}

/// The key log of our configurations. Outside of [`listen`] it drops what it is told.
#[derive(Debug)]
pub(super) struct Listener;

impl rustls::KeyLog for Listener {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        CELL.with_borrow_mut(|cell| {
            if let Some(heard) = cell {
                match label {
                    "CLIENT_TRAFFIC_SECRET_0" => heard.client.set(secret),
                    "SERVER_TRAFFIC_SECRET_0" => heard.server.set(secret),
                    _ => {}
                }
            }
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0")
    }
}

/// One direction of a session: the secret of this generation and what was expanded from it.
#[repr(C)]
pub(super) struct Direction<const KEY: usize, const SECRET: usize> {
    secret: [u8; SECRET],
    key: [u8; KEY],
    iv: [u8; IV],
}

impl<const KEY: usize, const SECRET: usize> Direction<KEY, SECRET> {
    /// Bytes of [`Direction::write`].
    pub(super) const BYTES: usize = SECRET + KEY + IV;

    /// Expands `secret`, which must be as long as the suite's hash.
    pub(super) fn new(suite: Suite, secret: &[u8]) -> Result<Self, Error> {
        if secret.len() != suite.secret_len() || SECRET < secret.len() || KEY != suite.key_len() {
            return Err(Error::Internal("a traffic secret of the wrong length"));
        }
        let mut this = Self {
            secret: [0; SECRET],
            key: [0; KEY],
            iv: [0; IV],
        };
        this.secret[..secret.len()].copy_from_slice(secret);
        this.expand(suite)?;
        Ok(this)
    }

    pub(super) fn key(&self) -> &[u8; KEY] {
        &self.key
    }

    pub(super) fn iv(&self) -> &[u8; IV] {
        &self.iv
    }

    /// Moves on to the next generation (RFC 8446 section 7.2).
    pub(super) fn update(&mut self, suite: Suite) -> Result<(), Error> {
        let prk = self.prk(suite);
        expand_label(&prk, b"traffic upd", &mut self.secret[..suite.secret_len()])?;
        self.expand(suite)
    }

    fn prk(&self, suite: Suite) -> Prk {
        Prk::new_less_safe(suite.hkdf(), &self.secret[..suite.secret_len()])
    }

    /// RFC 8446 section 7.3.
    fn expand(&mut self, suite: Suite) -> Result<(), Error> {
        let prk = self.prk(suite);
        expand_label(&prk, b"key", &mut self.key)?;
        expand_label(&prk, b"iv", &mut self.iv)
    }

    /// Appends the bytes that [`Direction::read`] takes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.secret);
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.iv);
    }

    /// `None` when `bytes` are not [`Direction::BYTES`] long.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (secret, rest) = bytes.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let iv = rest.try_into().ok()?;
        Some(Self {
            secret: *secret,
            key: *key,
            iv,
        })
    }
}

impl<const KEY: usize, const SECRET: usize> Drop for Direction<KEY, SECRET> {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.key.zeroize();
        self.iv.zeroize();
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand_label(prk: &hkdf::Prk, label: &[u8], out: &mut [u8]) -> Result<(), Error> {
    const PREFIX: &[u8] = b"tls13 ";
    let [_, .., high, low] = out.len().to_be_bytes();
    let label_len = [(PREFIX.len() + label.len()) as u8];
    let info: [&[u8]; 5] = [&[high, low], &label_len, PREFIX, label, &[0]];
    prk.expand(&info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .map_err(|_| Error::Internal("HKDF refused an output of a hash's length"))
}
