//! The life of a slot as one table: state x event -> next state and action.
//!
//! The table is pure; [`crate::shard`] carries the actions out. What is in flight for a slot is not
//! part of its state: it is a set of bits beside it (`InFlight`), and two events
//! ([`Event::Quiet`], [`Event::Joined`]) say that the set has become empty. A slot is given back to
//! the kernel only on `Joined`. An event that a state does not expect changes nothing.

/// Where a slot is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// No file in it.
    #[default]
    Free,
    /// A socket whose connect is under way.
    Connecting,
    /// The file came from another shard, its parcel has not yet.
    Arriving,
    /// Open and at rest: one oneshot poll armed.
    Parked,
    /// Open and readable: waits for a receive buffer.
    Ready,
    /// Open, a receive in flight.
    Receiving,
    /// Open, reading stopped by the handler.
    Held,
    /// Asked to move: waits until nothing is queued or in flight.
    Departing,
    /// The file is on its way to another shard.
    Moving,
    /// Closing: what is queued is sent first.
    Flushing,
    /// Closing: our side is shut down, the peer's last bytes are read and dropped, so that the
    /// kernel does not answer them with a reset that would destroy our own last bytes.
    Lingering,
    /// Shut down: waits until nothing is in flight.
    Closing,
    /// The close of the slot is in flight.
    Freeing,
}

/// What happens to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// An accept put a connection into it.
    Accepted,
    /// A socket was made in it.
    SocketMade,
    /// The connect succeeded.
    Connected,
    /// Another shard put a connection into it.
    Arrived,
    /// The parcel has come too.
    Parcel,
    /// The read poll fired.
    Readable,
    /// A receive buffer is free for it.
    Granted,
    /// A receive brought bytes (already handed over) and the socket is empty.
    Data,
    /// A receive brought bytes (already handed over) and there are more.
    DataMore,
    /// A receive found nothing.
    WouldBlock,
    /// A receive found no buffer.
    NoBuffer,
    /// The peer has closed its side.
    Eof,
    /// The kernel reported an error; or a bound of time or bytes was passed.
    Failed,
    /// Its deadline has passed: what has come is read before it is told.
    Overdue,
    /// The handler stops reading.
    Pause,
    /// The handler reads again.
    Resume,
    /// The handler asks to move it.
    MoveAsked,
    /// Nothing is queued or in flight.
    Quiet,
    /// The target has the file.
    Moved,
    /// The target ring has no room: another ring is tried.
    MoveRetried,
    /// No ring has room.
    MoveFailed,
    /// To be closed after what is queued.
    CloseFlush,
    /// To be closed at once.
    CloseNow,
    /// Everything queued has been sent; the peer's side is still open.
    Drained,
    /// Everything queued has been sent; the peer's side is closed.
    DrainedEof,
    /// Nothing is in flight.
    Joined,
    /// The close of the slot is complete.
    Freed,
}

/// What is to be done after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Start the connect.
    Connect,
    /// Arm the oneshot read poll, unless it is armed.
    ArmPoll,
    /// Stand in line for a receive buffer.
    Enqueue,
    /// Receive.
    Recv,
    /// End the read poll, if it is armed.
    CancelPoll,
    /// Send the file to the other shard.
    SendFd,
    /// Look whether everything queued has been sent.
    Flush,
    /// Shut our side down and read on.
    ShutWrite,
    /// Shut both sides down.
    ShutBoth,
    /// Give the slot back to the kernel.
    CloseSlot,
    /// The slot may be used again.
    Release,
}

/// The table.
pub fn step(state: State, event: Event) -> (State, Action) {
    use Action as A;
    use Event as E;
    use State as S;
    match (state, event) {
        // Most clients speak first: what they said is read before anything is waited for.
        (S::Free, E::Accepted) => (S::Ready, A::Enqueue),
        (S::Free, E::SocketMade) => (S::Connecting, A::Connect),
        (S::Free, E::Arrived) => (S::Arriving, A::Nothing),

        (S::Connecting, E::Connected) => (S::Parked, A::ArmPoll),
        (S::Connecting | S::Arriving, E::Failed | E::CloseNow) => (S::Closing, A::ShutBoth),
        (S::Arriving, E::Parcel) => (S::Parked, A::ArmPoll),

        (S::Parked, E::Readable | E::Overdue) => (S::Ready, A::Enqueue),
        (S::Ready, E::Granted) => (S::Receiving, A::Recv),
        (S::Receiving, E::Data | E::WouldBlock) => (S::Parked, A::ArmPoll),
        (S::Receiving, E::DataMore | E::NoBuffer) => (S::Ready, A::Enqueue),

        (S::Parked | S::Ready | S::Receiving, E::Pause) => (S::Held, A::Nothing),
        (S::Held, E::Resume) => (S::Parked, A::ArmPoll),

        (S::Parked | S::Ready | S::Receiving | S::Held, E::MoveAsked) => {
            (S::Departing, A::CancelPoll)
        }
        (S::Departing, E::Quiet) => (S::Moving, A::SendFd),
        (S::Moving, E::MoveRetried) => (S::Moving, A::SendFd),
        (S::Moving, E::Moved) => (S::Freeing, A::CloseSlot),
        (S::Departing | S::Moving, E::MoveFailed) => (S::Parked, A::ArmPoll),

        (S::Parked | S::Ready | S::Receiving | S::Held | S::Departing, E::CloseFlush | E::Eof) => {
            (S::Flushing, A::Flush)
        }
        (
            S::Parked
            | S::Ready
            | S::Receiving
            | S::Held
            | S::Departing
            | S::Flushing
            | S::Lingering,
            E::CloseNow | E::Failed,
        ) => (S::Closing, A::ShutBoth),
        (S::Flushing, E::Drained) => (S::Lingering, A::ShutWrite),
        (S::Flushing, E::DrainedEof) => (S::Closing, A::ShutBoth),

        (S::Lingering, E::Readable | E::DataMore | E::NoBuffer) => (S::Lingering, A::Enqueue),
        (S::Lingering, E::Granted) => (S::Lingering, A::Recv),
        (S::Lingering, E::Data | E::WouldBlock) => (S::Lingering, A::ArmPoll),
        (S::Lingering, E::Eof) => (S::Closing, A::ShutBoth),

        (S::Closing, E::Joined) => (S::Freeing, A::CloseSlot),
        (S::Freeing, E::Freed) => (S::Free, A::Release),
        (state, _) => (state, A::Nothing),
    }
}

impl State {
    /// The handler has been told of the connection and may use it.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            State::Parked
                | State::Ready
                | State::Receiving
                | State::Held
                | State::Departing
                | State::Moving
        )
    }

    /// The handler has been told of the connection, and not yet of its end.
    pub fn is_live(self) -> bool {
        self.is_open() || matches!(self, State::Flushing | State::Lingering | State::Closing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 13] = [
        State::Free,
        State::Connecting,
        State::Arriving,
        State::Parked,
        State::Ready,
        State::Receiving,
        State::Held,
        State::Departing,
        State::Moving,
        State::Flushing,
        State::Lingering,
        State::Closing,
        State::Freeing,
    ];

    const EVENTS: [Event; 27] = [
        Event::Accepted,
        Event::SocketMade,
        Event::Connected,
        Event::Arrived,
        Event::Parcel,
        Event::Readable,
        Event::Granted,
        Event::Data,
        Event::DataMore,
        Event::WouldBlock,
        Event::NoBuffer,
        Event::Eof,
        Event::Failed,
        Event::Overdue,
        Event::Pause,
        Event::Resume,
        Event::MoveAsked,
        Event::Quiet,
        Event::Moved,
        Event::MoveRetried,
        Event::MoveFailed,
        Event::CloseFlush,
        Event::CloseNow,
        Event::Drained,
        Event::DrainedEof,
        Event::Joined,
        Event::Freed,
    ];

    /// One line per cell that does something.
    fn rendered() -> String {
        let mut lines = String::new();
        for state in STATES {
            for event in EVENTS {
                let (next, action) = step(state, event);
                if (next, action) != (state, Action::Nothing) {
                    lines += &format!("{state:?} + {event:?} -> {next:?}, {action:?}\n");
                }
            }
        }
        lines
    }

    /// The committed table. Write it anew with `ROOKERY_BLESS=1`, and read the difference.
    #[test]
    fn the_table_is_the_committed_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/slot/state.table");
        if std::env::var_os("ROOKERY_BLESS").is_some() {
            std::fs::write(path, rendered()).unwrap();
        }
        assert_eq!(rendered(), std::fs::read_to_string(path).unwrap());
    }

    /// Whatever happens on the way, a slot can always be brought back: from every state that holds a
    /// file, a failure and the joins after it lead to `Free`.
    #[test]
    fn every_state_can_be_torn_down() {
        for state in STATES {
            let mut now = state;
            for event in [
                Event::MoveFailed,
                Event::Failed,
                Event::Joined,
                Event::Freed,
            ] {
                now = step(now, event).0;
            }
            assert_eq!(now, State::Free, "from {state:?}");
        }
    }

    /// Only a join (or a move's end, which follows one) gives a slot back.
    #[test]
    fn a_slot_is_closed_only_after_a_join() {
        for state in STATES {
            for event in EVENTS {
                if step(state, event).1 == Action::CloseSlot {
                    assert!(matches!(event, Event::Joined | Event::Moved), "{event:?}");
                }
            }
        }
    }
}
