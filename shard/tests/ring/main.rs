//! The engine on real rings, over loopback, against blocking clients of the standard library.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod accepts;
mod kit;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use kit::{
    ECHO, FLOOD, GOODBYE, HOLD, LATER, Mail, OVERFLOW, PANIC, TALLY, WANDER, config, read_some,
    serve,
};
use rookery_shard::mailbox::{self, Capacity};
use rookery_shard::{Cause, Config, StartError, start};

/// xorshift: the test is its seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Writes messages of random length and content and reads each back. Returns the bytes echoed.
fn converse(stream: &mut TcpStream, mode: u8, messages: usize, longest: usize, seed: u64) -> usize {
    let mut rng = Rng(seed);
    let mut bytes = 0;
    for number in 0..messages {
        let mut message: Vec<u8> = (0..=rng.below(longest))
            .map(|_| rng.below(256) as u8)
            .collect();
        if number == 0 {
            message[0] = mode;
        }
        stream.write_all(&message).unwrap();
        let mut answer = vec![0; message.len()];
        stream.read_exact(&mut answer).unwrap();
        assert!(answer == message, "seed {seed}, message {number}");
        bytes += message.len();
    }
    bytes
}

#[test]
fn twenty_thousand_messages_come_back() {
    let server = serve(config(2));
    let threads: Vec<_> = (1..=4u64)
        .map(|thread| {
            let mut clients: Vec<_> = (0..50).map(|_| server.client()).collect();
            std::thread::spawn(move || {
                let mut bytes = 0;
                for (number, client) in (0u64..).zip(&mut clients) {
                    bytes += converse(client, ECHO, 100, 600, thread * 1_000 + number);
                }
                bytes as u64
            })
        })
        .collect();
    let bytes: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    server.wait("all closed", |s| s.sum(|c| c.closed_peer) == 200);
    assert_eq!(server.sum(|c| c.recv_bytes), bytes);
    assert_eq!(server.sum(|c| c.send_bytes), bytes);
    assert_eq!(server.sum(|c| c.live), 0);
    // A socket that was never full: that the kernel took the bytes says nothing of the peer.
    assert_eq!(server.sum(|c| c.send_short), 0);
    assert_eq!(server.seen.progressed.load(SeqCst), 0);
    println!("20000 messages, {bytes} bytes, both ways");
    server.stop().unwrap();
}

#[test]
fn large_messages_come_back_whole() {
    let server = serve(config(1));
    let mut client = server.client();
    let bytes = converse(&mut client, ECHO, 60, 100_000, 7);
    assert!(bytes > 1_000_000);
    server.stop().unwrap();
}

#[test]
fn a_slow_reader_gets_every_byte_of_a_flood() {
    let server = serve(config(1));
    let mut client = server.client();
    client.write_all(&[FLOOD, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    // More than the kernel's buffers of both ends hold while nobody reads.
    server.wait("sent short", |s| s.sum(|c| c.send_short) > 0);
    let before = server.seen.progressed.load(SeqCst);
    let mut left = 8usize << 20;
    let mut piece = vec![0; 30_000];
    while left > 0 {
        let got = read_some(&mut client, &mut piece).unwrap();
        assert!(got > 0 && piece[..got].iter().all(|b| *b == b'x'));
        left -= got;
        std::thread::yield_now();
    }
    server.wait("all sent", |s| s.sum(|c| c.send_bytes) == 8 << 20);
    assert!(server.seen.progressed.load(SeqCst) > before);
    server.stop().unwrap();
}

#[test]
fn a_queue_that_is_full_refuses_and_reports() {
    let server = serve(config(1));
    let mut client = server.client();
    client.write_all(&[OVERFLOW, 1]).unwrap();
    server.wait("refused", |s| s.seen.refused.load(SeqCst) == 1);
    server.wait("closed", |s| s.sum(|c| c.closed_asked) == 1);
    assert!(server.sum(|c| c.send_refused) >= 1);
    server.stop().unwrap();
}

#[test]
fn the_last_bytes_arrive_though_input_is_unread() {
    let server = serve(config(1));
    for _ in 0..50 {
        let mut client = server.client();
        // The handler closes after the first bytes; the rest would make the kernel answer with RST.
        client.write_all(&[GOODBYE; 20_000]).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"bye");
    }
    server.wait("closed", |s| s.sum(|c| c.closed_asked) == 50);
    server.stop().unwrap();
}

#[test]
fn a_client_that_never_stops_sending_is_cut_off() {
    let server = serve(config(1));
    let mut client = server.client();
    client
        .set_write_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let garbage = [GOODBYE; 65_536];
    let error = loop {
        if let Err(error) = client.write_all(&garbage) {
            break error;
        }
    };
    assert!(
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{error}"
    );
    server.wait("closed", |s| s.sum(|c| c.closed_asked) == 1);
    server.stop().unwrap();
}

#[test]
fn half_close_gets_its_answer_and_reset_its_errno() {
    let server = serve(config(1));
    let mut client = server.client();
    client.write_all(&[ECHO; 5_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, vec![ECHO; 5_000]);
    server.wait("closed", |s| s.sum(|c| c.closed_peer) == 1);

    let client = server.client();
    server.wait("open", |s| s.sum(|c| c.live) == 1);
    reset(client);
    server.wait("reset", |s| s.sum(|c| c.closed_errno) == 1);
    let causes = server.seen.closed.lock().unwrap().clone();
    assert_eq!(causes, [Cause::PeerClosed, Cause::Errno(libc::ECONNRESET)]);
    server.stop().unwrap();
}

#[test]
fn who_stays_is_served_between_many_that_go() {
    const LEAVERS: usize = 900;
    let server = serve(config(1));
    let leavers: Vec<_> = (0..LEAVERS).map(|_| server.client()).collect();
    let mut stays = server.client();
    let mut answer = [0; 8];
    stays.write_all(&[TALLY]).unwrap();
    stays.read_exact(&mut answer).unwrap();
    // All go while the shard sees nothing, and the one that stays speaks after them.
    let (go_on, until) = std::sync::mpsc::channel();
    assert!(server.post.post(0, Mail::Block(until)).is_ok());
    server.wait("blocked", |s| s.seen.mails.load(SeqCst) == 1);
    drop(leavers);
    stays.write_all(&[TALLY]).unwrap();
    drop(go_on);
    stays.read_exact(&mut answer).unwrap();
    let before = u64::from_le_bytes(answer);
    println!("{before} of {LEAVERS} were closed before it");
    assert!(
        before < LEAVERS as u64 / 2,
        "{before} were closed before it"
    );
    server.wait("all others closed", |s| s.sum(|c| c.live) == 1);
    server.stop().unwrap();
}

/// Closes with a RST.
fn reset(stream: TcpStream) {
    let linger = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.unwrap();
}

#[test]
fn connections_wander_during_traffic_and_lose_no_byte() {
    let server = serve(config(2));
    let threads: Vec<_> = (1..=4u64)
        .map(|seed| {
            let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
            std::thread::spawn(move || {
                let mut bytes = 0;
                for (number, client) in (0u64..).zip(&mut clients) {
                    bytes += converse(client, WANDER, 25, 400, seed * 977 + number);
                }
                bytes as u64
            })
        })
        .collect();
    let bytes: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    server.wait("all closed", |s| s.sum(|c| c.closed_peer) == 80);
    assert_eq!(server.sum(|c| c.send_bytes), bytes);
    assert_eq!(server.sum(|c| c.recv_bytes), bytes);
    let moves = server.sum(|c| c.moves_in);
    assert_eq!(moves, server.sum(|c| c.moves_out));
    assert_eq!(server.sum(|c| c.moves_failed), 0);
    assert!(moves >= 80 * 24, "{moves} moves");
    println!("{moves} moves, {bytes} bytes");
    server.stop().unwrap();
}

#[test]
fn bytes_written_during_a_move_wait_in_the_kernel() {
    let server = serve(config(2));
    let mut client = server.client();
    let mut writer = client.try_clone().unwrap();
    let sent: Vec<u8> = std::iter::once(WANDER)
        .chain((0..2_000_000u32).map(|n| n as u8))
        .collect();
    let expected = sent.clone();
    let thread = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).unwrap();
    thread.join().unwrap();
    assert!(got == expected);
    assert!(
        server.sum(|c| c.moves_in) > 10,
        "hardly a move: the test tests nothing"
    );
    server.stop().unwrap();
}

#[test]
fn a_move_to_a_full_shard_fails_and_the_connection_stays() {
    let mut config = config(2);
    config.rings_per_shard = 1;
    config.ring_slots = 16;
    let server = serve(config);
    // Shard 1 is filled with connections of its own.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    for token in 0..16 {
        let mail = Mail::Connect(other.local_addr().unwrap(), token);
        assert!(server.post.post(1, mail).is_ok());
    }
    let full = |s: &kit::Server| s.running.fabric().free_slots()[1] == [0];
    server.wait("shard 1 is full", |s| full(s) && s.sum(|c| c.live) == 16);
    // Who is answered is on shard 0 (shard 1 accepts nobody), and wants to move.
    let mut answered = 0;
    let mut clients: Vec<_> = (0..24).map(|_| server.client()).collect();
    for client in &mut clients {
        client
            .set_read_timeout(Some(std::time::Duration::from_millis(200)))
            .unwrap();
        for round in 0..5u8 {
            client.write_all(&[WANDER, round]).unwrap();
            let mut answer = [0; 2];
            if client.read_exact(&mut answer).is_err() {
                break;
            }
            assert_eq!(answer, [WANDER, round]);
            answered += 1;
        }
        if answered >= 20 {
            break;
        }
    }
    assert!(answered >= 20, "{answered} answers");
    server.wait("all told", |s| s.seen.move_failed.load(SeqCst) == answered);
    assert_eq!(server.sum(|c| c.moves_out), 0);
    server.stop().unwrap();
}

#[test]
fn connects_work_as_a_client_and_fail_with_their_errno() {
    let server = serve(config(2));
    let own = server.addr;
    for token in 0..200 {
        let mail = Mail::Connect(own, token);
        assert!(server.post.post((token % 2) as u16, mail).is_ok());
    }
    server.wait("connected", |s| s.seen.connected_back.load(SeqCst) == 200);
    server.wait("all closed", |s| s.sum(|c| c.live) == 0);
    assert_eq!(server.sum(|c| c.connected), 200);

    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert!(server.post.post(0, Mail::Connect(nobody, 77)).is_ok());
    let failed = |s: &kit::Server| s.seen.connect_failed.lock().unwrap().clone();
    server.wait("refused", |s| !failed(s).is_empty());
    assert_eq!(failed(&server), [(77, libc::ECONNREFUSED)]);
    server.wait("slot free", |s| {
        s.running.fabric().free_slots() == [[1_024; 2]; 2]
    });
    server.stop().unwrap();
}

#[test]
fn a_deadline_fires_on_a_connection_at_rest() {
    let server = serve(config(1));
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    clients
        .iter_mut()
        .for_each(|c| c.write_all(&[LATER]).unwrap());
    for client in &mut clients {
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"late");
    }
    assert_eq!(server.sum(|c| c.deadlines), 20);
    server.stop().unwrap();
}

#[test]
fn a_paused_connection_reads_nothing_and_loses_nothing() {
    let server = serve(config(1));
    let mut client = server.client();
    let sent: Vec<u8> = std::iter::once(HOLD)
        .chain((0..100_000u32).map(|n| n as u8))
        .collect();
    client.write_all(&sent).unwrap();
    let mut got = vec![0; sent.len()];
    client.read_exact(&mut got).unwrap();
    assert!(got == sent);
    let (reads, resumes) = (server.sum(|c| c.recv_ops), server.sum(|c| c.deadlines));
    assert!(
        reads >= 12 && reads <= resumes + 1,
        "{reads} reads, {resumes} resumes"
    );
    server.stop().unwrap();
}

#[test]
fn mails_from_many_threads_all_arrive() {
    let server = serve(config(2));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let post = server.post.clone();
            std::thread::spawn(move || {
                for number in 0..25_000u32 {
                    let mut mail = Mail::Count;
                    while let Err(back) = post.post((number % 2) as u16, mail) {
                        mail = back;
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    server.wait("all handled", |s| s.seen.mails.load(SeqCst) == 100_000);
    server.stop().unwrap();
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = serve(config(2));
    for addr in [taken.local_addr().unwrap(), other.addr] {
        let config = Config {
            listeners: vec![addr],
            ..config(1)
        };
        let (_, inboxes) = mailbox::channel(1, Capacity::messages(8)).unwrap();
        match start(config, inboxes, |_| -> kit::Peer {
            panic!("not to be made")
        }) {
            Err(StartError::Listen {
                addr: named,
                source,
            }) => {
                assert_eq!(named, addr);
                assert_eq!(source.kind(), ErrorKind::AddrInUse);
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("a second server on {addr}"),
        }
    }
    other.stop().unwrap();
}

#[test]
fn bad_configurations_are_refused() {
    let bad: [fn(&mut Config); 5] = [
        |c| c.shards = 0,
        |c| c.ring_slots = 0,
        |c| c.ring_slots = u32::MAX,
        |c| c.recv_buffers = 3,
        |c| c.recv_buffer_bytes = 0,
    ];
    for spoil in bad {
        let mut config = config(1);
        spoil(&mut config);
        let (_, inboxes) = mailbox::channel(config.shards, Capacity::messages(8)).unwrap();
        let result = start(config, inboxes, |_| -> kit::Peer {
            panic!("not to be made")
        });
        assert!(matches!(result, Err(StartError::Config { .. })));
    }
}

#[test]
fn a_stop_tells_every_shard_and_cuts_off_what_stays() {
    let server = serve(config(2));
    let clients: Vec<_> = (0..100).map(|_| server.client()).collect();
    server.wait("open", |s| s.sum(|c| c.live) == 100);
    let (seen, fabric) = (server.seen.clone(), server.running.fabric().clone());
    server.stop().unwrap();
    assert_eq!(seen.stops.load(SeqCst), 2);
    let causes = seen.closed.lock().unwrap().clone();
    assert_eq!(causes, vec![Cause::Stopping; 100]);
    assert_eq!(
        fabric
            .counters()
            .iter()
            .map(|c| c.closed_stopping)
            .sum::<u64>(),
        100
    );
    for mut client in clients {
        assert_eq!(read_some(&mut client, &mut [0; 8]).unwrap_or(0), 0);
    }
}

#[test]
fn a_panic_in_a_handler_is_reported_by_join() {
    let server = serve(config(2));
    let mut client = server.client();
    client.write_all(&[PANIC, 1]).unwrap();
    let error = server.running.join().unwrap_err();
    assert!(error.message.contains("asked to panic"), "{error}");
}

#[test]
fn ipv6_listens_too() {
    let mut config = config(1);
    config.listeners = vec!["[::1]:0".parse::<SocketAddr>().unwrap()];
    let server = serve(config);
    converse(&mut server.client(), ECHO, 10, 100, 3);
    server.stop().unwrap();
}
