//! From librdkafka's delivery reports to [`Acks`]: the reports come one by one on the thread that polls,
//! the answers go out in rounds on a thread of ours, which sleeps meanwhile. The queue between them holds
//! no more than was appended and not answered, which [`Held`] bounds.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam::queue::SegQueue;

use super::held::Held;
use crate::bell::Bell;
use crate::log::{Acks, AppendError, Offset, Partition, Ticket};

/// Answers of one round at most, so that the first of many is not kept waiting.
const ROUND: usize = 1024;
/// How often the end is looked for once no more is taken.
const CLOSING_LOOK: Duration = Duration::from_millis(20);
/// How soon what a full mailbox did not take is offered again.
const LATE_LOOK: Duration = Duration::from_millis(1);

/// Where a record that was taken lies, and when the brokers took it, Unix ms; 0 where they do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) at_ms: u64,
}

/// The outcome of an append.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) ticket: Ticket,
    /// The partition that it was appended to.
    pub(super) partition: Partition,
    /// The body's length, which is held until now.
    pub(super) body: usize,
    pub(super) outcome: Result<Taken, AppendError>,
}

pub(super) struct Answers {
    queue: SegQueue<Answer>,
    bell: Bell,
    pub(super) held: Held,
    /// The first panic of the [`Acks`].
    died: Mutex<Option<String>>,
}

impl Answers {
    pub(super) fn new(held: Held) -> Self {
        Self {
            queue: SegQueue::new(),
            bell: Bell::default(),
            held,
            died: Mutex::new(None),
        }
    }

    /// From the thread that polls.
    pub(super) fn push(&self, answer: Answer) {
        self.queue.push(answer);
        self.bell.ring();
    }

    /// Takes no more appends; [`run`](Self::run) ends when all are answered.
    pub(super) fn close(&self) {
        self.held.close();
        self.bell.ring();
    }

    /// Why the answering ended early, if it did.
    pub(super) fn died(&self) -> Option<String> {
        self.died
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Answers until closed and drained; `answered` hears of each before it is told. A panic of the acks
    /// closes the log; what is left is then answered as failed.
    pub(super) fn run(&self, mut acks: Box<dyn Acks>, answered: &dyn Fn(&Answer)) {
        self.bell.serve();
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.serve(&mut *acks, answered))) {
            let reason = panic_text(&*panic);
            tracing::error!(reason, "the receiver of the log's acks panicked");
            self.died
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(reason);
            self.held.close();
        }
    }

    fn serve(&self, acks: &mut dyn Acks, answered: &dyn Fn(&Answer)) {
        loop {
            let mut round = 0;
            while round < ROUND
                && let Some(answer) = self.queue.pop()
            {
                answered(&answer);
                self.tell(acks, answer);
                round += 1;
            }
            if round > 0 || acks.has_late() {
                acks.end_of_batch();
            }
            if round > 0 {
                continue;
            }
            if self.held.drained() {
                return;
            }
            let look = match acks.has_late() {
                true => Some(LATE_LOOK),
                false => self.held.is_closed().then_some(CLOSING_LOOK),
            };
            self.bell
                .sleep(look, || !self.queue.is_empty() || self.held.drained());
        }
    }

    fn tell(&self, acks: &mut dyn Acks, answer: Answer) {
        self.held.release(answer.body);
        let died = self
            .died
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        match answer.outcome {
            _ if died => acks.failed(answer.ticket, &AppendError::Closed),
            Ok(taken) => acks.acked(answer.ticket, taken.partition, taken.offset, taken.at_ms),
            Err(error) => acks.failed(answer.ticket, &error),
        }
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".into())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    struct Tell(mpsc::Sender<String>);

    impl Acks for Tell {
        fn acked(&mut self, ticket: Ticket, partition: Partition, offset: Offset, at_ms: u64) {
            assert!(ticket != 3, "a defect of the receiver");
            drop(
                self.0
                    .send(format!("{ticket} at {partition}/{offset}, {at_ms} ms")),
            );
        }
        fn failed(&mut self, ticket: Ticket, error: &AppendError) {
            drop(self.0.send(format!("{ticket}: {error}")));
        }
    }

    #[test]
    fn a_panic_closes_and_the_rest_is_answered_as_failed() {
        let answers = Arc::new(Answers::new(Held::new(10, 1000)));
        for ticket in 1..=5 {
            answers.held.take(9).unwrap();
            let outcome = Ok(Taken {
                partition: Partition(7),
                offset: Offset(ticket),
                at_ms: 70,
            });
            answers.push(Answer {
                ticket,
                partition: Partition(ticket as u32 % 2),
                body: 9,
                outcome,
            });
        }
        let (tell, told) = mpsc::channel();
        let heard = Mutex::new(Vec::new());
        let answered = |answer: &Answer| heard.lock().unwrap().push(answer.partition.0);
        answers.run(Box::new(Tell(tell)), &answered);
        assert_eq!(*heard.lock().unwrap(), [1, 0, 1, 0, 1], "of each, once");
        let told: Vec<String> = told.iter().collect();
        let closed = AppendError::Closed;
        let expected = [
            "1 at 7/1, 70 ms".into(),
            "2 at 7/2, 70 ms".into(),
            format!("4: {closed}"),
            format!("5: {closed}"),
        ];
        assert_eq!(told, expected);
        assert!(
            answers
                .died()
                .is_some_and(|why| why.contains("a defect of the receiver"))
        );
        assert_eq!(answers.held.take(1), Err(closed));
    }

    /// Hands on what it was told at the third attempt only.
    struct Late(u32, mpsc::Sender<u32>);

    impl Acks for Late {
        fn acked(&mut self, _: Ticket, _: Partition, _: Offset, _: u64) {
            self.0 = 3;
        }
        fn failed(&mut self, _: Ticket, _: &AppendError) {}
        fn end_of_batch(&mut self) {
            self.0 -= 1;
            if self.0 == 0 {
                let _ = self.1.send(0);
            }
        }
        fn has_late(&self) -> bool {
            self.0 > 0
        }
    }

    #[test]
    fn what_could_not_be_handed_on_is_tried_again_without_another_answer() {
        let answers = Arc::new(Answers::new(Held::new(10, 1000)));
        let (tell, told) = mpsc::channel();
        let own = Arc::clone(&answers);
        let thread = std::thread::spawn(move || own.run(Box::new(Late(0, tell)), &|_| {}));
        answers.held.take(9).unwrap();
        answers.push(Answer {
            ticket: 1,
            partition: Partition(0),
            body: 9,
            outcome: Ok(Taken {
                partition: Partition(0),
                offset: Offset(0),
                at_ms: 0,
            }),
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(0));
        answers.close();
        thread.join().unwrap();
    }
}
