//! A handler whose behaviour the peer chooses by the first byte, and what the ring tests share.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rookery_shard::mailbox::Capacity;
use rookery_shard::{
    Cause, Close, Config, ConnId, Counters, Handler, JoinError, Origin, Postboxes, Running,
    SendError, Shard, Stopper, mailbox, start,
};

/// What a connection does, by the first byte that it got.
pub(crate) const ECHO: u8 = b'e';
/// Answers each byte by as many MiB, paced by `on_drained`, without ever passing the queue's bound.
pub(crate) const FLOOD: u8 = b'f';
/// Sends until the queue refuses, then closes at once.
pub(crate) const OVERFLOW: u8 = b'o';
/// Echoes, and moves to the other shard after each batch of bytes.
pub(crate) const WANDER: u8 = b'w';
/// Answers "bye" and closes, whatever comes behind.
pub(crate) const GOODBYE: u8 = b'g';
/// Answers the address that the engine says it comes from.
pub(crate) const WHENCE: u8 = b'a';
/// Answers how many connections have closed until now, 8 bytes little-endian, for each batch of bytes.
pub(crate) const TALLY: u8 = b't';
/// Panics.
pub(crate) const PANIC: u8 = b'p';
/// Says "late" after 50 ms.
pub(crate) const LATER: u8 = b'l';
/// Echoes, and reads nothing for 20 ms after each batch of bytes.
pub(crate) const HOLD: u8 = b'h';

#[derive(Default)]
pub(crate) struct Conn {
    mode: u8,
    from: Option<SocketAddr>,
    /// Bytes that are still to be produced.
    owed: usize,
    /// Messages that a client-side connection has still to get.
    pub(crate) token: u64,
}

/// What happened, over all shards.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) opened: AtomicU64,
    pub(crate) arrived: AtomicU64,
    pub(crate) departed: AtomicU64,
    pub(crate) move_failed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) connected_back: AtomicU64,
    pub(crate) mails: AtomicU64,
    pub(crate) stops: AtomicU64,
    pub(crate) progressed: AtomicU64,
    pub(crate) closed: Mutex<Vec<Cause>>,
    pub(crate) connect_failed: Mutex<Vec<(u64, i32)>>,
}

pub(crate) enum Mail {
    /// Connect there.
    Connect(SocketAddr, u64),
    /// Accept so many and no more, at each look.
    Accepts(u32),
    /// Only count it.
    Count,
    /// Count it, and do nothing until the other end is gone.
    Block(Receiver<()>),
}

pub(crate) struct Peer {
    pub(crate) seen: Arc<Seen>,
    /// Accepts that are left.
    pub(crate) accepts: Option<u32>,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

const PIECE: usize = 64 << 10;

impl Peer {
    fn flood(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        while shard.conn(conn).is_some_and(|c| c.owed > 0) {
            if shard.queue_bytes(conn) + PIECE > 512 << 10 {
                return;
            }
            shard.send(conn, vec![b'x'; PIECE]).unwrap();
            if let Some(c) = shard.conn(conn) {
                c.owed -= PIECE;
            }
        }
    }

    fn react(&mut self, shard: &mut Shard<Self>, conn: ConnId, mode: u8, bytes: &[u8]) {
        match mode {
            ECHO | WANDER => {
                shard.send(conn, bytes.to_vec()).unwrap();
                if mode == WANDER {
                    let next = (shard.id() + 1) % shard.shards();
                    shard.move_to(conn, next);
                }
            }
            HOLD => {
                shard.send(conn, bytes.to_vec()).unwrap();
                shard.pause(conn);
                let at = shard.running_ns() + 20_000_000;
                shard.set_deadline(conn, Some(at));
            }
            FLOOD => {
                if let Some(c) = shard.conn(conn) {
                    c.owed += bytes.len() << 20;
                }
                self.flood(shard, conn);
            }
            OVERFLOW => {
                while shard.send(conn, vec![0; PIECE]).is_ok() {}
                let queued = shard.queue_bytes(conn);
                assert_eq!(shard.send(conn, vec![0; PIECE]), Err(SendError::QueueFull));
                assert_eq!(shard.queue_bytes(conn), queued);
                count(&self.seen.refused);
                shard.close(conn, Close::Now);
                assert_eq!(shard.send(conn, vec![0]), Err(SendError::Closed));
            }
            GOODBYE => {
                shard.send(conn, b"bye".to_vec()).unwrap();
                shard.close(conn, Close::Flush);
            }
            LATER => {
                let at = shard.running_ns() + 50_000_000;
                shard.set_deadline(conn, Some(at));
            }
            WHENCE => {
                let from = shard.conn(conn).and_then(|c| c.from);
                let text = from.map(|from| from.to_string()).unwrap_or_default();
                shard.send(conn, text.into_bytes()).unwrap();
                shard.close(conn, Close::Flush);
            }
            TALLY => {
                let closed = self.seen.closed.lock().unwrap().len() as u64;
                shard.send(conn, closed.to_le_bytes().to_vec()).unwrap();
            }
            PANIC => panic!("asked to panic"),
            other => panic!("no such mode: {other}"),
        }
    }
}

impl Handler for Peer {
    type Conn = Conn;
    type Parcel = Conn;
    type Mail = Mail;

    fn on_open(&mut self, shard: &mut Shard<Self>, conn: ConnId, origin: Origin) {
        count(&self.seen.opened);
        if let Origin::Accepted { peer, .. } = origin {
            shard.conn(conn).unwrap().from = Some(peer);
            if let Some(left) = self.accepts.as_mut() {
                *left = left.saturating_sub(1);
                shard.set_accept_budget(*left);
            }
        }
        if let Origin::Connected { token } = origin {
            let c = shard.conn(conn).unwrap();
            c.token = token;
            c.mode = b'c';
            shard.send(conn, vec![ECHO; 100]).unwrap();
        }
    }

    fn on_connect_failed(&mut self, _: &mut Shard<Self>, token: u64, errno: i32) {
        self.seen
            .connect_failed
            .lock()
            .unwrap()
            .push((token, errno));
    }

    fn on_bytes(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: &mut [u8]) {
        let c = shard.conn(conn).unwrap();
        if c.mode == b'c' {
            c.owed += bytes.len();
            if c.owed == 100 {
                count(&self.seen.connected_back);
                shard.close(conn, Close::Flush);
            }
            return;
        }
        let mut rest = &bytes[..];
        if c.mode == 0 {
            c.mode = bytes[0];
            if !matches!(c.mode, ECHO | WANDER | HOLD) {
                rest = &bytes[1..];
            }
        }
        let mode = c.mode;
        self.react(shard, conn, mode, rest);
    }

    fn on_progress(&mut self, _: &mut Shard<Self>, _: ConnId) {
        count(&self.seen.progressed);
    }

    fn on_drained(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.flood(shard, conn);
    }

    fn on_deadline(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        match shard.conn(conn).unwrap().mode {
            HOLD => shard.resume(conn),
            _ => shard.send(conn, b"late".to_vec()).unwrap(),
        }
    }

    fn on_mail(&mut self, shard: &mut Shard<Self>, mail: Mail) {
        match mail {
            Mail::Connect(addr, token) => shard.connect(addr, token),
            Mail::Accepts(accepts) => {
                self.accepts = Some(accepts);
                shard.set_accept_budget(accepts);
            }
            Mail::Count => count(&self.seen.mails),
            Mail::Block(until) => {
                count(&self.seen.mails);
                let _ = until.recv();
            }
        }
    }

    fn on_depart(&mut self, _: &mut Shard<Self>, _: ConnId, state: Conn) -> Conn {
        count(&self.seen.departed);
        state
    }

    fn on_arrive(&mut self, shard: &mut Shard<Self>, conn: ConnId, parcel: Conn) {
        count(&self.seen.arrived);
        *shard.conn(conn).unwrap() = parcel;
    }

    fn on_move_failed(&mut self, _: &mut Shard<Self>, _: ConnId, _: i32) {
        count(&self.seen.move_failed);
    }

    fn on_closed(&mut self, shard: &mut Shard<Self>, conn: ConnId, _: Conn, cause: Cause) {
        assert!(shard.conn(conn).is_none());
        self.seen.closed.lock().unwrap().push(cause);
    }

    fn on_turn_end(&mut self, _: &mut Shard<Self>) {}

    fn on_stop(&mut self, _: &mut Shard<Self>) {
        count(&self.seen.stops);
    }
}

/// A running engine of such handlers.
pub(crate) struct Server {
    pub(crate) running: Running<Conn>,
    pub(crate) post: Postboxes<Mail>,
    pub(crate) seen: Arc<Seen>,
    pub(crate) addr: SocketAddr,
    pub(crate) stopper: Stopper,
}

pub(crate) fn config(shards: u16) -> Config {
    Config {
        shards,
        listeners: vec!["127.0.0.1:0".parse().unwrap()],
        rings_per_shard: 2,
        ring_slots: 1_024,
        stop_grace_ms: 1_000,
        ..Config::default()
    }
}

pub(crate) fn serve(config: Config) -> Server {
    let (post, inboxes) = mailbox::channel(config.shards, Capacity::messages(1_024)).unwrap();
    let seen = Arc::new(Seen::default());
    let own = Arc::clone(&seen);
    let running = start(config, inboxes, move |_| Peer {
        seen: Arc::clone(&own),
        accepts: None,
    })
    .unwrap_or_else(|error| panic!("{error}"));
    Server {
        addr: running.local_addrs()[0],
        stopper: running.stopper(),
        running,
        post,
        seen,
    }
}

impl Server {
    /// A client whose reads fail rather than hang.
    pub(crate) fn client(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// One counter, over all shards.
    pub(crate) fn sum(&self, of: fn(&Counters) -> u64) -> u64 {
        self.running.counters().iter().map(of).sum()
    }

    /// Waits until `holds`, and fails after 20 s with what the counters say.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            let counters = self.running.counters();
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{what}: {counters:#?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn stop(self) -> Result<(), JoinError> {
        self.stopper.stop();
        self.running.join()
    }
}

/// Some bytes. A read with a time limit is not taken up again by the kernel when something interrupts it
/// (signal(7)), and other tests' rings come and go in this process.
pub(crate) fn read_some(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
