//! Bounded mailboxes: how other threads reach a shard.
//!
//! One lock-free queue and one bell (an eventfd) per shard. A poster rings only when the shard has
//! said that it sleeps, so a busy shard costs its posters no system call. Nothing here waits: a full
//! mailbox gives the message back.
//!
//! Invariant: a message whose post returned `Ok` is seen before the shard sleeps again. The shard
//! raises its flag and then looks at its queues; the poster fills the queue and then looks at the flag;
//! a sequentially consistent fence stands between the two steps on both sides.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use crossbeam::queue::ArrayQueue;

use crate::sys::eventfd::EventFd;

/// A shard's bell.
#[derive(Debug)]
pub struct Waker {
    bell: EventFd,
    asleep: AtomicBool,
}

impl Waker {
    fn new() -> io::Result<Self> {
        Ok(Waker {
            bell: EventFd::new()?,
            asleep: AtomicBool::new(false),
        })
    }

    /// Wakes the shard if it sleeps. Call it after what the shard shall see has been stored.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.bell.ring();
        }
    }

    /// The shard is about to sleep: look at every queue after this call.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The shard is awake.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Nobody has rung since it fell asleep.
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    pub(crate) fn bell(&self) -> &EventFd {
        &self.bell
    }
}

#[derive(Debug)]
struct Mailbox<M> {
    queue: ArrayQueue<M>,
    /// What the messages in it hold, beside themselves.
    bytes: AtomicUsize,
    bytes_max: usize,
    held_bytes: fn(&M) -> usize,
    waker: Arc<Waker>,
}

impl<M> Mailbox<M> {
    fn push(&self, mail: M) -> Result<(), M> {
        let more = (self.held_bytes)(&mail);
        // One that holds nothing never waits for those that do.
        if more > 0 && self.bytes.fetch_add(more, Ordering::Relaxed) >= self.bytes_max {
            self.bytes.fetch_sub(more, Ordering::Relaxed);
            return Err(mail);
        }
        self.queue.push(mail).inspect_err(|_| {
            self.bytes.fetch_sub(more, Ordering::Relaxed);
        })
    }

    fn pop(&self) -> Option<M> {
        let mail = self.queue.pop()?;
        self.bytes
            .fetch_sub((self.held_bytes)(&mail), Ordering::Relaxed);
        Some(mail)
    }
}

/// The sending side of every shard's mailbox. Cheap to clone, for any thread.
#[derive(Debug)]
pub struct Postboxes<M> {
    boxes: Arc<[Mailbox<M>]>,
}

impl<M> Clone for Postboxes<M> {
    fn clone(&self) -> Self {
        Postboxes {
            boxes: Arc::clone(&self.boxes),
        }
    }
}

impl<M> Postboxes<M> {
    /// The number of shards.
    pub fn shards(&self) -> u16 {
        self.boxes.len() as u16
    }

    /// Posts to a shard. Gives the message back when the mailbox is full or there is no such shard.
    pub fn post(&self, shard: u16, mail: M) -> Result<(), M> {
        let Some(target) = self.boxes.get(usize::from(shard)) else {
            return Err(mail);
        };
        target.push(mail)?;
        target.waker.wake();
        Ok(())
    }
}

/// The receiving side of one shard's mailbox.
#[derive(Debug)]
pub struct Inbox<M> {
    shard: u16,
    all: Postboxes<M>,
}

impl<M> Inbox<M> {
    /// The shard to which it belongs.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// The sending sides.
    pub fn postboxes(&self) -> &Postboxes<M> {
        &self.all
    }

    /// The shard's bell.
    pub fn waker(&self) -> &Arc<Waker> {
        &self.own().waker
    }

    /// The oldest message.
    pub(crate) fn take(&mut self) -> Option<M> {
        self.own().pop()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.own().queue.is_empty()
    }

    fn own(&self) -> &Mailbox<M> {
        &self.all.boxes[usize::from(self.shard)]
    }
}

/// What a mailbox takes.
#[derive(Clone, Copy, Debug)]
pub struct Capacity<M> {
    /// Messages, at least 1; memory for them is taken at once.
    pub messages: usize,
    /// What they hold beside themselves, bytes. The last one may pass it.
    pub bytes: usize,
    /// What one holds.
    pub held_bytes: fn(&M) -> usize,
}

impl<M> Capacity<M> {
    /// So many messages that hold nothing.
    pub fn messages(messages: usize) -> Self {
        Self {
            messages,
            bytes: usize::MAX,
            held_bytes: |_| 0,
        }
    }
}

/// Mailboxes for `shards` shards. Fails where the process may have no more files (each bell is one).
pub fn channel<M>(shards: u16, capacity: Capacity<M>) -> io::Result<(Postboxes<M>, Vec<Inbox<M>>)> {
    let boxes = (0..shards)
        .map(|_| {
            Ok(Mailbox {
                queue: ArrayQueue::new(capacity.messages.max(1)),
                bytes: AtomicUsize::new(0),
                bytes_max: capacity.bytes,
                held_bytes: capacity.held_bytes,
                waker: Arc::new(Waker::new()?),
            })
        })
        .collect::<io::Result<Vec<_>>>()?;
    let all = Postboxes {
        boxes: boxes.into(),
    };
    let inboxes = (0..shards)
        .map(|shard| Inbox {
            shard,
            all: all.clone(),
        })
        .collect();
    Ok((all, inboxes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_gives_the_message_back() {
        let (post, mut inboxes) = channel(2, Capacity::messages(2)).unwrap();
        assert_eq!(post.post(1, 'a'), Ok(()));
        assert_eq!(post.post(1, 'b'), Ok(()));
        assert_eq!(post.post(1, 'c'), Err('c'));
        assert_eq!(post.post(2, 'd'), Err('d'), "there is no such shard");
        assert_eq!(inboxes[1].take(), Some('a'));
        assert_eq!(post.post(1, 'c'), Ok(()));
        assert!(inboxes[0].is_empty());
    }

    #[test]
    fn what_messages_hold_is_bounded_and_one_that_holds_nothing_does_not_wait() {
        let capacity = Capacity {
            messages: 10,
            bytes: 100,
            held_bytes: |mail: &Vec<u8>| mail.len(),
        };
        let (post, mut inboxes) = channel(1, capacity).unwrap();
        assert_eq!(post.post(0, vec![0; 99]), Ok(()));
        assert_eq!(post.post(0, vec![0; 500]), Ok(()), "the last may pass it");
        assert_eq!(post.post(0, vec![7]), Err(vec![7]));
        assert_eq!(post.post(0, vec![]), Ok(()));
        assert_eq!(inboxes[0].take(), Some(vec![0; 99]));
        assert_eq!(post.post(0, vec![7]), Err(vec![7]));
        assert_eq!(inboxes[0].take(), Some(vec![0; 500]));
        assert_eq!(post.post(0, vec![7]), Ok(()));
    }

    /// A reader that sleeps whenever it sees nothing must be woken for every message: it sleeps
    /// without a timeout that would hide a lost ring.
    #[test]
    fn no_ring_is_lost() {
        const EACH: u32 = 50_000;
        let (post, mut inboxes) = channel(1, Capacity::messages(64)).unwrap();
        let mut inbox = inboxes.remove(0);
        let posters: Vec<_> = (0..3)
            .map(|poster| {
                let post = post.clone();
                std::thread::spawn(move || {
                    for number in 0..EACH {
                        let mut mail = (poster, number);
                        while let Err(back) = post.post(0, mail) {
                            mail = back;
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let (mut next, mut sleeps) = ([0; 3], 0);
        while next.iter().sum::<u32>() < 3 * EACH {
            if let Some((poster, number)) = inbox.take() {
                let expected: &mut u32 = &mut next[poster];
                assert_eq!(number, *expected);
                *expected += 1;
                continue;
            }
            let waker = Arc::clone(inbox.waker());
            waker.fall_asleep();
            if inbox.is_empty() {
                sleeps += 1;
                assert!(waker.bell().wait(20_000_000_000), "nobody rang: {next:?}");
                waker.bell().clear();
            }
            waker.awake();
        }
        posters.into_iter().for_each(|p| p.join().unwrap());
        println!("{} messages, {sleeps} sleeps", 3 * EACH);
        assert!(sleeps > 0, "never slept: the test tests nothing");
    }
}
