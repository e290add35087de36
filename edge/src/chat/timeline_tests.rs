//! The dialog against the cases that hold for every client, docs/protocol-timeline.json.

use rookery_wire::proto::{ClientFrame, ErrorCode, Limits};
use serde::Deserialize;

use super::*;

const CASES: &str = include_str!("../../../docs/protocol-timeline.json");
const CONVERSATION: u64 = 5;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    #[serde(flatten)]
    event: Event,
    asks: Option<u64>,
    shows: Option<(u64, u64)>,
}

#[derive(Debug, Deserialize)]
enum Event {
    Deliver(u64, u64),
    SyncEnd(u64, u64),
    Error(u32),
    ConversationOpened(u64),
    Lagged(u64),
    #[serde(rename = "wait_ms")]
    Wait(u64),
    #[serde(rename = "lost")]
    Lost(bool),
}

/// A dialog, its time, and the request ids of what it asked last.
struct Client {
    dialog: Dialog,
    now: Instant,
    open_id: u64,
    sync_id: u64,
}

impl Client {
    fn connect(&mut self) {
        self.take(&tests::welcome());
    }

    /// A frame comes in: the Syncs that it sends, and the messages that it shows.
    fn take<T: proto::Message>(&mut self, message: &T) -> (Vec<u64>, Vec<u64>) {
        let bytes = proto::encode(message);
        let frame = ServerFrame::parse(&bytes, &Limits::SERVER_FRAMES).unwrap();
        let mut out = Vec::new();
        self.dialog.on_frame(frame, self.now, &mut out);
        self.told(out)
    }

    fn told(&mut self, out: Vec<Out>) -> (Vec<u64>, Vec<u64>) {
        let (mut asks, mut shows) = (Vec::new(), Vec::new());
        for out in out {
            match out {
                Out::Frame(bytes) => {
                    match ClientFrame::parse(&bytes, &Limits::CLIENT_FRAMES).unwrap() {
                        ClientFrame::Sync(sync) => {
                            self.sync_id = sync.request_id.to_native();
                            asks.push(sync.have_seq.to_native());
                        }
                        ClientFrame::OpenDirect(open) => self.open_id = open.request_id.to_native(),
                        _ => {}
                    }
                }
                Out::Show(line) => shows.push(line.rsplit(' ').next().unwrap().parse().unwrap()),
                Out::Note(_) | Out::Fail(_) => {}
            }
        }
        (asks, shows)
    }

    fn step(&mut self, event: &Event) -> (Vec<u64>, Vec<u64>) {
        match *event {
            Event::Deliver(first, last) => {
                let each = (first..=last).map(|seq| self.take(&deliver(seq)));
                each.fold(Default::default(), |(mut asks, mut shows), mut more| {
                    asks.append(&mut more.0);
                    shows.append(&mut more.1);
                    (asks, shows)
                })
            }
            Event::SyncEnd(last_seq, head_seq) => self.take(&proto::SyncEnd {
                request_id: self.sync_id,
                conversation_id: CONVERSATION,
                last_seq,
                head_seq,
            }),
            Event::Error(retry_after_ms) => {
                self.take(&ErrorCode::Overloaded.message(self.sync_id, retry_after_ms, "busy"))
            }
            Event::ConversationOpened(head_seq) => self.take(&proto::ConversationOpened {
                request_id: self.open_id,
                conversation_id: CONVERSATION,
                head_seq,
                member_user_ids: vec![7, 8],
            }),
            Event::Lagged(skipped) => self.take(&proto::Lagged { skipped }),
            Event::Wait(ms) => {
                let mut out = Vec::new();
                let until = self.now + Duration::from_millis(ms);
                if let Some(at) = self.dialog.poll_timeout().filter(|at| *at <= until) {
                    assert_eq!(at, until, "it wants to be woken before the time");
                }
                self.now = until;
                self.dialog.retry(until, &mut out);
                self.told(out)
            }
            Event::Lost(lost) => {
                assert!(lost);
                self.dialog.on_lost();
                self.connect();
                Default::default()
            }
        }
    }
}

fn deliver(seq: u64) -> proto::Deliver {
    proto::Deliver {
        conversation_id: CONVERSATION,
        seq,
        message_id: 1_000 + seq,
        sender_user_id: 8,
        sender_device_id: 1,
        client_msg_id: u128::from(seq).to_be_bytes(),
        hlc: 0,
        payload: seq.to_string().into_bytes(),
    }
}

#[test]
fn it_stays_complete_as_the_document_says() {
    let cases: Cases = serde_json::from_str(CASES).unwrap();
    assert!(cases.cases.len() >= 20, "{} cases", cases.cases.len());
    for case in cases.cases {
        let mut client = Client {
            dialog: Dialog::new(8, Uuid::from_u128(1 << 64)),
            now: Instant::now(),
            open_id: 0,
            sync_id: 0,
        };
        client.connect();
        for (index, step) in case.steps.iter().enumerate() {
            let expected = (
                step.asks.into_iter().collect::<Vec<_>>(),
                step.shows.map_or(Vec::new(), |(a, b)| (a..=b).collect()),
            );
            let told = client.step(&step.event);
            assert_eq!(told, expected, "{}: step {index}, {step:?}", case.name);
        }
    }
}
