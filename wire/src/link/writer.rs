//! The way out: messages framed, masked where a client speaks, sealed where there is TLS, appended to
//! one buffer, so that all answers to one read leave in one send, and, where the writer gathers them, in
//! few records.

use crate::proto::CloseCode;
use crate::tls;
use crate::ws;

/// Mask keys for a client's frames (RFC 6455 section 5.3): splitmix64 from a seed.
///
/// The standard wants unpredictable keys to protect proxies from scripts in browsers; a program that
/// chooses its own bytes has nothing to gain from guessing them.
#[derive(Clone, Debug)]
pub struct Masks(u64);

impl Masks {
    /// Different seeds give different keys.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next_key(&mut self) -> [u8; 4] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) as u32).to_le_bytes()
    }
}

/// Bytes of frames that share a record: some forty pongs. What is longer has records of its own.
const GATHERED_MAX: usize = 512;

/// Frames that are to be sealed together.
struct Gathered {
    bytes: [u8; GATHERED_MAX],
    len: usize,
}

/// See the module.
pub struct Writer<'a> {
    session: Option<&'a mut tls::Session>,
    masks: Option<&'a mut Masks>,
    out: &'a mut Vec<u8>,
    /// None where each frame is sealed at once.
    gathered: Option<Gathered>,
    /// A close frame was written: nothing may follow it (RFC 6455 section 5.5.1).
    closed: bool,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`: sealed with the session where there is one, and a client's
    /// where there are masks.
    pub fn new(
        session: Option<&'a mut tls::Session>,
        masks: Option<&'a mut Masks>,
        out: &'a mut Vec<u8>,
    ) -> Self {
        Self {
            session,
            masks,
            out,
            gathered: None,
            closed: false,
        }
    }

    /// The same for several messages, which share their records: a record of a few bytes costs as much
    /// as one of a hundred. What is written stands in `out` once the writer is gone.
    pub fn gathering(
        session: Option<&'a mut tls::Session>,
        masks: Option<&'a mut Masks>,
        out: &'a mut Vec<u8>,
    ) -> Self {
        let mut writer = Self::new(session, masks, out);
        writer.gathered = Some(Gathered {
            bytes: [0; GATHERED_MAX],
            len: 0,
        });
        writer
    }

    /// One whole message, or a control frame.
    pub fn message(&mut self, opcode: ws::Opcode, payload: &[u8]) {
        match &mut self.masks {
            Some(masks) => {
                //= RFC 6455 section 5.1: a client MUST mask all frames that it sends to the server
                let mask = masks.next_key();
                let mut frame = Vec::new();
                ws::encode_message(opcode, payload, Some(mask), &mut frame);
                self.raw(&[&frame]);
            }
            None => {
                //= RFC 6455 section 5.1: A server MUST NOT mask any frames that it sends to the client.
                let header = ws::encode_header(opcode, true, payload.len(), None);
                self.raw(&[header.as_bytes(), payload]);
            }
        }
    }

    /// A close frame with a code (RFC 6455 section 5.5.1).
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.close_frame(Some(code), reason);
    }

    /// The answer to a close frame: the same code, or none where there was none.
    pub fn close_back(&mut self, code: Option<CloseCode>) {
        self.close_frame(code, "");
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    fn close_frame(&mut self, code: Option<CloseCode>, reason: &str) {
        self.closed = true;
        let mask = self.masks.as_mut().map(|masks| masks.next_key());
        let mut frame = Vec::new();
        ws::encode_close(code, reason, mask, &mut frame);
        self.raw(&[&frame]);
    }

    /// The end of the stream: a TLS close_notify (RFC 8446 section 6.1), or nothing without TLS.
    pub fn end(&mut self) {
        self.flush();
        if let Some(session) = &mut self.session {
            session.close_notify(self.out);
        }
    }

    /// Bytes of the stream as they are (whole frames that were encoded before), given in parts.
    pub fn raw(&mut self, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let is_full = |gathered: &Gathered| len > GATHERED_MAX - gathered.len;
        if self.gathered.as_ref().is_some_and(is_full) {
            self.flush();
        }
        if let (Some(gathered), Some(_)) = (&mut self.gathered, &self.session)
            && len <= GATHERED_MAX
        {
            for part in parts {
                gathered.bytes[gathered.len..][..part.len()].copy_from_slice(part);
                gathered.len += part.len();
            }
            return;
        }
        match &mut self.session {
            // An ended session has said its last words; there is nobody left to tell.
            Some(session) => drop(session.seal_parts(parts, self.out)),
            None => parts
                .iter()
                .for_each(|part| self.out.extend_from_slice(part)),
        }
    }

    /// Seals what was gathered.
    fn flush(&mut self) {
        if let (Some(gathered), Some(session)) = (&mut self.gathered, &mut self.session)
            && gathered.len > 0
        {
            drop(session.seal_parts(&[&gathered.bytes[..gathered.len]], self.out));
            gathered.len = 0;
        }
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.session.is_some()
    }

    /// Opens the record in front of `cipher`. Without TLS there are no records.
    pub(super) fn open<'c>(&mut self, cipher: &'c mut [u8]) -> Result<tls::Opened<'c>, tls::Error> {
        match &mut self.session {
            Some(session) => session.open(cipher, self.out),
            None => Ok(tls::Opened::NeedMore { want: 0 }),
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
