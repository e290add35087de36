//! A TLS 1.3 session at rest: what two directions need and nothing else.
//!
//! Plain data of fixed size without pointers, so that a connection can move between shards and
//! processes as bytes ([`Parked::write`], [`Parked::read`]). It handles what may come after a
//! handshake (data, KeyUpdate, tickets for a client, alerts) and refuses anything else. Invariant:
//! a sequence number is used once per key; a call that fails ends the session, and every later call
//! answers [`Error::Ended`].

use super::messages::{KEY_UPDATE, KeyUpdate, Messages};
use super::record::{self, ALERT, APPLICATION_DATA, FRAGMENT_MAX, Framed, HANDSHAKE, HEADER};
use super::secrets::Direction;
use super::{Alert, Error, Gather, Role, Suite};

/// Records without application data that a peer may send beyond those that its data makes up for.
pub const IDLE_RECORDS_MAX: u8 = 32;

/// Records under one key that make up for one without data. A KeyUpdate costs as much as some twenty
/// records of a few bytes: one for each of them, without end, would be a cheap way to keep a server busy.
const DATA_PER_IDLE: u64 = 8;

/// We are the client.
const CLIENT: u8 = 1;
/// We sent close_notify, or failed: nothing may be sealed any more.
const SEALED: u8 = 1 << 1;
/// The peer sent close_notify.
const PEER_CLOSED: u8 = 1 << 2;
/// The session failed: nothing may be opened any more.
const FAILED: u8 = 1 << 3;
const FLAGS: u8 = CLIENT | SEALED | PEER_CLOSED | FAILED;

/// The format of [`Parked::write`].
const VERSION: u8 = 1;

/// A parked session with secrets of `SECRET` bytes. Keys are not part of it: [`super::keys`].
#[repr(C)]
pub(super) struct Parked<const SECRET: usize> {
    /// Records opened with this rx key.
    rx_seq: u64,
    /// Records sealed with this tx key.
    tx_seq: u64,
    rx: Direction<SECRET>,
    tx: Direction<SECRET>,
    suite: Suite,
    flags: u8,
    /// Records without data that data has not made up for.
    idle_records: u8,
    messages: Messages,
}

/// What one call of [`Parked::open`] found at the start of its input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Less than a record; this many bytes are wanted from its start.
    NeedMore { want: usize },
    /// A record of `consumed` bytes with `len` bytes of data behind its header.
    Data { consumed: usize, len: usize },
    /// A record that was not for the caller.
    Handled { consumed: usize },
    /// The peer sends nothing more.
    CloseNotify { consumed: usize },
}

/// What a parked session is made from.
pub(super) struct Parts<'a> {
    pub(super) suite: Suite,
    pub(super) role: Role,
    pub(super) client_secret: &'a [u8],
    pub(super) server_secret: &'a [u8],
    pub(super) rx_seq: u64,
    pub(super) tx_seq: u64,
    /// Key and iv of rx and tx where they are known already.
    pub(super) keys: Option<[(&'a [u8], &'a [u8]); 2]>,
}

impl<const SECRET: usize> Parked<SECRET> {
    /// Bytes of [`Parked::write`].
    pub(super) const BYTES: usize = 4 + Messages::BYTES + 16 + 2 * Direction::<SECRET>::BYTES;

    pub(super) fn new(parts: &Parts<'_>) -> Result<Self, Error> {
        let (rx, tx, flags) = match parts.role {
            Role::Server => (parts.client_secret, parts.server_secret, 0),
            Role::Client => (parts.server_secret, parts.client_secret, CLIENT),
        };
        let [rx_keys, tx_keys] = match parts.keys {
            Some([rx, tx]) => [Some(rx), Some(tx)],
            None => [None, None],
        };
        Ok(Self {
            rx_seq: parts.rx_seq,
            tx_seq: parts.tx_seq,
            rx: Direction::new(rx, rx_keys)?,
            tx: Direction::new(tx, tx_keys)?,
            suite: parts.suite,
            flags,
            idle_records: 0,
            messages: Messages::default(),
        })
    }

    /// Without secrets: it opens and seals nothing.
    pub(super) fn blank(suite: Suite) -> Self {
        Self {
            rx_seq: 0,
            tx_seq: 0,
            rx: Direction::blank(),
            tx: Direction::blank(),
            suite,
            flags: FAILED | SEALED,
            idle_records: 0,
            messages: Messages::default(),
        }
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    #[cfg(test)]
    pub(super) fn keys_come_of_secrets(&self) -> bool {
        let mut both = [&self.rx, &self.tx].into_iter();
        both.all(|way| way.key_comes_of_it(self.suite))
    }

    /// Nothing of it stays on this thread.
    pub(super) fn forget_keys(&self) {
        self.rx.forget_keys();
        self.tx.forget_keys();
    }

    /// Opens the record at the start of `input` in place. On an error the alert is in `out`.
    pub(super) fn open(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<Step, Error> {
        if self.flags & FAILED != 0 {
            return Err(Error::Ended);
        }
        if self.flags & PEER_CLOSED != 0 {
            //= RFC 8446 section 6.1: Any data received after a closure alert has been received MUST be ignored.
            return Ok(Step::CloseNotify {
                consumed: input.len(),
            });
        }
        self.open_record(input, out)
            .inspect_err(|error| self.fail(error, out))
    }

    fn open_record(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<Step, Error> {
        let total = match record::frame(input)? {
            Framed::Want(want) => return Ok(Step::NeedMore { want }),
            Framed::Whole(total) => total,
        };
        let record = &mut input[..total];
        let key = self.rx.aead(self.suite)?;
        let (typ, len) = key.open(self.rx_seq, record)?;
        self.rx_seq = next(self.rx_seq)?;

        //= RFC 8446 section 5.1: Handshake messages MUST NOT be interleaved with other record types.
        if typ != HANDSHAKE && self.messages.is_partial() {
            return Err(unexpected(
                "another record inside a fragmented handshake message",
            ));
        }
        if typ == APPLICATION_DATA && len > 0 {
            if self.rx_seq.is_multiple_of(DATA_PER_IDLE) {
                self.idle_records = self.idle_records.saturating_sub(1);
            }
            return Ok(Step::Data {
                consumed: total,
                len,
            });
        }
        self.idle_records += 1;
        if self.idle_records > IDLE_RECORDS_MAX {
            return Err(unexpected("a flood of records without data"));
        }
        let content = &record[HEADER..HEADER + len];
        match typ {
            APPLICATION_DATA => Ok(Step::Handled { consumed: total }),
            ALERT => self.on_alert(content, total),
            HANDSHAKE => self
                .on_handshake(content, out)
                .map(|()| Step::Handled { consumed: total }),
            _ => Err(unexpected(
                "a content type that has no place after the handshake",
            )),
        }
    }

    /// The level is meaningless; all but two alerts are fatal.
    //= RFC 8446 section 6: MUST be treated as error alerts when received regardless of the AlertLevel in the message.
    //= RFC 8446 section 6: Unknown Alert types MUST be treated as error alerts.
    fn on_alert(&mut self, content: &[u8], consumed: usize) -> Result<Step, Error> {
        if content.is_empty() {
            //= RFC 8446 section 5.4: Implementations MUST NOT send Handshake and Alert records that have a zero-length TLSInnerPlaintext.content; if such a message is received, the receiving implementation MUST terminate the connection with an "unexpected_message" alert.
            return Err(unexpected("an empty alert"));
        }
        let &[_level, description] = content else {
            return Err(Error::record(
                Alert::DECODE_ERROR,
                "an alert that is not two bytes long",
            ));
        };
        match Alert(description) {
            Alert::CLOSE_NOTIFY => {
                self.flags |= PEER_CLOSED;
                Ok(Step::CloseNotify { consumed })
            }
            Alert::USER_CANCELED => Ok(Step::Handled { consumed }),
            alert => Err(Error::PeerAlert(alert)),
        }
    }

    fn on_handshake(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let role = if self.flags & CLIENT != 0 {
            Role::Client
        } else {
            Role::Server
        };
        match self.messages.take(content, role)? {
            None => Ok(()),
            Some(KeyUpdate { requested }) => {
                self.rx.update(self.suite)?;
                self.rx_seq = 0;
                //= RFC 8446 section 4.6.3: If the request_update field is set to "update_requested", then the receiver MUST send a KeyUpdate of its own with request_update set to "update_not_requested" prior to sending its next Application Data record.
                if requested && self.flags & SEALED == 0 {
                    self.update_tx(out)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Changes the sending key at the caller's wish.
    pub(super) fn update_key(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.flags & SEALED != 0 {
            return Err(Error::Ended);
        }
        self.update_tx(out)
            .inspect_err(|error| self.fail(error, out))
    }

    /// Announces a KeyUpdate under the old key and switches.
    //= RFC 8446 section 4.6.3: Both sender and receiver MUST encrypt their KeyUpdate messages with the old keys.
    fn update_tx(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.send(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0], out)?;
        self.tx.update(self.suite)?;
        self.tx_seq = 0;
        Ok(())
    }

    /// Appends the records that carry `parts`, one after the other, as one run of bytes.
    pub(super) fn seal(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Error> {
        if self.flags & SEALED != 0 {
            return Err(Error::Ended);
        }
        self.seal_records(Gather::new(parts), out)
            .inspect_err(|error| self.fail(error, out))
    }

    fn seal_records(&mut self, mut gather: Gather<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut key = self.tx.aead(self.suite)?;
        while gather.left() > 0 {
            //= RFC 8446 section 5.5: Implementations SHOULD do a key update as described in Section 4.6.3 prior to reaching these limits.
            if self.tx_seq >= self.suite.records_per_key() {
                self.update_tx(out)?;
                key = self.tx.aead(self.suite)?;
            }
            let len = gather.left().min(FRAGMENT_MAX);
            let seq = self.tx_seq;
            self.tx_seq = next(seq)?;
            key.seal(seq, APPLICATION_DATA, len, out, |out| {
                gather.append(len, out)
            })?;
        }
        Ok(())
    }

    /// Appends close_notify, once. Nothing can be sealed after it.
    //= RFC 8446 section 6.1: Each party MUST send a "close_notify" alert before closing its write side of the connection, unless it has already sent some error alert.
    pub(super) fn close_notify(&mut self, out: &mut Vec<u8>) {
        self.alert(Alert::CLOSE_NOTIFY, out);
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        if let Some(alert) = error.alert() {
            self.alert(alert, out);
        }
        //= RFC 8446 section 6.2: Upon transmission or receipt of a fatal alert message, both parties MUST immediately close the connection.
        self.flags |= SEALED | FAILED;
    }

    fn alert(&mut self, alert: Alert, out: &mut Vec<u8>) {
        if self.flags & SEALED != 0 {
            return;
        }
        let level = if alert == Alert::CLOSE_NOTIFY { 1 } else { 2 };
        // Where even that fails, the session ends without a word.
        let _ = self.send(ALERT, &[level, alert.0], out);
        self.flags |= SEALED;
    }

    fn send(&mut self, typ: u8, content: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let seq = self.tx_seq;
        self.tx_seq = next(seq)?;
        let key = self.tx.aead(self.suite)?;
        key.seal(seq, typ, content.len(), out, |out| {
            out.extend_from_slice(content)
        })
    }

    /// Seals a record of any type and content, with padding: for tests and the fuzz entry, which
    /// play a peer that breaks the rules.
    pub(super) fn forge(&mut self, typ: u8, content: &[u8], padding: usize, out: &mut Vec<u8>) {
        // With padding the type stands in front of it, and a zero stands last.
        let len = content.len() + padding;
        let last = if padding > 0 { 0 } else { typ };
        let seq = self.tx_seq;
        self.tx_seq = seq.wrapping_add(1);
        let sealed = self.tx.aead(self.suite).and_then(|key| {
            key.seal(seq, last, len, out, |out| {
                out.extend_from_slice(content);
                if padding > 0 {
                    out.push(typ);
                    out.resize(out.len() + padding - 1, 0);
                }
            })
        });
        debug_assert!(sealed.is_ok(), "a forged record fits a record");
    }

    #[cfg(test)]
    pub(super) fn set_tx_seq(&mut self, seq: u64) {
        self.tx_seq = seq;
    }

    #[cfg(test)]
    pub(super) fn set_rx_seq(&mut self, seq: u64) {
        self.rx_seq = seq;
    }

    /// Appends [`Parked::BYTES`] bytes: version, suite, flags, count, message state, sequence
    /// numbers (little endian), rx and tx.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, self.suite as u8, self.flags, self.idle_records]);
        self.messages.write(out);
        out.extend_from_slice(&self.rx_seq.to_le_bytes());
        out.extend_from_slice(&self.tx_seq.to_le_bytes());
        self.rx.write(out);
        self.tx.write(out);
    }

    /// Reads what [`Parked::write`] wrote. `None` for another version, suite or length.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (&[version, suite, flags, idle_records], rest) = bytes.split_first_chunk()?;
        let suite = Suite::from_low_byte(suite)?;
        let fits = suite.secret_len() == SECRET;
        if version != VERSION || !fits || flags & !FLAGS != 0 || idle_records > IDLE_RECORDS_MAX {
            return None;
        }
        let (messages, rest) = rest.split_first_chunk()?;
        let (rx_seq, rest) = rest.split_first_chunk()?;
        let (tx_seq, rest) = rest.split_first_chunk()?;
        let (rx, tx) = rest.split_at_checked(Direction::<SECRET>::BYTES)?;
        Some(Self {
            rx_seq: u64::from_le_bytes(*rx_seq),
            tx_seq: u64::from_le_bytes(*tx_seq),
            rx: Direction::read(rx)?,
            tx: Direction::read(tx)?,
            suite,
            flags,
            idle_records,
            messages: Messages::read(*messages)?,
        })
    }
}

/// RFC 8446 section 5.3: a sequence number never wraps.
fn next(seq: u64) -> Result<u64, Error> {
    //= RFC 8446 section 5.3: If a TLS implementation would need to wrap a sequence number, it MUST either rekey (Section 4.6.3) or terminate the connection.
    seq.checked_add(1)
        .ok_or(Error::Internal("a sequence number would wrap"))
}

fn unexpected(why: &'static str) -> Error {
    Error::record(Alert::UNEXPECTED_MESSAGE, why)
}
