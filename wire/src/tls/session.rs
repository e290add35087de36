//! An established TLS session, whatever form it rests in.
//!
//! Three forms, one face: parked inline (SHA-256, what nearly every client gets), parked in a box
//! (the suite with longer secrets, so that it does not make every connection larger), and a TLS
//! 1.2 connection that stays in rustls. Only the first two can leave the process as bytes.

use zeroize::Zeroizing;

use super::parked::{Parked, Parts, Step};
use super::record::HEADER;
use super::resident::Resident;
use super::{Error, Suite};

type Small = Parked<32>;
type Large = Parked<48>;

/// An established session.
pub struct Session(Form);

enum Form {
    Small(Small),
    Large(Box<Large>),
    Resident(Box<Resident>),
}

// The budget of a connection at rest counts on this.
const _: () = assert!(size_of::<Session>() == 88);

/// The form of a session, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TLS 1.3, plain data: relocatable.
    Parked(Suite),
    /// TLS 1.2, inside of rustls: not relocatable.
    ResidentTls12,
}

/// What stood at the start of the input of [`Session::open`].
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// Less than one record. `want` bytes, counted from the start of the same input, let the next
    /// call do something; at most 16,645 (18,437 with TLS 1.2).
    NeedMore {
        /// Bytes wanted from the start of the record.
        want: usize,
    },
    /// Application data, never empty.
    Data {
        /// Bytes of input done with.
        consumed: usize,
        /// The plaintext, in place.
        data: &'a mut [u8],
    },
    /// A record that was not for the caller (KeyUpdate, a ticket, an empty record). An answer may
    /// be in `out`.
    Handled {
        /// Bytes of input done with.
        consumed: usize,
    },
    /// The peer sends nothing more. It may still read: answer with [`Session::close_notify`].
    CloseNotify {
        /// Bytes of input done with.
        consumed: usize,
    },
}

impl Session {
    /// Parks a TLS 1.3 session.
    pub(super) fn park(parts: &Parts<'_>) -> Result<Self, Error> {
        Ok(Self(match parts.suite {
            Suite::Aes256GcmSha384 => Form::Large(Box::new(Parked::new(parts)?)),
            _ => Form::Small(Parked::new(parts)?),
        }))
    }

    /// A session that opens and seals nothing: what is put where one was that moved away, since a move leaves the
    /// bytes behind. It is wiped there when it is dropped, all of it.
    pub fn blank() -> Self {
        Self(Form::Small(Parked::blank(Suite::Aes128GcmSha256)))
    }

    pub(super) fn resident(resident: Resident) -> Self {
        Self(Form::Resident(Box::new(resident)))
    }

    /// The form that this session has.
    pub fn kind(&self) -> Kind {
        match &self.0 {
            Form::Small(parked) => Kind::Parked(parked.suite()),
            Form::Large(parked) => Kind::Parked(parked.suite()),
            Form::Resident(_) => Kind::ResidentTls12,
        }
    }

    /// Opens the record at the start of `input` in place. What it owes the peer (an answer to a
    /// KeyUpdate, or the alert that goes with an error) is appended to `out`.
    ///
    /// The caller drops `consumed` bytes and calls again until `NeedMore`. The bytes of a record
    /// that is not yet whole are the caller's to keep, unchanged.
    ///
    /// # Errors
    /// Every error ends the session: send `out`, then close.
    pub fn open<'a>(
        &mut self,
        input: &'a mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Opened<'a>, Error> {
        let (step, start) = match &mut self.0 {
            Form::Small(parked) => (parked.open(input, out)?, HEADER),
            Form::Large(parked) => (parked.open(input, out)?, HEADER),
            Form::Resident(resident) => (resident.open(input, out)?, 0),
        };
        Ok(match step {
            Step::NeedMore { want } => Opened::NeedMore { want },
            Step::Data { consumed, len } => Opened::Data {
                consumed,
                data: &mut input[start..start + len],
            },
            Step::Handled { consumed } => Opened::Handled { consumed },
            Step::CloseNotify { consumed } => Opened::CloseNotify { consumed },
        })
    }

    /// Appends `plaintext` to `out` as records of at most [`FRAGMENT_MAX`](super::FRAGMENT_MAX).
    ///
    /// # Errors
    /// [`Error::Ended`] after close_notify or an earlier error.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.seal_parts(&[plaintext], out)
    }

    /// Like [`Session::seal`] of the concatenation of `parts`, without joining them first.
    ///
    /// # Errors
    /// [`Error::Ended`] after close_notify or an earlier error.
    pub fn seal_parts(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Error> {
        match &mut self.0 {
            Form::Small(parked) => parked.seal(parts, out),
            Form::Large(parked) => parked.seal(parts, out),
            Form::Resident(resident) => resident.seal(parts, out),
        }
    }

    /// Appends close_notify, once. Nothing can be sealed after it; data can still be opened.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        match &mut self.0 {
            Form::Small(parked) => parked.close_notify(out),
            Form::Large(parked) => parked.close_notify(out),
            Form::Resident(resident) => resident.close_notify(out),
        }
    }

    /// Changes our sending key now (RFC 8446 section 4.6.3). The session does this by itself when a
    /// key has sealed as many records as it may. Does nothing with TLS 1.2.
    ///
    /// # Errors
    /// [`Error::Ended`] after close_notify or an earlier error.
    pub fn update_key(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        match &mut self.0 {
            Form::Small(parked) => parked.update_key(out),
            Form::Large(parked) => parked.update_key(out),
            Form::Resident(_) => Ok(()),
        }
    }

    /// Wipes what this thread remembers of its keys: to be called before it goes to another one. Nothing is
    /// lost, the next use expands them again.
    pub fn forget_keys(&self) {
        match &self.0 {
            Form::Small(parked) => parked.forget_keys(),
            Form::Large(parked) => parked.forget_keys(),
            Form::Resident(_) => {}
        }
    }

    /// The session as bytes, to be taken up by [`Session::from_bytes`] in another process. It is
    /// consumed, since two holders of one key would use a nonce twice. They are secret: they are
    /// zeroed when dropped.
    ///
    /// # Errors
    /// Gives the session back when it is a TLS 1.2 one.
    pub fn into_bytes(self) -> Result<Zeroizing<Vec<u8>>, Self> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(Large::BYTES));
        match &self.0 {
            Form::Small(parked) => parked.write(&mut bytes),
            Form::Large(parked) => parked.write(&mut bytes),
            Form::Resident(_) => return Err(self),
        }
        Ok(bytes)
    }

    /// Takes up a session from [`Session::into_bytes`]. `None` for bytes of another version, suite
    /// or length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(match bytes.len() {
            Small::BYTES => Form::Small(Parked::read(bytes)?),
            Large::BYTES => Form::Large(Box::new(Parked::read(bytes)?)),
            _ => return None,
        }))
    }

    /// See [`Parked::forge`].
    pub(super) fn forge(&mut self, typ: u8, content: &[u8], padding: usize, out: &mut Vec<u8>) {
        match &mut self.0 {
            Form::Small(parked) => parked.forge(typ, content, padding, out),
            Form::Large(parked) => parked.forge(typ, content, padding, out),
            Form::Resident(_) => {}
        }
    }
}

#[cfg(test)]
impl Session {
    pub(super) fn keys_come_of_secrets(&self) -> bool {
        match &self.0 {
            Form::Small(parked) => parked.keys_come_of_secrets(),
            Form::Large(parked) => parked.keys_come_of_secrets(),
            Form::Resident(_) => false,
        }
    }

    pub(super) fn set_tx_seq(&mut self, seq: u64) {
        match &mut self.0 {
            Form::Small(parked) => parked.set_tx_seq(seq),
            Form::Large(parked) => parked.set_tx_seq(seq),
            Form::Resident(_) => {}
        }
    }

    pub(super) fn set_rx_seq(&mut self, seq: u64) {
        match &mut self.0 {
            Form::Small(parked) => parked.set_rx_seq(seq),
            Form::Large(parked) => parked.set_rx_seq(seq),
            Form::Resident(_) => {}
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Session").field(&self.kind()).finish()
    }
}
