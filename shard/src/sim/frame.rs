//! The requests of the simulated clients: every byte follows from the client's number and the
//! request's, so that a lost, doubled, changed or misplaced byte is seen wherever it is looked at.
//!
//! Layout, big-endian: total length u16, command u8, argument u8, client u32, sequence u32, then the
//! pattern. The server sends each request back as it came.

use super::rng::mix;

/// Bytes in front of the pattern.
pub(super) const HEADER: usize = 12;

/// The longest request.
pub(super) const FRAME_MAX: usize = 400;

/// What the server is asked to do besides the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Nothing.
    Echo,
    /// Move the connection to the shard of the argument (modulo their number).
    Move,
    /// Close when everything has been sent.
    CloseFlush,
    /// Close without ado.
    CloseNow,
    /// Set a deadline after [`Frame::wait_ns`]; nothing happens when it fires.
    Deadline,
    /// The same, and close with a flush when it fires.
    DeadlineClose,
    /// Mail the shard of the argument.
    Mail,
}

const COMMANDS: [Command; 7] = [
    Command::Echo,
    Command::Move,
    Command::CloseFlush,
    Command::CloseNow,
    Command::Deadline,
    Command::DeadlineClose,
    Command::Mail,
];

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// All bytes, header included: [`HEADER`] to [`FRAME_MAX`].
    pub(super) len: usize,
    /// What to do.
    pub(super) command: Command,
    /// The command's argument.
    pub(super) argument: u8,
    /// The client.
    pub(super) peer: u32,
    /// Which of its requests, from 0.
    pub(super) seq: u32,
}

impl Frame {
    /// Its bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        bytes.extend((self.len as u16).to_be_bytes());
        bytes.extend([self.command as u8, self.argument]);
        bytes.extend(self.peer.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend((HEADER..self.len).map(|at| self.pattern(at)));
        bytes
    }

    /// How far away its deadline is: up to 2 s, or up to 65 s.
    pub(super) fn wait_ns(&self) -> u64 {
        let argument = u64::from(self.argument);
        let ms = if argument.is_multiple_of(2) {
            argument * 8
        } else {
            argument * argument
        };
        ms * 1_000_000
    }

    fn pattern(&self, at: usize) -> u8 {
        mix(u64::from(self.peer) << 40 ^ u64::from(self.seq) << 12 ^ at as u64) as u8
    }

    /// The request at the front of `bytes`: nothing while it is incomplete, an error where no client
    /// can have sent it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Frame>, &'static str> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        let frame = Frame {
            len: usize::from(u16::from_be_bytes([header[0], header[1]])),
            command: *COMMANDS
                .get(usize::from(header[2]))
                .ok_or("no such command")?,
            argument: header[3],
            peer: number(4),
            seq: number(8),
        };
        if !(HEADER..=FRAME_MAX).contains(&frame.len) {
            return Err("no such length");
        }
        let Some(whole) = bytes.get(..frame.len) else {
            return Ok(None);
        };
        let same = (HEADER..frame.len).all(|at| whole[at] == frame.pattern(at));
        if same {
            Ok(Some(frame))
        } else {
            Err("pattern differs")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checks of the whole simulation rest on this: no byte can change unseen.
    #[test]
    fn every_changed_byte_is_seen() {
        let (command, argument) = (Command::Move, 7);
        let frame = Frame {
            len: 60,
            command,
            argument,
            peer: 3,
            seq: 9,
        };
        let bytes = frame.encode();
        assert_eq!(Frame::decode(&bytes), Ok(Some(frame)));
        assert_eq!(Frame::decode(&bytes[..59]), Ok(None));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_ne!(Frame::decode(&changed), Ok(Some(frame)), "byte {at}");
        }
    }
}
