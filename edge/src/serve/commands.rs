//! What the main thread is asked to do: by SIGHUP, SIGINT and SIGTERM, and by the admin port.
//!
//! At most one SIGHUP waits: however many come, a stop is never behind more than the reload under way, that
//! one, and those that connections of the admin port wait for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Release},
};
use std::sync::mpsc::{self, Receiver, Sender};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::main_loop::LOOK_EVERY;
use crate::admin::Command;

/// What has been asked.
pub(super) struct Commands {
    asked: Receiver<Command>,
    ask: Sender<Command>,
    /// A SIGHUP waits.
    reload_waits: Arc<AtomicBool>,
}

impl Commands {
    /// From here on signals no longer end the process by themselves.
    pub(super) fn listen() -> io::Result<Self> {
        let mut heard = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let (ask, asked) = mpsc::channel();
        let tell = ask.clone();
        let reload_waits = Arc::new(AtomicBool::new(false));
        let waits = Arc::clone(&reload_waits);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in heard.forever() {
                    if signal == SIGHUP && waits.swap(true, AcqRel) {
                        continue;
                    }
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
        Ok(Self {
            asked,
            ask,
            reload_waits,
        })
    }

    /// For others who ask.
    pub(super) fn sender(&self) -> Sender<Command> {
        self.ask.clone()
    }

    /// The next command, or `None` after a while.
    pub(super) fn wait(&self) -> Option<Command> {
        let command = self.asked.recv_timeout(LOOK_EVERY).ok()?;
        if matches!(command, Command::Reload(None)) {
            // One that comes from here on is another one: files may change while they are read.
            self.reload_waits.store(false, Release);
        }
        Some(command)
    }
}
