//! Our end of a connection: the handshake, then the engine, at rest whenever it can.

use std::net::SocketAddr;
use std::sync::Arc;

use rookery_quic::at_rest::AtRest;
use rookery_quic::cid::{CidKey, Place};
use rookery_quic::connection::{Awake, Connection, Context, Event};
use rookery_quic::frame::StreamId;
use rookery_quic::handshake::{Datagram, Done, Established, Handle, Handshakes};
use rookery_quic::packet::short_at;
use rookery_quic::parked::Parked;
use rookery_quic::streams::{Rest, StreamEvent, Windows};

use super::End;

struct Live {
    place: Place,
    parked: Parked,
    awake: Option<Box<Awake>>,
}

pub(crate) struct Ours {
    handshakes: Handshakes,
    key: Arc<CidKey>,
    windows: Windows,
    live: Option<Live>,
    out: Vec<Datagram>,
    /// A client's, until it is confirmed.
    handle: Option<Handle>,
    readable: Vec<u64>,
    closed: Option<String>,
    pub(crate) places: u32,
    pub(crate) rests: u32,
    pub(crate) answered_at_rest: u32,
    pub(crate) woken: u32,
    pub(crate) key_updates: u32,
    pub(crate) confirmed: bool,
}

impl Ours {
    pub(crate) fn new(handshakes: Handshakes, windows: Windows) -> Self {
        Self {
            key: handshakes.cid_key(),
            handshakes,
            windows,
            live: None,
            out: Vec::new(),
            handle: None,
            readable: Vec::new(),
            closed: None,
            places: 0,
            rests: 0,
            answered_at_rest: 0,
            woken: 0,
            key_updates: 0,
            confirmed: false,
        }
    }

    pub(crate) fn connect(&mut self, now: u64) {
        let to = super::SERVER.parse().unwrap();
        let place = place(77);
        let handle = self
            .handshakes
            .connect(now, to, "localhost", place, &mut self.out)
            .expect("a client");
        self.handle = Some(handle);
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Connection<'_>) -> T) -> Option<T> {
        let live = self.live.as_mut()?;
        let context = Context {
            key: &self.key,
            place: live.place,
            windows: self.windows,
        };
        let awake = live.awake.get_or_insert_with(|| {
            self.woken += 1;
            Box::new(Awake::wake(&live.parked, &context))
        });
        let mut connection = Connection {
            parked: &mut live.parked,
            awake,
            context,
        };
        let result = f(&mut connection);
        let mut events = Vec::new();
        while let Some(event) = connection.poll_event() {
            events.push(event);
        }
        for event in events {
            self.on_event(event);
        }
        Some(result)
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Stream(StreamEvent::Readable(id)) => self.readable.push(id.0),
            Event::Stream(_) => {}
            Event::Confirmed => {
                self.confirmed = true;
                if let Some(handle) = self.handle.take() {
                    self.handshakes.forget(handle);
                }
            }
            Event::Closed(why) => self.closed = Some(format!("{why:?}")),
        }
    }

    fn on_established(&mut self, now: u64, established: Established) {
        assert_eq!(established.alpn.as_deref(), Some(&b"rookery/1"[..]));
        if self.live.is_some() {
            // An Initial that came twice begins a second handshake, which never ends.
            panic!("two connections");
        }
        self.live = Some(Live {
            place: established.place,
            parked: established.parked,
            awake: Some(established.awake),
        });
        let from = self.live.as_ref().map(|live| live.parked.remote()).unwrap();
        for early in established.early {
            self.short(now, from, early);
        }
    }

    fn short(&mut self, now: u64, from: SocketAddr, mut datagram: Vec<u8>) {
        let Some(live) = self.live.as_mut() else {
            return;
        };
        if live.awake.is_some() {
            self.with(|connection| connection.handle_datagram(now, from, &mut datagram));
            return;
        }
        let context = Context {
            key: &self.key,
            place: live.place,
            windows: self.windows,
        };
        let mut answer = Vec::new();
        match live
            .parked
            .handle(&context, now, from, &mut datagram, &mut answer)
        {
            AtRest::Dropped => {}
            AtRest::Answered => {
                self.answered_at_rest += 1;
                let to = live.parked.remote();
                self.out.push(Datagram { to, bytes: answer });
            }
            AtRest::Wake(pending) => {
                self.woken += 1;
                let awake = pending.wake(&mut live.parked, context, now, from, &mut datagram);
                live.awake = Some(Box::new(awake));
                self.with(|_| {});
            }
            AtRest::Reset => self.closed = Some("reset".to_owned()),
        }
    }

    fn drain_done(&mut self, now: u64) {
        while let Some(done) = self.handshakes.poll_done() {
            match done {
                Done::Established(established) => self.on_established(now, *established),
                Done::Failed(_) if self.live.is_some() => {}
                Done::Failed(_) => self.closed = Some("handshake".to_owned()),
            }
        }
    }
}

fn place(slot: u32) -> Place {
    Place {
        shard: 1,
        shards: 3,
        slot,
        generation: 5,
    }
}

impl End for Ours {
    fn receive(&mut self, now: u64, from: SocketAddr, bytes: &[u8]) {
        let at = short_at(bytes);
        if at == 0 && self.live.is_some() {
            self.short(now, from, bytes.to_vec());
            return;
        }
        let had = self.live.is_some();
        let places = &mut self.places;
        let next = || {
            *places += 1;
            Some(place(*places))
        };
        self.handshakes
            .handle_datagram(now, from, bytes, next, &mut self.out);
        self.drain_done(now);
        if had && at < bytes.len() {
            self.short(now, from, bytes[at..].to_vec());
        }
    }

    fn transmit(&mut self, now: u64) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut datagrams: Vec<_> = self
            .out
            .drain(..)
            .map(|sent| (sent.to, sent.bytes))
            .collect();
        if self.live.as_ref().is_some_and(|live| live.awake.is_some()) {
            self.with(|connection| {
                let mut bytes = Vec::new();
                while let Some(to) = connection.poll_transmit(now, &mut bytes) {
                    assert!(bytes.len() <= 1_200);
                    datagrams.push((to, std::mem::take(&mut bytes)));
                }
            });
        }
        datagrams
    }

    fn timeout(&mut self) -> Option<u64> {
        let engine = self.live.as_mut().and_then(|live| match &mut live.awake {
            None => live.parked.idle_deadline(),
            Some(awake) => Connection {
                parked: &mut live.parked,
                awake,
                context: Context {
                    key: &self.key,
                    place: live.place,
                    windows: self.windows,
                },
            }
            .poll_timeout(),
        });
        engine
            .into_iter()
            .chain(self.handshakes.poll_timeout())
            .min()
    }

    fn handle_timeout(&mut self, now: u64) {
        self.handshakes.handle_timeout(now, &mut self.out);
        self.drain_done(now);
        let Some(live) = self.live.as_mut() else {
            return;
        };
        if live.awake.is_some() {
            self.with(|connection| connection.handle_timeout(now));
        } else if live.parked.idle_deadline().is_some_and(|at| at <= now) {
            self.closed = Some("idle".to_owned());
        }
    }

    fn is_connected(&self) -> bool {
        self.live.is_some() && self.closed.is_none()
    }

    fn readable(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.readable)
    }

    fn open(&mut self) -> Option<u64> {
        self.with(|connection| connection.open(false))
            .flatten()
            .map(|id| id.0)
    }

    fn write(&mut self, id: u64, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        self.with(|connection| connection.write(StreamId(id), bytes))
            .flatten()
            .expect("a stream that takes bytes")
    }

    fn finish(&mut self, id: u64) {
        self.with(|connection| connection.finish(StreamId(id)));
    }

    fn read(&mut self, id: u64, out: &mut Vec<u8>) -> bool {
        self.with(|connection| {
            loop {
                match connection.read(StreamId(id), 3_000, out) {
                    Some((0, Rest::Open)) | None => return false,
                    Some((_, Rest::Open)) => {}
                    Some((_, rest)) => return rest == Rest::Finished,
                }
            }
        })
        .unwrap_or(false)
    }

    fn update_keys(&mut self) {
        let turned = self.with(|connection| connection.update_keys());
        self.key_updates += u32::from(turned == Some(true));
    }

    fn ping(&mut self) {
        self.with(|connection| connection.ping());
    }

    /// Through bytes, as if to another process.
    fn rest(&mut self) {
        let Some(true) = self
            .live
            .as_ref()
            .map(|live| live.awake.is_some() && self.closed.is_none())
        else {
            return;
        };
        if self.with(|connection| connection.park()) == Some(true)
            && let Some(live) = self.live.as_mut()
        {
            let mut bytes = Vec::new();
            live.parked.write(&mut bytes);
            assert_eq!(bytes.len(), Parked::BYTES);
            live.parked = Parked::read(&bytes).expect("what was written");
            live.awake = None;
            self.rests += 1;
        }
    }

    fn close(&mut self, now: u64) {
        self.with(|connection| connection.close(7, b"done", now));
    }

    fn closed(&self) -> Option<String> {
        self.closed.clone()
    }
}
