//! Accepting on real rings: how many, from where, into which slots.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::kit::{ECHO, Mail, WHENCE, config, serve};
use rookery_shard::Config;
use rookery_shard::limits::{ACCEPTS_MAX, RING_RESERVE_MAX};

#[test]
fn a_full_table_makes_clients_wait_and_recovers() {
    let mut config = config(1);
    config.rings_per_shard = 1;
    config.ring_slots = 16;
    let server = serve(config);
    let mut served = 0;
    for wave in 0..5u64 {
        // More than there are slots: the others wait in the backlog.
        let mut clients: Vec<_> = (0..40).map(|_| server.client()).collect();
        while !clients.is_empty() {
            let mut client = clients.remove(0);
            let sent = client.write_all(&[ECHO; 8]).is_ok();
            let mut answer = [0; 8];
            if sent && client.read_exact(&mut answer).is_ok() {
                assert_eq!(answer, [ECHO; 8], "wave {wave}");
                served += 1;
            }
        }
    }
    let (enfile, accepted) = (server.sum(|c| c.enfile), server.sum(|c| c.accepted));
    println!("{served} of 200 served through 16 slots, {accepted} accepted, {enfile} x ENFILE");
    assert_eq!(
        (served, enfile),
        (200, 0),
        "an armed accept has a slot set aside"
    );
    // A slot is free a turn after its connection is gone.
    server.wait("all free", |s| s.running.fabric().free_slots() == [[16]]);
    assert_eq!(server.sum(|c| c.live), 0);
    server.stop().unwrap();
}

#[test]
fn the_handler_learns_where_a_client_comes_from() {
    let listeners = ["127.0.0.1:0", "[::]:0"].map(|addr| addr.parse().unwrap());
    let server = serve(Config {
        listeners: listeners.to_vec(),
        ..config(1)
    });
    for listener in server.running.local_addrs().to_vec() {
        let v4 = SocketAddr::from(([127, 0, 0, 1], listener.port()));
        let v6: SocketAddr = format!("[::1]:{}", listener.port()).parse().unwrap();
        for to in [v4, v6] {
            if to.is_ipv6() && listener.is_ipv4() {
                continue;
            }
            for _ in 0..100 {
                let mut client = TcpStream::connect(to).unwrap();
                client.write_all(&[WHENCE]).unwrap();
                let mut text = String::new();
                client.read_to_string(&mut text).unwrap();
                let from: SocketAddr = text.parse().unwrap();
                let own = client.local_addr().unwrap();
                assert_eq!(
                    (from.ip().to_canonical(), from.port()),
                    (own.ip(), own.port())
                );
            }
        }
    }
    server.stop().unwrap();
}

#[test]
fn who_comes_above_the_accept_budget_waits_in_the_backlog() {
    let server = serve(config(1));
    assert!(server.post.post(0, Mail::Accepts(0)).is_ok());
    // The armed accepts are called back some milliseconds later.
    std::thread::sleep(Duration::from_millis(200));
    let mut clients: Vec<_> = (0..30).map(|_| server.client()).collect();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.sum(|c| c.accepted), 0);
    for let_in in [7, 1, 22] {
        let before = server.sum(|c| c.accepted);
        assert!(server.post.post(0, Mail::Accepts(let_in)).is_ok());
        server.wait("let in", |s| {
            s.sum(|c| c.accepted) >= before + u64::from(let_in)
        });
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(server.sum(|c| c.accepted), before + u64::from(let_in));
    }
    for client in &mut clients {
        client.write_all(&[ECHO; 8]).unwrap();
        let mut answer = [0; 8];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [ECHO; 8]);
    }
    drop(clients);
    server.wait("all closed", |s| s.sum(|c| c.live) == 0);
    server.stop().unwrap();
}

#[test]
fn rings_fill_one_after_the_other() {
    let server = serve(config(1));
    let free = |s: &super::kit::Server| s.running.fabric().free_slots().remove(0);
    let mut clients: Vec<_> = (0..800).map(|_| server.client()).collect();
    server.wait("all open", |s| {
        s.sum(|c| c.live) == 800 && free(s) == [224, 1_024]
    });
    clients.extend((0..300).map(|_| server.client()));
    let all_in = |s: &super::kit::Server| free(s).iter().sum::<u32>() == 2 * 1_024 - 1_100;
    server.wait("all open", |s| s.sum(|c| c.live) == 1_100 && all_in(s));
    let [first, second] = free(&server)[..] else {
        panic!("two rings")
    };
    // An accept that was woken for a connection that another one took stands behind the next ring's now.
    assert!(
        first <= RING_RESERVE_MAX + ACCEPTS_MAX,
        "{first} free in the first ring"
    );
    // Whoever goes makes room where the next are to be.
    drop(clients.drain(..500));
    server.wait("some closed", |s| s.sum(|c| c.live) == 600);
    clients.extend((0..300).map(|_| server.client()));
    let all_in = |s: &super::kit::Server| free(s).iter().sum::<u32>() == 2 * 1_024 - 900;
    server.wait("all open", |s| s.sum(|c| c.live) == 900 && all_in(s));
    let now = free(&server)[1];
    assert!(
        now + ACCEPTS_MAX >= second,
        "{second} free before, {now} now"
    );
    drop(clients);
    server.wait("all closed", |s| {
        s.running.fabric().free_slots() == [[1_024; 2]]
    });
    server.stop().unwrap();
}
