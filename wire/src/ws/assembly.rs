//! A message that came in pieces: its bytes so far, its UTF-8 state, its counts.
//!
//! Memory grows with the bytes that arrived, at most doubling, and never beyond what the frames
//! announced or the limit allows.

use std::borrow::Cow;

use super::header::Header;
use super::mask::apply_mask;
use super::{Error, Event, Limits};

#[derive(Debug)]
pub(super) struct Assembly {
    text: bool,
    bytes: Vec<u8>,
    /// Bytes known to be whole UTF-8 characters; at most three more are undecided.
    valid: usize,
    fragments: u32,
    controls: u32,
}

impl Assembly {
    pub(super) const fn new(text: bool) -> Self {
        Self {
            text,
            bytes: Vec::new(),
            valid: 0,
            fragments: 0,
            controls: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Counts one more frame of the message.
    pub(super) const fn count_fragment(&mut self, limits: &Limits) -> Result<(), Error> {
        self.fragments += 1;
        if self.fragments > limits.fragments_max {
            Err(Error::FragmentFlood)
        } else {
            Ok(())
        }
    }

    /// Counts one control frame between the message's frames.
    pub(super) const fn count_control(&mut self, limits: &Limits) -> Result<(), Error> {
        self.controls += 1;
        if self.controls > limits.controls_in_message_max {
            Err(Error::ControlFlood)
        } else {
            Ok(())
        }
    }

    /// Adds masked payload bytes of a frame of which `received` bytes came before.
    pub(super) fn append(
        &mut self,
        masked: &[u8],
        header: &Header,
        received: u64,
        limits: &Limits,
    ) -> Result<(), Error> {
        let start = self.bytes.len();
        let frame_left = (header.len - received) as usize;
        self.reserve(
            masked.len(),
            if header.fin {
                start + frame_left
            } else {
                limits.message_bytes_max
            },
        );
        self.bytes.extend_from_slice(masked);
        apply_mask(&mut self.bytes[start..], header.mask, received);
        if self.text { self.validate() } else { Ok(()) }
    }

    /// Room for `more` bytes: doubles, but not beyond `bound`.
    fn reserve(&mut self, more: usize, bound: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let target = needed.max(bound.min(2 * self.bytes.capacity()));
            self.bytes.reserve_exact(target - self.bytes.len());
        }
    }

    /// Fails as soon as no continuation could make the text UTF-8 (section 8.1). That it does not end
    /// within a character is for [`into_event`](Self::into_event) to see.
    fn validate(&mut self) -> Result<(), Error> {
        match str::from_utf8(&self.bytes[self.valid..]) {
            Ok(text) => self.valid += text.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            //= RFC 6455 section 8.1: When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_.
            Err(_) => return Err(Error::Utf8),
        }
        Ok(())
    }

    /// The whole message. The event owns the memory.
    pub(super) fn into_event(self) -> Result<Event<'static>, Error> {
        if !self.text {
            return Ok(Event::Binary(Cow::Owned(self.bytes)));
        }
        String::from_utf8(self.bytes)
            .map(|text| Event::Text(Cow::Owned(text)))
            .map_err(|_| Error::Utf8)
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::{Header, Opcode};
    use super::super::{Config, Role};
    use super::Assembly;

    #[test]
    fn memory_follows_what_arrived_and_ends_at_what_was_announced() {
        let limits = Config::echo(Role::Server).limits;
        let len = 1_000_003;
        let header = Header {
            fin: true,
            opcode: Opcode::Binary,
            len,
            mask: [1, 2, 3, 4],
        };
        let mut assembly = Assembly::new(false);
        let mut checked = 0;
        for received in (0..len).step_by(1000) {
            let chunk = vec![0; 1000.min(len - received) as usize];
            assembly.append(&chunk, &header, received, &limits).unwrap();
            let capacity = assembly.bytes.capacity();
            assert!(
                capacity <= 2 * assembly.len() && capacity <= len as usize,
                "{capacity}"
            );
            checked += 1;
        }
        assert_eq!((assembly.len() as u64, checked), (len, 1001));
        assert_eq!(assembly.bytes.capacity() as u64, len);
    }
}
