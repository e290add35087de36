//! quinn-proto's end of a connection, as it is published.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event, Side, StreamEvent, StreamId,
    VarInt,
};

use super::End;

pub(crate) struct Quinn {
    endpoint: Endpoint,
    live: Option<(ConnectionHandle, Connection)>,
    out: Vec<(SocketAddr, Vec<u8>)>,
    base: Instant,
    is_connected: bool,
    readable: Vec<u64>,
    closed: Option<String>,
}

fn number(id: StreamId) -> u64 {
    let uni = u64::from(id.dir() == Dir::Uni);
    let server = u64::from(id.initiator() == Side::Server);
    id.index() << 2 | uni << 1 | server
}

fn stream(id: u64) -> StreamId {
    let side = if id & 1 == 0 {
        Side::Client
    } else {
        Side::Server
    };
    let dir = if id & 2 == 0 { Dir::Bi } else { Dir::Uni };
    StreamId::new(side, dir, id >> 2)
}

impl Quinn {
    pub(crate) fn new(endpoint: Endpoint, base: Instant) -> Self {
        Self {
            endpoint,
            live: None,
            out: Vec::new(),
            base,
            is_connected: false,
            readable: Vec::new(),
            closed: None,
        }
    }

    pub(crate) fn connect(&mut self, now: u64, config: quinn_proto::ClientConfig) {
        let to = super::SERVER.parse().unwrap();
        let at = self.instant(now);
        self.live = Some(self.endpoint.connect(at, config, to, "localhost").unwrap());
    }

    fn instant(&self, now: u64) -> Instant {
        self.base + Duration::from_micros(now)
    }

    fn settle(&mut self) {
        let Some((handle, connection)) = &mut self.live else {
            return;
        };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(back) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(back);
            }
        }
        while let Some(event) = connection.poll() {
            match event {
                Event::Connected => self.is_connected = true,
                Event::ConnectionLost { reason } => self.closed = Some(reason.to_string()),
                Event::Stream(StreamEvent::Readable { id }) => self.readable.push(number(id)),
                Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                    while let Some(id) = connection.streams().accept(Dir::Bi) {
                        self.readable.push(number(id));
                    }
                }
                _ => {}
            }
        }
    }

    fn connection(&mut self) -> &mut Connection {
        &mut self.live.as_mut().expect("a connection").1
    }
}

impl End for Quinn {
    fn receive(&mut self, now: u64, from: SocketAddr, bytes: &[u8]) {
        let at = self.instant(now);
        let mut answer = Vec::new();
        let event = self
            .endpoint
            .handle(at, from, None, None, BytesMut::from(bytes), &mut answer);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some((ours, connection)) = &mut self.live
                    && *ours == handle
                {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                if self.live.is_some() {
                    self.endpoint.ignore(incoming);
                } else if let Ok(live) = self.endpoint.accept(incoming, at, &mut answer, None) {
                    self.live = Some(live);
                }
            }
            Some(DatagramEvent::Response(transmit)) => {
                answer.truncate(transmit.size);
                self.out.push((transmit.destination, answer));
            }
            None => {}
        }
        self.settle();
    }

    fn transmit(&mut self, now: u64) -> Vec<(SocketAddr, Vec<u8>)> {
        let at = self.instant(now);
        let mut out = std::mem::take(&mut self.out);
        if let Some((_, connection)) = &mut self.live {
            let mut bytes = Vec::new();
            while let Some(transmit) = connection.poll_transmit(at, 1, &mut bytes) {
                bytes.truncate(transmit.size);
                out.push((transmit.destination, std::mem::take(&mut bytes)));
            }
        }
        self.settle();
        out
    }

    fn timeout(&mut self) -> Option<u64> {
        let base = self.base;
        let at = self.live.as_mut()?.1.poll_timeout()?;
        Some((at - base).as_nanos().div_ceil(1_000) as u64)
    }

    fn handle_timeout(&mut self, now: u64) {
        let at = self.instant(now);
        if let Some((_, connection)) = &mut self.live {
            connection.handle_timeout(at);
        }
        self.settle();
    }

    fn is_connected(&self) -> bool {
        self.is_connected && self.closed.is_none()
    }

    fn readable(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.readable)
    }

    fn open(&mut self) -> Option<u64> {
        self.connection().streams().open(Dir::Bi).map(number)
    }

    fn write(&mut self, id: u64, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        match self.connection().send_stream(stream(id)).write(bytes) {
            Ok(len) => len,
            Err(quinn_proto::WriteError::Blocked) => 0,
            Err(error) => panic!("write to {id}: {error}"),
        }
    }

    fn finish(&mut self, id: u64) {
        self.connection().send_stream(stream(id)).finish().unwrap();
    }

    fn read(&mut self, id: u64, out: &mut Vec<u8>) -> bool {
        let mut recv = self.connection().recv_stream(stream(id));
        let Ok(mut chunks) = recv.read(true) else {
            return false;
        };
        let ended = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => out.extend_from_slice(&chunk.bytes),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        let _ = chunks.finalize();
        ended
    }

    fn update_keys(&mut self) {
        self.connection().force_key_update();
    }

    fn ping(&mut self) {
        self.connection().ping();
    }

    fn rest(&mut self) {}

    fn close(&mut self, now: u64) {
        let at = self.instant(now);
        self.connection()
            .close(at, VarInt::from_u32(7), bytes::Bytes::from_static(b"done"));
    }

    fn closed(&self) -> Option<String> {
        let quinn = self
            .live
            .as_ref()
            .is_some_and(|(_, connection)| connection.is_closed());
        self.closed
            .clone()
            .or_else(|| quinn.then(|| "closed by us".to_owned()))
    }
}
