//! A running server: pinned to a core, its output in a log file, gone when this value is dropped and when
//! this program ends, however it ends.

use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::launch::Launch;

/// A server that has to write its files first takes some seconds.
const START_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Server {
    child: Child,
    /// Where it listens.
    pub(super) port: u16,
}

impl Server {
    /// Starts it on one core and waits until it answers.
    pub(super) fn start(launch: &Launch, core: usize, log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("write {}", log.display()))?;
        let child = pinned(core)
            .arg(&launch.program)
            .args(&launch.arguments)
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the log")?)
            .stderr(output)
            .spawn()
            .context("start it (setpriv and taskset are in util-linux)")?;
        let mut server = Self {
            child,
            port: launch.port,
        };
        server.await_answer(log)?;
        Ok(server)
    }

    fn await_answer(&mut self, log: &Path) -> Result<()> {
        let began = Instant::now();
        loop {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || began.elapsed() > START_MAX {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let from = said.lines().count().saturating_sub(5);
                let last: Vec<&str> = said.lines().skip(from).collect();
                let how = ended.map_or("does not listen".to_owned(), |status| status.to_string());
                bail!("it did not start ({how}): {}", last.join(" / "));
            }
            thread::sleep(LOOK);
        }
    }

    /// Its process; `taskset` and `setpriv` have become it.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing that it holds is worth a polite end, and some take their time.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The beginning of a command line that runs on one core only and does not outlive this program.
pub(super) fn pinned(core: usize) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string()]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_is_told_with_what_it_said() {
        let log = std::env::temp_dir().join(format!("xtask-server-{}", std::process::id()));
        let launch = Launch {
            program: "sh".into(),
            arguments: ["-c", "echo no such file; exit 3"].map(Into::into).to_vec(),
            environment: Vec::new(),
            port: 1,
        };
        let error = Server::start(&launch, 0, &log).err().unwrap().to_string();
        std::fs::remove_file(log).ok();
        assert!(
            error.contains("no such file") && error.contains("3"),
            "{error}"
        );
    }
}
