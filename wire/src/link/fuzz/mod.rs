//! Properties of a link that the fuzz target and the property tests share: the whole way of a connection's
//! bytes, through TLS, HTTP and frames, however they are cut, whenever the receiver stops, and whether or not
//! the link is made anew while it is at rest.

mod cuts;

use super::{Config, Error, Flow, Link, Masks, Pongs, Receiver, Stage, Writer};
use crate::tls::{self, Role, Suite};
use crate::ws::{self, upgrade};
use cuts::Cuts;

/// Longest record that may be held because it is not whole.
const RECORD_MAX: usize = 5 + (1 << 14) + 256;

/// Most bytes of a message.
const MESSAGE_MAX: usize = 1 << 14;

/// An empty frame of a client takes 6 bytes; its echo, sealed, 24. What is said besides (an HTTP answer, a close
/// frame with its reason, an alert, a close_notify) is said once.
const ANSWER_RATIO: usize = 4;
const ANSWER_ONCE: usize = 1_024;

/// A request that every server here accepts, and the answer to it.
const REQUEST: upgrade::ClientRequest<'_> = upgrade::ClientRequest {
    host: "localhost",
    path: "/",
    key: [7; 16],
    subprotocol: Some(crate::proto::SUBPROTOCOL),
};

/// Hands `data[3..]` to a link whole, byte by byte and in pieces chosen by `data[..3]`, in the clear or sealed
/// with keys that anybody knows, and holds the three against each other.
///
/// # Panics
/// Where two ways disagree, where more is held than one record or one message, or where more is answered than
/// is in proportion: that is what a fuzzer looks for.
pub fn check(data: &[u8]) {
    let Some((&[flags, seed, damage], input)) = data.split_first_chunk::<3>() else {
        return;
    };
    let form = Form::of(flags);
    let mut stream = form.head();
    stream.extend_from_slice(input);
    let Some(stream) = form.on_the_wire(&stream, seed, damage) else {
        return;
    };
    let whole = form.run(&stream, &mut Cuts::whole());
    for cuts in [&mut Cuts::of(1, seed), &mut Cuts::of(23, seed)] {
        let mut pieces = form.run(&stream, cuts);
        let (said, also) = (&whole.said.plain, &mut pieces.said.plain);
        if matches!(whole.outcome, Err(Error::Tls(_))) && also.starts_with(said) {
            // What was to share a record with the alert is not said any more.
            also.truncate(said.len());
        }
        // A head that cannot become one is refused when it is looked at, which a piece need not bring about.
        let not_yet = pieces.is_reading_head()
            && matches!(whole.outcome, Err(Error::Request(_) | Error::Response(_)));
        assert!(
            not_yet || whole == pieces,
            "whole {whole:?}, in pieces {pieces:?}"
        );
    }
}

/// Two links shake hands in memory and talk, their bytes cut by `data`, and one of them damaged where it says so.
///
/// # Panics
/// Where something arrives that was not sent; where something undamaged does not arrive.
pub fn check_handshake(data: &[u8], server: &tls::ServerConfig, client: &tls::ClientConfig) {
    let Some((&[flags, seed, low, high], sizes)) = data.split_first_chunk::<4>() else {
        return;
    };
    let mut cuts = Cuts::of(1 + usize::from(seed) * 8, seed);
    let mut out = Vec::new();
    let (Ok(hello), Ok(shake)) = (
        tls::Handshake::client(client, "localhost", &mut out),
        tls::Handshake::server(server),
    ) else {
        return;
    };
    let mut ends = [
        End::new(
            Form::of(0b10),
            Link::connect(Some(hello), &REQUEST, &mut out),
        ),
        End::new(Form::of(0b00), Link::accept(Some(shake))),
    ];
    ends[0].out = out;
    // The direction and the place; half of the inputs are not damaged.
    let damaged = (flags & 1 != 0).then_some(usize::from(flags >> 1 & 1));
    let mut place = usize::from(u16::from_le_bytes([low, high])) % 8_192;
    if flags & 4 != 0 {
        // Nobody's bytes.
        ends[1].take(sizes, &mut cuts);
        assert!(ends[1].out.len() <= tls::CLIENT_BYTES_MAX && ends[1].seen.events.is_empty());
        return;
    }
    let mut sent = Vec::new();
    let mut sizes = sizes.iter().take(8);
    loop {
        let mut is_silent = true;
        for from in [0, 1] {
            let mut bytes = std::mem::take(&mut ends[from].out);
            is_silent &= bytes.is_empty();
            if damaged == Some(from) && place < bytes.len() {
                bytes[place] ^= flags | 1;
            }
            place = if damaged == Some(from) {
                place.wrapping_sub(bytes.len())
            } else {
                place
            };
            ends[1 - from].take(&bytes, &mut cuts);
        }
        if !is_silent {
            continue;
        }
        let Some(size) = sizes
            .next()
            .filter(|_| ends[0].link.is_open() && ends[0].outcome.is_ok())
        else {
            break;
        };
        let message = vec![*size; usize::from(*size) * 64];
        ends[0].say(&message);
        sent.push(ws::Event::Binary(message.into()));
    }
    let [client, server] = ends;
    assert!(
        sent.starts_with(&server.seen.events),
        "what was not sent arrived"
    );
    assert!(
        server.seen.events.starts_with(&client.seen.events),
        "an echo of nothing"
    );
    if damaged.is_none() {
        assert_eq!((&client.outcome, &server.outcome), (&Ok(()), &Ok(())));
        assert_eq!(client.seen.events, sent);
        assert!(client.link.is_at_rest() && server.link.is_at_rest());
    }
}

/// What kind of link an input is for.
#[derive(Clone, Copy)]
struct Form {
    role: Role,
    is_sealed: bool,
    /// The peer's head is a good one, and the input begins behind it.
    is_upgraded: bool,
    echoes: bool,
}

impl Form {
    fn of(flags: u8) -> Self {
        Self {
            role: if flags & 2 == 0 {
                Role::Server
            } else {
                Role::Client
            },
            is_sealed: flags & 1 != 0,
            is_upgraded: flags & 4 != 0,
            echoes: flags & 8 == 0,
        }
    }

    /// What the peer says first.
    fn head(self) -> Vec<u8> {
        let mut head = Vec::new();
        if self.is_upgraded {
            REQUEST.encode(&mut head);
            if self.role == Role::Client
                && let Ok(Some((_, request))) = upgrade::Server::CHAT.parse(&head)
            {
                head.clear();
                request.accept(&mut head);
            }
        }
        head
    }

    /// The peer's plaintext as it travels: as it is, or in records of changing sizes and keys, the last of which
    /// may be damaged.
    fn on_the_wire(self, plain: &[u8], seed: u8, damage: u8) -> Option<Vec<u8>> {
        if !self.is_sealed {
            return Some(plain.to_vec());
        }
        let mut peer = tls::fuzz::fixed(Suite::Aes128GcmSha256, other(self.role))?;
        let mut cuts = Cuts::of(61, seed);
        let (mut wire, mut rest) = (Vec::new(), plain);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.size().min(rest.len()));
            peer.seal(now, &mut wire).ok()?;
            if cuts.happens(5) {
                peer.update_key(&mut wire).ok()?;
            }
            rest = later;
        }
        match damage {
            0 => peer.close_notify(&mut wire),
            1 => peer.seal(&[], &mut wire).ok()?,
            damage if damage & 1 == 0 => {
                let at = wire.len().checked_sub(1 + usize::from(damage))?;
                wire[at] ^= damage;
            }
            _ => {}
        }
        Some(wire)
    }

    fn run(self, stream: &[u8], cuts: &mut Cuts) -> Ran {
        let link = match self.role {
            Role::Server => Link::accept(None),
            Role::Client => Link::connect(None, &REQUEST, &mut Vec::new()),
        };
        let mut end = End::new(self, link);
        end.session = self
            .is_sealed
            .then(|| tls::fuzz::fixed(Suite::Aes128GcmSha256, self.role))
            .flatten();
        end.take(stream, cuts);
        assert!(
            end.out.len() <= ANSWER_RATIO * stream.len() + ANSWER_ONCE,
            "{} bytes in answer to {}",
            end.out.len(),
            stream.len()
        );
        Ran {
            held: end.outcome.is_ok().then(|| end.link.held()),
            events: end.seen.events,
            outcome: end.outcome,
            said: self.said(end.out),
            opened: end.seen.opened,
        }
    }

    /// What the peer reads. Which records it comes in is the cuts' to say: answers of one read share one.
    fn said(self, mut out: Vec<u8>) -> Said {
        let mut said = Said::default();
        let Some(mut peer) =
            tls::fuzz::fixed(Suite::Aes128GcmSha256, other(self.role)).filter(|_| self.is_sealed)
        else {
            said.plain = out;
            return said;
        };
        let mut rest = &mut out[..];
        while !rest.is_empty() && said.end.is_none() {
            let consumed = match peer.open(rest, &mut Vec::new()) {
                Ok(tls::Opened::Data { consumed, data }) => {
                    said.plain.extend_from_slice(data);
                    consumed
                }
                Ok(tls::Opened::Handled { consumed }) => consumed,
                Ok(tls::Opened::CloseNotify { consumed }) => {
                    said.end = Some(Ok(()));
                    consumed
                }
                Ok(tls::Opened::NeedMore { .. }) => panic!("half a record is sent"),
                Err(error) => {
                    said.end = Some(Err(error));
                    0
                }
            };
            rest = &mut std::mem::take(&mut rest)[consumed..];
        }
        said
    }
}

fn other(role: Role) -> Role {
    match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    }
}

/// What came of a run.
#[derive(Debug, PartialEq)]
struct Ran {
    events: Vec<ws::Event<'static>>,
    outcome: Result<(), Error>,
    said: Said,
    opened: bool,
    /// Of a link that has not ended.
    held: Option<Held>,
}

/// What was answered, and how it ended where the session was sealed and has ended.
#[derive(Debug, Default, PartialEq)]
struct Said {
    plain: Vec<u8>,
    end: Option<Result<(), tls::Error>>,
}

impl Ran {
    fn is_reading_head(&self) -> bool {
        !self.opened && self.outcome.is_ok()
    }
}

/// Bytes that a link keeps for later.
#[derive(Debug, PartialEq)]
struct Held {
    cipher: usize,
    plain: usize,
    head: usize,
}

impl Link {
    fn held(&self) -> Held {
        let head = match &self.stage {
            Stage::Tls { .. } | Stage::Open => 0,
            Stage::Head(head) => head.held(),
        };
        Held {
            cipher: self.cipher.len(),
            plain: self.plain.len(),
            head,
        }
    }
}

/// One end while it runs.
struct End {
    form: Form,
    link: Link,
    session: Option<tls::Session>,
    masks: Option<Masks>,
    out: Vec<u8>,
    seen: Seen,
    outcome: Result<(), Error>,
}

impl End {
    fn new(form: Form, link: Link) -> Self {
        Self {
            form,
            link,
            session: None,
            masks: (form.role == Role::Client).then(|| Masks::new(3)),
            out: Vec::new(),
            seen: Seen {
                events: Vec::new(),
                opened: false,
                echoes: form.echoes && form.role == Role::Server,
                stops: false,
            },
            outcome: Ok(()),
        }
    }

    fn say(&mut self, payload: &[u8]) {
        Writer::new(self.session.as_mut(), self.masks.as_mut(), &mut self.out)
            .message(ws::Opcode::Binary, payload);
    }

    /// Takes all of it in pieces, as a session does: what a stopped link kept is asked for later, and what comes
    /// meanwhile is kept too.
    fn take(&mut self, mut bytes: &[u8], cuts: &mut Cuts) {
        let mut flow = Flow::Continue;
        while !bytes.is_empty() && self.outcome.is_ok() {
            let (piece, later) = bytes.split_at(cuts.size().min(bytes.len()));
            bytes = later;
            if flow == Flow::Stop && cuts.happens(3) {
                self.link.keep(piece);
                continue;
            }
            flow = self.feed(piece, cuts);
        }
        while flow == Flow::Stop && self.outcome.is_ok() {
            flow = self.feed(&[], cuts);
        }
    }

    fn feed(&mut self, piece: &[u8], cuts: &mut Cuts) -> Flow {
        let role = match self.form.role {
            Role::Server => ws::Role::Server,
            Role::Client => ws::Role::Client,
        };
        let config = Config {
            frames: ws::Config::binary(role, MESSAGE_MAX),
            server: upgrade::Server::CHAT,
            // Which is the latest of those that came at once depends on the cuts.
            pongs: Pongs::Each,
        };
        self.seen.stops = cuts.happens(4);
        let (events, was_open) = (self.seen.events.len(), self.seen.opened);
        let fed = self.link.feed(
            &config,
            &mut self.session,
            self.masks.as_mut(),
            &mut self.out,
            &mut self.seen,
            &mut piece.to_vec(),
        );
        let is_new = self.seen.events.len() > events || self.seen.opened != was_open;
        match fed {
            Ok(Flow::Continue) => {
                let held = self.link.held();
                assert_eq!(held.plain, 0, "plaintext is left that nobody stopped");
                assert!(
                    held.cipher < RECORD_MAX && (self.session.is_some() || held.cipher == 0),
                    "{held:?}"
                );
                assert!(held.head < upgrade::HEAD_BYTES_MAX, "{held:?}");
                if self.link.is_at_rest() && cuts.happens(2) {
                    self.link = Link::open();
                }
                Flow::Continue
            }
            Ok(Flow::Stop) => {
                assert!(is_new, "stopped with nothing handed up");
                Flow::Stop
            }
            Err(error) => {
                self.outcome = Err(error);
                Flow::Continue
            }
        }
    }
}

/// Records what was handed up; a server's says everything back.
struct Seen {
    events: Vec<ws::Event<'static>>,
    opened: bool,
    echoes: bool,
    stops: bool,
}

impl Receiver for Seen {
    fn on_open(&mut self, _: &mut Writer<'_>) -> Flow {
        assert!(!self.opened, "opened twice");
        self.opened = true;
        self.flow()
    }

    fn on_event(&mut self, writer: &mut Writer<'_>, event: ws::Event<'_>) -> Flow {
        assert!(self.opened, "an event before the opening");
        if let ws::Event::Binary(bytes) = &event
            && self.echoes
        {
            writer.message(ws::Opcode::Binary, bytes);
        }
        self.events.push(event.into_owned());
        self.flow()
    }
}

impl Seen {
    fn flow(&self) -> Flow {
        if self.stops {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
}
