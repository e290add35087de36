//! What the router's tests share: an outlet that keeps what it is given, clients over it, a clock
//! to turn, and a log in memory whose answers can be held back or made to fail.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    unreachable_pub,
    reason = "a module of several test binaries, none of them a library"
)]

pub mod group_edge;
pub mod group_log;
pub mod group_store;
mod hand;
pub mod memlog;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rookery_router::{Caller, Config, DeviceKey, Event, Outlet, Request, RouterHandle, start};
use rookery_wire::proto::{self, Limits, ServerFrame};
use tempfile::TempDir;

pub use hand::*;

/// Long enough for a starved machine; what takes longer is stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A router on a directory of its own, with a clock to turn.
pub struct Stage {
    pub dir: TempDir,
    pub clock: Arc<HandClock>,
    pub mailbox: Arc<Mailbox>,
    pub router: RouterHandle,
}

impl Stage {
    pub fn new() -> Stage {
        Stage::over(TempDir::new().unwrap(), HandClock::new(), &|_| {})
    }

    /// Receipts are written in no time.
    pub fn over(dir: TempDir, clock: Arc<HandClock>, change: &dyn Fn(&mut Config)) -> Stage {
        let (mut config, mailbox) = (config(dir.path()), Mailbox::new());
        config.clock = clock.clone();
        config.receipts_interval = Duration::from_millis(20);
        change(&mut config);
        let router = start(config, mailbox.clone()).unwrap();
        Stage {
            dir,
            clock,
            mailbox,
            router,
        }
    }

    pub fn client(&self, user_id: u64) -> Client {
        Client::new(&self.router, &self.mailbox, user_id)
    }

    /// The same directory and clock, and a new mailbox.
    pub fn restart(self) -> Stage {
        self.router.close();
        let Stage { dir, clock, .. } = self;
        Stage::over(dir, clock, &|_| {})
    }
}

/// A frame that a client was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Ack(proto::SendAck),
    Deliver(proto::Deliver),
    SyncEnd(proto::SyncEnd),
    Page(proto::HistoryPage),
    Outbox(proto::OutboxPage),
    Opened(proto::ConversationOpened),
    List(proto::Conversations),
    Members(proto::Members),
    Error(proto::Error),
}

pub fn parse(frame: &[u8]) -> Frame {
    match ServerFrame::parse(frame, &Limits::SERVER_FRAMES).unwrap() {
        ServerFrame::SendAck(ack) => Frame::Ack(proto::owned(ack)),
        ServerFrame::Deliver(deliver) => Frame::Deliver(proto::owned(deliver)),
        ServerFrame::SyncEnd(end) => Frame::SyncEnd(proto::owned(end)),
        ServerFrame::HistoryPage(page) => Frame::Page(proto::owned(page)),
        ServerFrame::OutboxPage(page) => Frame::Outbox(proto::owned(page)),
        ServerFrame::ConversationOpened(opened) => Frame::Opened(proto::owned(opened)),
        ServerFrame::Conversations(list) => Frame::List(proto::owned(list)),
        ServerFrame::Members(members) => Frame::Members(proto::owned(members)),
        ServerFrame::Error(error) => Frame::Error(proto::owned(error)),
        other => panic!("the router sent {other:?}"),
    }
}

/// Keeps answers by connection and fan-out by device.
#[derive(Default)]
pub struct Mailbox {
    answers: Mutex<HashMap<u64, Vec<Frame>>>,
    live: Mutex<HashMap<DeviceKey, Vec<Frame>>>,
    came: Condvar,
    pub full: AtomicBool,
    pub refused: AtomicU64,
    pub keep_live: AtomicBool,
}

pub const SHARDS: u16 = 3;

/// What a walk through an outbox begins with.
pub const FIRST_PAGE: proto::OutboxCursor = [0; 36];

/// A sender's id of a message, from a number, and back.
pub fn name(number: u64) -> proto::ClientMsgId {
    u128::from(number).to_le_bytes()
}

pub fn number(client_msg_id: proto::ClientMsgId) -> u64 {
    u128::from_le_bytes(client_msg_id) as u64
}

/// The devices that each user has.
const DEVICES: [u32; 2] = [1, 2];

impl Mailbox {
    pub fn new() -> Arc<Mailbox> {
        let mailbox = Mailbox::default();
        mailbox.keep_live.store(true, Ordering::Relaxed);
        Arc::new(mailbox)
    }

    /// Waits for the next answer to a connection.
    pub fn next(&self, conn: u64) -> Frame {
        let answers = self.answers.lock().unwrap();
        let empty =
            |answers: &mut HashMap<u64, Vec<Frame>>| answers.get(&conn).is_none_or(Vec::is_empty);
        let (mut answers, late) = self
            .came
            .wait_timeout_while(answers, PATIENCE, empty)
            .unwrap();
        assert!(!late.timed_out(), "no answer on connection {conn}");
        answers.get_mut(&conn).unwrap().remove(0)
    }

    pub fn has_answer(&self, conn: u64) -> bool {
        self.answers
            .lock()
            .unwrap()
            .get(&conn)
            .is_some_and(|frames| !frames.is_empty())
    }

    /// What a user's first device was sent without asking.
    pub fn live(&self, user_id: u64) -> Vec<Frame> {
        self.live_on(user_id, 1)
    }

    /// The same of one of their devices.
    pub fn live_on(&self, user_id: u64, device_id: u32) -> Vec<Frame> {
        let device = DeviceKey { user_id, device_id };
        let live = self.live.lock().unwrap();
        live.get(&device).cloned().unwrap_or_default()
    }

    /// The messages among it, of one conversation.
    pub fn delivered(&self, user_id: u64, conversation_id: u64) -> Vec<proto::Deliver> {
        let device = DeviceKey {
            user_id,
            device_id: 1,
        };
        let live = self.live.lock().unwrap();
        let frames = live.get(&device).into_iter().flatten();
        let of = |frame: &Frame| match frame {
            Frame::Deliver(deliver) if deliver.conversation_id == conversation_id => {
                Some(deliver.clone())
            }
            _ => None,
        };
        frames.filter_map(of).collect()
    }
}

impl Outlet for Mailbox {
    fn shards(&self) -> u16 {
        SHARDS
    }

    fn owner(&self, user_id: u64) -> u16 {
        (user_id % u64::from(SHARDS)) as u16
    }

    fn post(&self, shard: u16, event: Event) -> Result<(), Event> {
        assert!(shard < SHARDS);
        if self.full.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(event);
        }
        match event {
            Event::Answer { to, frames, .. } => {
                let frames = frames.iter().map(|frame| parse(frame));
                self.answers
                    .lock()
                    .unwrap()
                    .entry(to.conn)
                    .or_default()
                    .extend(frames);
                self.came.notify_all();
            }
            Event::Fanout {
                frame, users, but, ..
            } => {
                assert!(!users.is_empty());
                assert!(users.iter().all(|&user_id| self.owner(user_id) == shard));
                if self.keep_live.load(Ordering::Relaxed) {
                    let frame = parse(&frame);
                    let mut live = self.live.lock().unwrap();
                    for user_id in users {
                        for device_id in DEVICES {
                            let device = DeviceKey { user_id, device_id };
                            if but != Some(device) {
                                live.entry(device).or_default().push(frame.clone());
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Small and quick to persist.
pub fn config(dir: &std::path::Path) -> Config {
    let mut config = Config::new(dir);
    config.log.segment_bytes = 4 << 20;
    config.persist_interval = Duration::from_millis(50);
    config.close_grace = PATIENCE;
    config.space_reserve_bytes = 1;
    config
}

/// One device's connection.
#[derive(Clone)]
pub struct Client {
    pub router: RouterHandle,
    pub mailbox: Arc<Mailbox>,
    pub caller: Caller,
}

static CONNS: AtomicU64 = AtomicU64::new(1);

impl Client {
    pub fn new(router: &RouterHandle, mailbox: &Arc<Mailbox>, user_id: u64) -> Client {
        let conn = CONNS.fetch_add(1, Ordering::Relaxed);
        let caller = Caller {
            user_id,
            device_id: 1,
            shard: mailbox.owner(user_id),
            conn,
        };
        Client {
            router: router.clone(),
            mailbox: Arc::clone(mailbox),
            caller,
        }
    }

    pub fn ask(&self, request: Request) -> Frame {
        self.tell(request);
        self.next()
    }

    /// Submits, again and again while the router is busy.
    pub fn tell(&self, request: Request) {
        while self.router.submit(self.caller, request.clone()).is_err() {
            std::thread::yield_now();
        }
    }

    pub fn next(&self) -> Frame {
        self.mailbox.next(self.caller.conn)
    }

    pub fn send(&self, conversation_id: u64, client_msg_id: u64, payload: &[u8]) -> Frame {
        self.ask(send(conversation_id, client_msg_id, payload))
    }

    pub fn acked(
        &self,
        conversation_id: u64,
        client_msg_id: u64,
        payload: &[u8],
    ) -> proto::SendAck {
        match self.send(conversation_id, client_msg_id, payload) {
            Frame::Ack(ack) => ack,
            other => panic!("{other:?}"),
        }
    }

    pub fn refused(&self, request: Request) -> proto::Error {
        match self.ask(request) {
            Frame::Error(error) => error,
            other => panic!("{other:?}"),
        }
    }

    pub fn direct(&self, request_id: u64, peer_user_id: u64) -> proto::ConversationOpened {
        let open = proto::OpenDirect {
            request_id,
            peer_user_id,
        };
        match self.ask(Request::OpenDirect(open)) {
            Frame::Opened(opened) => opened,
            other => panic!("{other:?}"),
        }
    }

    pub fn create(&self, request_id: u64, others: &[u64]) -> proto::ConversationOpened {
        match self.ask(create(request_id, others)) {
            Frame::Opened(opened) => opened,
            other => panic!("{other:?}"),
        }
    }

    pub fn sync(
        &self,
        conversation_id: u64,
        have_seq: u64,
        limit: u32,
    ) -> (Vec<proto::Deliver>, proto::SyncEnd) {
        let request_id = 77;
        self.tell(Request::Sync(proto::Sync {
            request_id,
            conversation_id,
            have_seq,
            limit,
        }));
        let mut messages = Vec::new();
        loop {
            match self.next() {
                Frame::Deliver(deliver) => messages.push(deliver),
                Frame::SyncEnd(end) => return (messages, end),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Everything, page by page.
    pub fn sync_all(&self, conversation_id: u64) -> Vec<proto::Deliver> {
        let mut all: Vec<proto::Deliver> = Vec::new();
        loop {
            let have_seq = all.last().map_or(0, |last| last.seq);
            let (messages, end) = self.sync(conversation_id, have_seq, 100);
            all.extend(messages);
            assert_eq!(end.last_seq, all.last().map_or(0, |last| last.seq));
            if end.last_seq >= end.head_seq {
                return all;
            }
        }
    }

    pub fn history(&self, conversation_id: u64, before_seq: u64, limit: u32) -> proto::HistoryPage {
        let request_id = 78;
        match self.ask(Request::History(proto::History {
            request_id,
            conversation_id,
            before_seq,
            limit,
        })) {
            Frame::Page(page) => page,
            other => panic!("{other:?}"),
        }
    }

    /// The same user on another device.
    pub fn on_device(&self, device_id: u32) -> Client {
        let mut other = Client::new(&self.router, &self.mailbox, self.caller.user_id);
        other.caller.device_id = device_id;
        other
    }

    pub fn received(&self, conversation_id: u64, seq: u64) {
        self.tell(Request::DeliverAck(proto::DeliverAck {
            conversation_id,
            seq,
        }));
    }

    pub fn outbox(&self, cursor: proto::OutboxCursor, limit: u32) -> proto::OutboxPage {
        let outbox = proto::Outbox {
            request_id: 80,
            cursor,
            limit,
        };
        match self.ask(Request::Outbox(outbox)) {
            Frame::Outbox(page) => page,
            other => panic!("{other:?}"),
        }
    }

    /// Everything that the outbox hands out, page by page, and whether it needs a full sync.
    pub fn whole_outbox(&self, limit: u32) -> (Vec<proto::Deliver>, bool) {
        let mut all: Vec<proto::Deliver> = Vec::new();
        let mut cursor = FIRST_PAGE;
        loop {
            let page = self.outbox(cursor, limit);
            all.extend(page.messages);
            cursor = page.next_cursor;
            if page.has_more == 0 {
                return (all, page.needs_full_sync == 1);
            }
        }
    }

    pub fn list(&self, after_conversation_id: u64, limit: u32) -> proto::Conversations {
        let list = proto::ListConversations {
            request_id: 79,
            after_conversation_id,
            limit,
        };
        match self.ask(Request::ListConversations(list)) {
            Frame::List(list) => list,
            other => panic!("{other:?}"),
        }
    }
}

pub fn list_members(conversation_id: u64) -> Request {
    Request::ListMembers(proto::ListMembers {
        request_id: 80,
        conversation_id,
    })
}

pub fn send(conversation_id: u64, client_msg_id: u64, payload: &[u8]) -> Request {
    Request::Send(proto::Send {
        client_msg_id: name(client_msg_id),
        conversation_id,
        payload: payload.to_vec(),
    })
}

pub fn create(request_id: u64, others: &[u64]) -> Request {
    let member_user_ids = others.to_vec();
    Request::CreateConversation(proto::CreateConversation {
        request_id,
        member_user_ids,
    })
}

/// Seqs 1, 2, 3, … and ids that grow.
pub fn assert_dense(messages: &[proto::Deliver]) {
    for (message, seq) in messages.iter().zip(1..) {
        assert_eq!(message.seq, seq);
    }
    assert!(
        messages
            .windows(2)
            .all(|pair| pair[0].message_id < pair[1].message_id)
    );
}

/// A small generator of pseudo-random numbers (splitmix64); tests print its seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}
