//! What a run was made on and with, so that it can be judged elsewhere and made again.

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The commit, marked where files were changed since.
    pub commit: String,
    /// When the run began, UTC.
    pub date: String,
    /// How long it took in all.
    pub took_s: f64,
    /// The processor's name.
    pub cpu: String,
    /// Bytes of memory of the host.
    pub memory_bytes: u64,
    /// Soft and hard RLIMIT_NOFILE: file tables of rings are no longer than that.
    pub open_files: (u64, u64),
    /// The kernel parameters of the profile, in its order.
    pub sysctls: Vec<Sysctl>,
    /// The command that makes the whole run again.
    pub command: String,
    /// The server's and the load generator's.
    pub server_command: String,
    /// See `server_command`.
    pub flock_command: String,
    /// The server's configuration file.
    pub server_config: String,
    /// Handshakes of rustls alone, per second and core, measured in the same run; none where it was not.
    pub bare_handshakes_per_second_and_core: Option<f64>,
}

/// One kernel parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Its name.
    pub key: String,
    /// Its value in the run.
    pub value: String,
    /// What it was before, where the run changed it.
    pub before: Option<String>,
}
