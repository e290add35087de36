//! A TLS 1.2 session, which stays inside of rustls: some 3,500 bytes, behind the same face as a
//! parked one.
//!
//! Few clients still need it, so it is simple rather than small: plaintext is copied out of rustls
//! and back over the record that it came in.

use super::parked::{IDLE_RECORDS_MAX, Step};
use super::record::{FRAGMENT_MAX, HEADER};
use super::rustls_conn::{Conn, Turn, judge};
use super::secrets::Heard;
use super::{Alert, Error, Gather};

/// Longest record body (RFC 5246 section 6.2.3).
const BODY_MAX: usize = FRAGMENT_MAX + 2048;

pub(super) struct Resident {
    conn: Conn,
    /// Nothing may be sealed any more.
    sealed: bool,
    failed: bool,
    peer_closed: bool,
    idle_records: u8,
}

impl Resident {
    pub(super) fn new(conn: Conn) -> Self {
        Self {
            conn,
            sealed: false,
            failed: false,
            peer_closed: false,
            idle_records: 0,
        }
    }

    /// Opens the record at the start of `input`; its data stands at the start of `input` then.
    pub(super) fn open(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<Step, Error> {
        if self.failed {
            return Err(Error::Ended);
        }
        if self.peer_closed {
            return Ok(Step::CloseNotify {
                consumed: input.len(),
            });
        }
        self.open_record(input, out).inspect_err(|_| {
            self.sealed = true;
            self.failed = true;
        })
    }

    fn open_record(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<Step, Error> {
        let &[_, _, _, high, low, ..] = &*input else {
            return Ok(Step::NeedMore { want: HEADER });
        };
        let body = usize::from(u16::from_be_bytes([high, low]));
        if body > BODY_MAX {
            return Err(self.refuse(Alert::RECORD_OVERFLOW, "a record above 18,432 bytes", out));
        }
        let total = HEADER + body;
        let Some(record) = input.get_mut(..total) else {
            return Ok(Step::NeedMore { want: total });
        };

        let mut plain = Vec::new();
        let used = self.look(record, &mut plain, out)?;
        if used != total {
            // A renegotiation in pieces: rustls keeps spans of this record and must not be called
            // again without it. So there is no alert: the connection just ends.
            self.sealed = true;
            return Err(Error::record(
                Alert::UNEXPECTED_MESSAGE,
                "a fragmented handshake message after the handshake",
            ));
        }
        if self.peer_closed {
            return Ok(Step::CloseNotify { consumed: total });
        }
        if plain.is_empty() {
            self.idle_records += 1;
            if self.idle_records > IDLE_RECORDS_MAX {
                let why = "a flood of records without data";
                return Err(self.refuse(Alert::UNEXPECTED_MESSAGE, why, out));
            }
            return Ok(Step::Handled { consumed: total });
        }
        self.idle_records = 0;
        record[..plain.len()].copy_from_slice(&plain);
        Ok(Step::Data {
            consumed: total,
            len: plain.len(),
        })
    }

    /// Shows one record to rustls until it has no more to say. Returns the bytes used up.
    fn look(
        &mut self,
        record: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let said = out.len();
            let (more, turn) =
                self.conn
                    .look(&mut record[used..], &mut Heard::default(), plain, out);
            used = record.len().min(used + more);
            match turn {
                Ok(Turn::Again) => {}
                Ok(Turn::PeerClosed) => self.peer_closed = true,
                Ok(Turn::Ready | Turn::Blocked) => return Ok(used),
                Err(error) => {
                    self.conn.drain(out);
                    return Err(judge(&error, &out[said..]));
                }
            }
        }
    }

    /// rustls sends no alert that it did not think of: the session ends with close_notify, and the
    /// error names the alert that it stands for.
    fn refuse(&mut self, alert: Alert, why: &'static str, out: &mut Vec<u8>) -> Error {
        self.close_notify(out);
        Error::record(alert, why)
    }

    pub(super) fn seal(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Error> {
        if self.sealed {
            return Err(Error::Ended);
        }
        let mut gather = Gather::new(parts);
        let mut fragment = Vec::with_capacity(gather.left().min(FRAGMENT_MAX));
        while gather.left() > 0 {
            fragment.clear();
            gather.append(FRAGMENT_MAX, &mut fragment);
            self.conn.encrypt(&fragment, out)?;
        }
        Ok(())
    }

    pub(super) fn close_notify(&mut self, out: &mut Vec<u8>) {
        if !self.sealed {
            self.sealed = true;
            // Without it the peer sees the connection end, which is all that can still be done.
            let _ = self.conn.close_notify(out);
        }
    }
}
