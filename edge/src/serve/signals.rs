//! SIGHUP, SIGINT and SIGTERM, awaited on the main thread.

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How often the caller looks whether the engine is still there.
const LOOK_UP: Duration = Duration::from_millis(250);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGHUP.
    Reload,
    /// SIGTERM: clients are told to reconnect, then the server stops.
    Leave,
    /// SIGINT: it stops at once.
    Stop,
}

/// The signals that have come.
pub(super) struct Signals(Receiver<Signal>);

impl Signals {
    /// From here on signals no longer end the process by themselves.
    pub(super) fn listen() -> io::Result<Self> {
        let mut heard = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let (tell, signals) = mpsc::channel();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in heard.forever() {
                    let meaning = match signal {
                        SIGHUP => Signal::Reload,
                        SIGTERM => Signal::Leave,
                        _ => Signal::Stop,
                    };
                    if tell.send(meaning).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self(signals))
    }

    /// The next signal, or `None` after a while.
    pub(super) fn wait(&self) -> Option<Signal> {
        self.0.recv_timeout(LOOK_UP).ok()
    }
}
