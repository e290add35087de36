//! A proxy in front of a service: lets through, holds everything back, or cuts.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Held,
    Cut,
}

/// See the module. Its threads end with the process.
pub(crate) struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    streams: Vec<TcpStream>,
}

impl Gate {
    /// In front of `host:port`.
    pub(crate) fn before(target: &str) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            state: Mutex::new(State {
                mode: Mode::Open,
                streams: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                accepting.serve(client);
            }
        });
        Gate { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn open(&self) {
        self.shared.set(Mode::Open);
    }

    /// Connections stay, and are made, but nothing comes through.
    pub(crate) fn hold(&self) {
        self.shared.set(Mode::Held);
    }

    /// Ends all connections; new ones end at once.
    pub(crate) fn cut(&self) {
        self.shared.set(Mode::Cut);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in here")
    }

    fn set(&self, mode: Mode) {
        let mut state = self.state();
        state.mode = mode;
        if mode == Mode::Cut {
            for stream in state.streams.drain(..) {
                // One that ended already has nothing to shut down.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.changed.notify_all();
    }

    fn serve(self: &Arc<Shared>, client: TcpStream) {
        let mut state = self.state();
        if state.mode == Mode::Cut {
            return;
        }
        let Ok(server) = TcpStream::connect(&self.target) else {
            return;
        };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let pair = (from.try_clone(), to.try_clone());
            let (Ok(from), Ok(to)) = pair else { return };
            let shared = Arc::clone(self);
            std::thread::spawn(move || shared.pump(from, to));
        }
        state.streams.extend([client, server]);
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            let state = self.state();
            let held = |state: &mut State| state.mode == Mode::Held;
            drop(
                self.changed
                    .wait_while(state, held)
                    .expect("no panic in here"),
            );
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
}
