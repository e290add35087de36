//! Senders at work while the router is closed and opened, or killed: what was acked is there, once,
//! in one order.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

mod router_support;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rookery_router::log::WriterKind;
use rookery_router::{Config, RouterHandle, StartError, start};
use rookery_wire::proto;
use router_support::*;
use tempfile::TempDir;

/// Users 1, 2 and 3 are in every conversation; each sends from a thread of its own.
const USERS: [u64; 3] = [1, 2, 3];
const CONVERSATIONS: u64 = 4;

fn small(dir: &Path, writer: WriterKind) -> Config {
    let mut config = config(dir);
    config.log.writer = writer;
    config.log.segment_bytes = 1 << 20;
    config.log.batch_bytes_max = 256 << 10;
    config.log.record_bytes_max = 70 << 10;
    config.persist_interval = Duration::from_millis(30);
    config
}

/// The same conversations at every start.
fn conversations(client: &Client) -> Vec<u64> {
    (0..CONVERSATIONS)
        .map(|n| client.create(n + 1, &USERS).conversation_id)
        .collect()
}

fn payload(client_msg_id: u64) -> Vec<u8> {
    let mut dice = Dice(client_msg_id);
    vec![client_msg_id as u8; dice.roll(600) as usize]
}

/// Where the n-th message of a user goes: a retry must find it again.
fn target(ids: &[u64], client_msg_id: u64) -> u64 {
    ids[Dice(client_msg_id).roll(CONVERSATIONS) as usize]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Acked {
    user_id: u64,
    client_msg_id: u64,
    conversation_id: u64,
    message_id: u64,
}

/// Sends `count` messages from `first`, now and then twice at once from two devices.
fn send_some(client: &Client, other: &Client, ids: &[u64], first: u64, count: u64) -> Vec<Acked> {
    let mut dice = Dice(first ^ client.caller.user_id);
    let mut acked = Vec::new();
    for client_msg_id in first..first + count {
        let conversation_id = target(ids, client_msg_id);
        let request = send(conversation_id, client_msg_id, &payload(client_msg_id));
        client.tell(request.clone());
        let twice = dice.roll(5) == 0;
        if twice {
            other.tell(request);
        }
        let Frame::Ack(ack) = client.next() else {
            panic!("not acked")
        };
        if twice {
            assert_eq!(other.next(), Frame::Ack(ack.clone()));
        }
        assert_eq!(
            (number(ack.client_msg_id), ack.conversation_id),
            (client_msg_id, conversation_id)
        );
        let (user_id, message_id) = (client.caller.user_id, ack.message_id);
        acked.push(Acked {
            user_id,
            client_msg_id,
            conversation_id,
            message_id,
        });
    }
    acked
}

/// Every member sees the same, dense, nothing twice, and all that was acked. Returns it.
fn check(clients: &[Client], ids: &[u64], acked: &[Acked]) -> Vec<Vec<proto::Deliver>> {
    let mut all = Vec::new();
    let mut found = HashMap::new();
    for &id in ids {
        let messages = clients[0].sync_all(id);
        for other in &clients[1..] {
            assert_eq!(other.sync_all(id), messages);
        }
        assert_dense(&messages);
        for message in &messages {
            assert_eq!(message.payload, payload(number(message.client_msg_id)));
            let key = (message.sender_user_id, number(message.client_msg_id));
            assert_eq!(
                found.insert(key, (id, message.message_id)),
                None,
                "{key:?} twice"
            );
        }
        all.push(messages);
    }
    for ack in acked {
        let key = (ack.user_id, ack.client_msg_id);
        assert_eq!(
            found.get(&key),
            Some(&(ack.conversation_id, ack.message_id)),
            "{ack:?}"
        );
    }
    all
}

/// Other tests of this program start processes meanwhile, and one that was forked and has not yet become
/// another program holds every lock of ours for a moment.
fn start_again(config: &Config, mailbox: &Arc<Mailbox>) -> RouterHandle {
    for _ in 0..500 {
        match start(config.clone(), mailbox.clone()) {
            Err(StartError::Locked { .. }) => std::thread::park_timeout(Duration::from_millis(10)),
            started => return started.unwrap(),
        }
    }
    panic!("the directory stays locked")
}

fn closed_and_opened_under_load(writer: WriterKind) {
    let dir = TempDir::new().unwrap();
    let (mut acked, mut live) = (Vec::new(), vec![Vec::new(); CONVERSATIONS as usize]);
    for round in 0..4 {
        let mailbox = Mailbox::new();
        let router = start_again(&small(dir.path(), writer), &mailbox);
        let clients = USERS.map(|user_id| Client::new(&router, &mailbox, user_id));
        let ids = conversations(&clients[0]);
        check(&clients, &ids, &acked);
        std::thread::scope(|scope| {
            let send = |client: &Client| {
                let (client, ids) = (client.clone(), &ids);
                let other = Client::new(&router, &mailbox, client.caller.user_id);
                scope.spawn(move || send_some(&client, &other, ids, round * 1_000, 250))
            };
            let sending: Vec<_> = clients.iter().map(send).collect();
            acked.extend(
                sending
                    .into_iter()
                    .flat_map(|thread| thread.join().unwrap()),
            );
        });
        let all = check(&clients, &ids, &acked);
        router.close();
        for ((live, &id), messages) in live.iter_mut().zip(&ids).zip(&all) {
            live.extend(mailbox.delivered(2, id));
            assert_eq!(live, messages, "live order is the order of Sync");
        }
    }
    assert_eq!(acked.len(), 3_000);
    println!("checked {} acked messages over 4 runs", acked.len());
}

#[test]
fn restarts_lose_and_repeat_nothing_plain() {
    closed_and_opened_under_load(WriterKind::Plain);
}

#[test]
fn restarts_lose_and_repeat_nothing_glommio() {
    closed_and_opened_under_load(WriterKind::Glommio);
}

const CHILD_DIR: &str = "ROOKERY_TEST_CRASH_DIR";
const CHILD_WRITER: &str = "ROOKERY_TEST_CRASH_WRITER";
const CHILD_FIRST: &str = "ROOKERY_TEST_CRASH_FIRST";

/// The process that is killed: it sends until then, and prints a line for every ack. Nothing in an
/// ordinary run of the tests.
#[test]
fn crash_child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let writer = match std::env::var(CHILD_WRITER).as_deref() {
        Ok("glommio") => WriterKind::Glommio,
        _ => WriterKind::Plain,
    };
    let first: u64 = std::env::var(CHILD_FIRST).unwrap().parse().unwrap();
    let mailbox = Mailbox::new();
    let router = start(small(Path::new(&dir), writer), mailbox.clone()).unwrap();
    let ids = conversations(&Client::new(&router, &mailbox, 1));
    std::thread::scope(|scope| {
        for user_id in USERS {
            let client = Client::new(&router, &mailbox, user_id);
            let (other, ids) = (Client::new(&router, &mailbox, user_id), &ids);
            scope.spawn(move || {
                for n in first..first + 50_000 {
                    for ack in send_some(&client, &other, ids, n, 1) {
                        let line = format!(
                            "acked {} {} {} {}\n",
                            ack.user_id, ack.client_msg_id, ack.conversation_id, ack.message_id
                        );
                        std::io::stdout().write_all(line.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
}

fn spawn_child(dir: &Path, writer: &str, first: u64) -> (Child, Receiver<Acked>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash_child", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_WRITER, writer)
        .env(CHILD_FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (tell, told) = channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let Some(at) = line.find("acked ") else {
                continue;
            };
            let fields: Vec<u64> = line[at + 6..]
                .split(' ')
                .map_while(|field| field.parse().ok())
                .collect();
            // A line that the kill cut short is no ack that anybody saw whole.
            if let [user_id, client_msg_id, conversation_id, message_id] = fields[..]
                && message_id > 1 << 50
            {
                let ack = Acked {
                    user_id,
                    client_msg_id,
                    conversation_id,
                    message_id,
                };
                if tell.send(ack).is_err() {
                    return;
                }
            }
        }
    });
    (child, told)
}

/// A retry of what the killed process had not acked: one message, whether it was there or not.
fn retry_unacked(clients: &[Client], ids: &[u64], acked: &mut Vec<Acked>, first: u64) {
    for client in clients {
        let user_id = client.caller.user_id;
        let mine: HashSet<u64> = acked
            .iter()
            .filter(|ack| ack.user_id == user_id)
            .map(|ack| ack.client_msg_id)
            .collect();
        let next = (first..).find(|id| !mine.contains(id)).unwrap();
        let conversation_id = target(ids, next);
        let there = client.sync_all(conversation_id);
        let there = there
            .iter()
            .find(|it| (it.sender_user_id, it.client_msg_id) == (user_id, name(next)));
        let ack = client.acked(conversation_id, next, &payload(next));
        assert_eq!(client.acked(conversation_id, next, &payload(next)), ack);
        assert!(there.is_none_or(|message| message.message_id == ack.message_id));
        let message_id = ack.message_id;
        acked.push(Acked {
            user_id,
            client_msg_id: next,
            conversation_id,
            message_id,
        });
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kill comes at a random moment"
)]
fn killed_under_load(writer: WriterKind, name: &str, kills: u64) {
    let dir = TempDir::new().unwrap();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let mut acked = Vec::new();
    for round in 0..kills {
        let first = round * 100_000;
        let (mut child, told) = spawn_child(dir.path(), name, first);
        acked.push(told.recv_timeout(PATIENCE).expect("a first ack"));
        let alive_for = Duration::from_millis(dice.roll(400));
        std::thread::sleep(alive_for);
        child.kill().unwrap();
        child.wait().unwrap();
        while let Ok(ack) = told.recv_timeout(PATIENCE) {
            acked.push(ack);
        }
        let mailbox = Mailbox::new();
        let router = start(small(dir.path(), writer), mailbox.clone()).unwrap();
        let clients = USERS.map(|user_id| Client::new(&router, &mailbox, user_id));
        let ids = conversations(&clients[0]);
        check(&clients, &ids, &acked);
        retry_unacked(&clients, &ids, &mut acked, first);
        check(&clients, &ids, &acked);
        router.close();
    }
    assert!(
        acked.len() as u64 > 4 * kills,
        "{} acks checked",
        acked.len()
    );
    println!(
        "{name}: {kills} kills, {} acked messages checked",
        acked.len()
    );
}

#[test]
fn kills_lose_and_repeat_nothing_plain() {
    killed_under_load(WriterKind::Plain, "plain", 10);
}

#[test]
fn kills_lose_and_repeat_nothing_glommio() {
    killed_under_load(WriterKind::Glommio, "glommio", 5);
}
