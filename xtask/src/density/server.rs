//! The server of a run: started with a fresh data directory, and stopped politely.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};

use super::form::Form;
use crate::checkout::Checkout;
use crate::serving::{self, Serving};

/// A running server.
pub(super) struct Server {
    serving: Serving,
    /// As it was started.
    pub(super) command: String,
    /// Its configuration file.
    pub(super) config: String,
    pub(super) port: u16,
    /// Its data directory, from the checkout's root.
    pub(super) data: PathBuf,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(super) fn start(checkout: &Checkout, form: &Form) -> Result<Self> {
        let port = match form.port {
            Some(port) => port,
            None => serving::free_port()?,
        };
        // Several runs on one host do not meet.
        let folder = checkout.density().join(format!("run-{port}"));
        serving::fresh(&folder)?;
        let config = form.server_config();
        let file = folder.join("rookery.toml");
        std::fs::write(&file, &config).with_context(|| format!("write {}", file.display()))?;
        let data = checkout.relative(&folder).join("data");

        let program = checkout.rookery();
        let mut command = checkout.command(checkout.relative(&program));
        command.arg("serve").arg("--data").arg(&data);
        command.arg("--config").arg(checkout.relative(&file));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        command.args(["--shards", &cores.to_string()]);
        // All of loopback: one address has too few ports for the load generator.
        let all = format!("0.0.0.0:{port}");
        match form.plain {
            true => command.args(["--listen", "127.0.0.1:0", "--listen-plain", &all]),
            false => command.args(["--listen", &all]),
        };
        let told = told(&command);
        let serving =
            Serving::start(&mut command, folder).with_context(|| format!("start {told}"))?;
        Ok(Self {
            serving: serving.ready()?,
            command: told,
            config,
            port,
            data,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.serving.pid()
    }

    /// Asks it to stop, and waits.
    pub(super) fn stop(self) -> Result<()> {
        self.serving.stop()
    }
}

/// A command as a person would type it at the checkout's root.
pub(super) fn told(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| Path::new(word).display().to_string())
        .collect::<Vec<_>>()
        .join(" ")
}
