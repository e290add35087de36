//! Session tickets under keys that an operator gives, so that several servers take each other's, and a restart takes
//! those from before it. The first key seals, all of them open. Built as RFC 5077, section 4, recommends: AES-256-CBC,
//! then HMAC-SHA-256 over name, iv, length and ciphertext, which is looked at first.
//!
//! How long a ticket is taken is how long its key stays: whoever gives the keys changes them.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, iv};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use super::ConfigError;

/// Keys of a file: today's, tomorrow's, and some of before.
const KEYS_MAX: usize = 16;

/// A key's name, then what authenticates, then what encrypts: the order of nginx's and OpenSSL's 80 bytes.
const NAME: usize = 16;
const HMAC: usize = 32;
const KEY: usize = NAME + HMAC + 32;

const IV: usize = 16;
const MAC: usize = 32;

/// Bytes of a ticket; ours have some 200.
const TICKET_MAX: usize = 4_096;

/// What clients are told: as long as rustls's own tickets are taken.
const LIFETIME_S: u32 = 12 * 3_600;

/// See the module. They are wiped when the last connection has let go of them.
#[derive(Clone, Debug)]
pub struct TicketKeys(Arc<Ring>);

struct Ring(Vec<TicketKey>);

struct TicketKey {
    name: [u8; NAME],
    hmac: hmac::Key,
    seal: PaddedBlockEncryptingKey,
    open: PaddedBlockDecryptingKey,
}

impl TicketKeys {
    /// Of a text with a key in base64 on each line, 80 random bytes; the first one seals. Empty lines, and those that
    /// begin with `#`, are passed over.
    ///
    /// # Errors
    /// Which line is no key.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let mut keys: Vec<TicketKey> = Vec::new();
        let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        for (at, line) in lines.enumerate() {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let wrong = |problem| ConfigError::BadTicketKey {
                line: at + 1,
                problem,
            };
            let key = TicketKey::parse(line).ok_or(wrong(
                "is no key: 80 bytes in base64 (`openssl rand -base64 80 | tr -d '\\n'`)",
            ))?;
            if keys.iter().any(|other| other.name == key.name) {
                return Err(wrong(
                    "has a key whose first 16 bytes, its name, are another's",
                ));
            }
            keys.push(key);
            if keys.len() > KEYS_MAX {
                return Err(wrong("is one key too many: 16 are looked through"));
            }
        }
        match keys.is_empty() {
            true => Err(ConfigError::NoTicketKey),
            false => Ok(Self(Arc::new(Ring(keys)))),
        }
    }

    pub(super) fn ticketer(&self) -> Arc<dyn ProducesTickets> {
        Arc::clone(&self.0) as Arc<dyn ProducesTickets>
    }
}

impl TicketKey {
    fn parse(line: &[u8]) -> Option<Self> {
        // The decoder wants room for whole groups of three.
        let mut bytes = Zeroizing::new([0; KEY.div_ceil(3) * 3 + 3]);
        let length = STANDARD.decode_slice(line, &mut *bytes).ok()?;
        let (name, secrets) = bytes.get(..length)?.split_first_chunk()?;
        let (hmac, aes) = secrets.split_at_checked(HMAC)?;
        Self::new(*name, hmac, aes).ok().filter(|_| length == KEY)
    }

    fn new(name: [u8; NAME], hmac: &[u8], aes: &[u8]) -> Result<Self, Unspecified> {
        let aes = || UnboundCipherKey::new(&AES_256, aes);
        Ok(Self {
            name,
            hmac: hmac::Key::new(hmac::HMAC_SHA256, hmac),
            seal: PaddedBlockEncryptingKey::cbc_pkcs7(aes()?)?,
            open: PaddedBlockDecryptingKey::cbc_pkcs7(aes()?)?,
        })
    }

    /// What the code is made of (RFC 5077, section 4).
    fn authenticated(&self, iv: &[u8], state: &[u8]) -> Option<Vec<u8>> {
        let length = u16::try_from(state.len()).ok()?.to_be_bytes();
        Some([&self.name[..], iv, &length, state].concat())
    }

    fn seal(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut state = message.to_vec();
        // With an iv of its own making.
        let context = self.seal.encrypt(&mut state).ok()?;
        let iv: &[u8] = (&context).try_into().ok()?;
        let mac = hmac::sign(&self.hmac, &self.authenticated(iv, &state)?);
        Some([&self.name[..], iv, &state, mac.as_ref()].concat())
    }

    /// What stands behind the name.
    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (iv, rest) = ticket.split_first_chunk::<IV>()?;
        let (state, mac) = rest.split_at_checked(rest.len().checked_sub(MAC)?)?;
        hmac::verify(&self.hmac, &self.authenticated(iv, state)?, mac).ok()?;
        let context = DecryptionContext::Iv128(iv::FixedLength::from(iv));
        let mut state = state.to_vec();
        let message = self.open.decrypt(&mut state, context).ok()?;
        Some(message.to_vec())
    }
}

impl ProducesTickets for Ring {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.0.first()?.seal(message)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_MAX {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let key = self.0.iter().find(|key| key.name == *name)?;
        key.open(rest)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("keys", &self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(byte: u8) -> String {
        STANDARD.encode([byte; KEY])
    }

    fn keys(lines: &[&str]) -> TicketKeys {
        TicketKeys::parse(lines.join("\n").as_bytes()).unwrap()
    }

    #[test]
    fn the_first_seals_and_all_open() {
        let (old, new) = (line(1), line(2));
        let before = keys(&[&old]).ticketer();
        let both = keys(&["# today's", "", &new, &old]).ticketer();
        let after = keys(&[&new]).ticketer();
        let ticket = before.encrypt(b"a session").unwrap();
        assert_eq!(both.decrypt(&ticket).unwrap(), b"a session");
        assert!(after.decrypt(&ticket).is_none());
        let ticket = both.encrypt(b"a session").unwrap();
        assert_eq!(after.decrypt(&ticket).unwrap(), b"a session");
        assert!(before.decrypt(&ticket).is_none());
        // The iv is another one each time.
        assert_ne!(both.encrypt(b"a session"), Some(ticket));
    }

    #[test]
    fn no_single_bit_and_no_length_can_be_changed() {
        let ring = keys(&[&line(1), &line(2)]).ticketer();
        let ticket = ring.encrypt(&[7; 40]).unwrap();
        for bit in 0..ticket.len() * 8 {
            let mut changed = ticket.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.decrypt(&changed).is_none(), "bit {bit}");
        }
        for length in 0..ticket.len() {
            assert!(ring.decrypt(&ticket[..length]).is_none(), "{length} bytes");
        }
        assert!(ring.decrypt(&[&ticket[..], &[0]].concat()).is_none());
        assert!(ring.decrypt(&vec![1; TICKET_MAX + 1]).is_none());
    }

    #[test]
    fn what_is_no_key_is_told_by_its_line() {
        let (one, short, long) = (line(1), STANDARD.encode([1; 79]), STANDARD.encode([1; 81]));
        let mut same_name = [1; KEY];
        same_name[KEY - 1] = 2;
        let same_name = STANDARD.encode(same_name);
        let many: Vec<String> = (0..17).map(line).collect();
        for (text, told) in [
            (String::new(), "no ticket key"),
            ("# nothing\n\n".into(), "no ticket key"),
            (format!("{one}\n\n{short}"), "line 3 is no key"),
            (long, "line 1 is no key"),
            (one[1..].to_owned(), "line 1 is no key"),
            ("-----BEGIN PRIVATE KEY-----".into(), "line 1 is no key"),
            (STANDARD.encode([1; 48]), "line 1 is no key"),
            (STANDARD.encode([1; 4_000]), "line 1 is no key"),
            (format!("{one}\n{same_name}"), "line 2 has a key whose"),
            (many.join("\n"), "line 17 is one key too many"),
        ] {
            let error = TicketKeys::parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(told), "{text}: {error}");
        }
    }
}
