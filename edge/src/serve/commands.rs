//! What the main thread is asked to do: by SIGHUP, SIGINT and SIGTERM, and by the admin port.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::LOOK_EVERY;
use crate::admin::Command;

/// What has been asked.
pub(super) struct Commands {
    asked: Receiver<Command>,
    ask: Sender<Command>,
}

impl Commands {
    /// From here on signals no longer end the process by themselves.
    pub(super) fn listen() -> io::Result<Self> {
        let mut heard = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let (ask, asked) = mpsc::channel();
        let tell = ask.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in heard.forever() {
                    let meaning = match signal {
                        SIGHUP => Command::Reload(None),
                        SIGTERM => Command::Leave,
                        _ => Command::Stop,
                    };
                    if tell.send(meaning).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { asked, ask })
    }

    /// For others who ask.
    pub(super) fn sender(&self) -> Sender<Command> {
        self.ask.clone()
    }

    /// The next command, or `None` after a while.
    pub(super) fn wait(&self) -> Option<Command> {
        self.asked.recv_timeout(LOOK_EVERY).ok()
    }
}
