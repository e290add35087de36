//! What a simulation watches: the invariants, what was exercised, and the hash of the whole trace.

use std::fmt;

use super::rng::mix;

/// Declares a field-less enum with a text for each variant.
macro_rules! named {
    ($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $enum { $(#[doc = $text] $(#[$vdoc])* $name,)* }

        impl $enum {
            /// All of them.
            pub const ALL: &'static [$enum] = &[$($enum::$name,)*];

            /// In words.
            pub const fn text(self) -> &'static str {
                match self { $($enum::$name => $text,)* }
            }
        }

        impl fmt::Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.text())
            }
        }
    };
}

named! {
    /// An invariant of the loop.
    Check {
        /// Only a slot that the loop was given and did not close may be named.
        OpOnFreeSlot = "operation on a free slot",
        /// One receive of a slot at a time.
        TwoReceives = "two receives in flight on a slot",
        /// One send of a slot at a time, or bytes change places.
        TwoSends = "two sends in flight on a slot",
        /// One poll for the same thing.
        TwoPolls = "two equal polls in flight on a slot",
        /// Closing is a join.
        CloseInFlight = "close with something in flight on the slot",
        /// What is in flight on the old slot would take the new owner's bytes.
        MoveInFlight = "move with a receive or send in flight on the slot",
        /// Accepts are bounded.
        TooManyAccepts = "more accepts armed on a listener than allowed",
        /// An accept's address is asked for once ...
        AddressTwice = "address of an accept asked for twice",
        /// ... and always.
        AddressKept = "address of an accept never asked for",
        /// A connection comes from where the loop says.
        WrongAddress = "connection said to come from another address",
        /// A send has something to send.
        BadSend = "send of nothing or from beyond the end",
        /// A buffer that the kernel owns is not the loop's to give back or to read.
        BufferNotHeld = "buffer used or given back that the loop does not hold",
        /// At the end every buffer is with the kernel.
        BufferLost = "buffer never given back",
        /// At the end every slot is free.
        SlotLeak = "slot never closed",
        /// What reaches the handler is what the client sent.
        RequestDiffers = "bytes handed to the handler differ from those sent",
        /// What reaches the client is the echo of what it sent.
        EchoDiffers = "echo differs from what was sent",
        /// Nothing is lost without a cause.
        EchoShort = "echo is incomplete though nothing befell the connection",
        /// Every connection begins once and ends once.
        Lifecycle = "connection began or ended twice, never, or unknown",
        /// A deadline does not fire before its time.
        TimerEarly = "deadline fired early",
        /// Nor long after it.
        TimerLate = "deadline fired late or never",
        /// What came in time counts, however late the loop is.
        DeadlineUnread = "deadline told though bytes that came before it were not read",
        /// A client is not charged for the time in which the process did not run.
        StandstillCharged = "time in which the loop did not run counted towards a deadline",
        /// What the mailbox took arrives, once.
        MailLost = "mail lost or doubled",
        /// What has been posted is looked at before the shard sleeps.
        SleptOnMail = "slept with mail or a parcel waiting",
        /// What all queues hold is added up where each changes.
        SumWrong = "the sum of what queues hold is wrong",
        /// When nothing fails any more, everything ends.
        NotSettled = "not settled in time",
        /// The loop does not panic.
        Panicked = "the loop panicked",
    }
}

named! {
    /// Something that a simulation should have met.
    Count {
        Turn = "turns of the loop",
        ShortRead = "short reads",
        ShortWrite = "short writes",
        RecvWouldBlock = "EAGAIN on receive",
        SendWouldBlock = "EAGAIN on send",
        SentOn = "sends that went on after the socket was full",
        NoBuffers = "ENOBUFS",
        RecvReset = "ECONNRESET on receive",
        RecvTimedOut = "ETIMEDOUT on receive",
        SendReset = "ECONNRESET on send",
        SendBrokenPipe = "EPIPE on send",
        HalfClose = "half-closes by the peer",
        PeerReset = "resets by the peer",
        UnreadClose = "closes with unread bytes (RST)",
        LateOp = "operations done after later ones",
        LatePoll = "polls reported late",
        SpuriousPoll = "polls fired for nothing",
        SpuriousWake = "wakes for nothing",
        AcceptFull = "ENFILE on accept, table full",
        AcceptNoFile = "ENFILE on accept, host full",
        AcceptEnded = "accepts ended for no reason",
        AcceptShut = "turns that let nobody in",
        AcceptCancelled = "accepts cancelled",
        Accepted = "connections accepted",
        BacklogFull = "connections refused, backlog full",
        SocketFull = "ENFILE on socket",
        Connected = "connections made by a shard",
        ConnectFailed = "connects failed",
        ConnectUnanswered = "connects without an answer",
        MoveDone = "moves between shards",
        MoveFull = "ENFILE on SEND_FD",
        SentLater = "echoes sent in a later turn",
        MoveFailed = "moves that failed",
        MovedBusy = "moves with requests under way",
        Answered = "questions about connections answered",
        Unanswered = "questions about connections not answered",
        MailSent = "mail between shards",
        MailFull = "mailbox full",
        Paused = "reading paused",
        StaleId = "calls with the id of a gone connection",
        QueueFull = "send queue full",
        DeadlineFired = "deadlines fired",
        DeadlineRemoved = "deadlines removed",
        DeadlineReplaced = "deadlines replaced",
        Stall = "threads stalled",
        Standstill = "standstills of the process",
        WallForward = "wall clock jumps forward",
        WallBack = "wall clock jumps back",
        MonoJump = "monotonic clock jumps forward",
        SlowReader = "clients that read slowly",
        ClosedByHandler = "closes asked for by the handler",
        TalkedOn = "clients that talk on after the close",
        FlushedWhole = "flushed closes that lost nothing",
        StopUnderLoad = "stops under load",
        Echoed = "requests echoed",
        BytesChecked = "bytes checked at the clients",
        PeerDone = "clients served in full",
    }
}

/// How often each thing was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage([u64; Count::ALL.len()]);

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage([0; Count::ALL.len()])
    }
}

impl Coverage {
    /// How often that was met.
    pub fn of(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    /// Adds another simulation's.
    pub fn merge(&mut self, other: &Coverage) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &count in Count::ALL {
            writeln!(f, "{count:<40} {:>12}", self.of(count))?;
        }
        Ok(())
    }
}

/// The first thing that went wrong.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which invariant.
    pub check: Check,
    /// Where and what.
    pub detail: String,
}

/// The watch of one simulation.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// What was met.
    pub(super) coverage: Coverage,
    /// The first failure.
    pub(super) violation: Option<Violation>,
    trace: u64,
}

impl Checks {
    /// Counts one.
    pub(super) fn count(&mut self, count: Count) {
        self.add(count, 1);
    }

    /// Counts `n`.
    pub(super) fn add(&mut self, count: Count, n: u64) {
        self.coverage.0[count as usize] += n;
    }

    /// Notes a failure. Only the first counts: the others follow from it.
    pub(super) fn fail(&mut self, check: Check, detail: String) {
        self.violation.get_or_insert(Violation { check, detail });
    }

    /// Fails unless it holds.
    pub(super) fn hold(&mut self, holds: bool, check: Check, detail: impl FnOnce() -> String) {
        if !holds {
            self.fail(check, detail());
        }
    }

    /// Takes an event into the trace's hash.
    pub(super) fn note(&mut self, what: u64, value: u64) {
        self.trace = mix(self.trace ^ mix(what).wrapping_add(value));
    }

    /// The hash of everything noted, in its order.
    pub(super) fn trace(&self) -> u64 {
        self.trace
    }
}
