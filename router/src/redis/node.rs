//! Which instance is a node. Two with one node id would give two messages the same id, so the second
//! one is refused.
//!
//! A lease in Redis, `node:<id>` -> instance, renewed while the process lives. An instance is a random
//! name kept in the data directory, so that a process that was killed and starts again on its
//! directory is the same instance and need not wait for its own lease to run out.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::cmd;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::Options;
use super::keys::Keys;
use super::lane::Lane;
use crate::store::StoreError;

/// How long a node stays taken after its instance was last heard of.
pub const NODE_TTL: Duration = Duration::from_secs(15);
/// A renewal may fail twice before the lease runs out.
const RENEW: Duration = Duration::from_secs(5);

/// Takes the lease, or renews it. KEYS: node. ARGV: instance, ms. Gives the other instance and for how
/// many more ms, where there is one.
const TAKE: &str = "\
    local held = redis.call('GET', KEYS[1])
    if held and held ~= ARGV[1] then return {held, tostring(redis.call('PTTL', KEYS[1]))} end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return {}";

/// Gives the lease back. KEYS: node. ARGV: instance.
const RELEASE: &str = "\
    if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
    return 0";

/// The name of an instance: 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(String);

impl Instance {
    /// The instance of a data directory; made where the directory has none. The caller holds the
    /// directory's lock, else two could be one.
    pub fn of_dir(dir: &Path) -> Result<Instance, StoreError> {
        let path = dir.join("instance");
        let failed = |error: &std::io::Error| StoreError::Failed {
            doing: "name this instance",
            reason: format!("{}: {error}", path.display()),
        };
        match std::fs::read_to_string(&path) {
            Ok(name) if is_name(name.trim()) => Ok(Instance(name.trim().to_owned())),
            Ok(_) => Err(StoreError::Failed {
                doing: "name this instance",
                reason: format!(
                    "{} holds no 32 hex digits: remove it, another is made",
                    path.display()
                ),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let instance = Instance::random().map_err(|error| failed(&error))?;
                let mut file = tempfile_beside(&path).map_err(|error| failed(&error))?;
                writeln!(file.1, "{instance}")
                    .and_then(|()| file.1.sync_all())
                    .and_then(|()| std::fs::rename(&file.0, &path))
                    .map_err(|error| failed(&error))?;
                Ok(instance)
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// An instance that no other is.
    pub fn random() -> std::io::Result<Instance> {
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Instance(
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node id that is this instance's for as long as this lives.
pub struct Node {
    lease: Lease,
    taken: Arc<AtomicBool>,
    renewing: AbortHandle,
}

#[derive(Clone)]
struct Lease {
    lane: Lane,
    key: String,
    node_id: u16,
    instance: Instance,
}

/// Who holds a node instead.
struct Held {
    instance: String,
    /// Until it runs out; `None` for a key that never does, which is not one of ours.
    left: Option<Duration>,
}

impl Node {
    /// Takes a node id and keeps it, on `runtime`. Where another instance has it, waits until that
    /// one's lease runs out, at most [`NODE_TTL`]; one that renews it lives, and that is an error.
    pub async fn take(
        options: &Options,
        node_id: u16,
        instance: &Instance,
        runtime: &Handle,
    ) -> Result<Node, StoreError> {
        let lease = Lease {
            lane: Lane::new(options)?,
            key: Keys::new(&options.key_prefix).node(node_id),
            node_id,
            instance: instance.clone(),
        };
        let mut left_last = Duration::MAX;
        while let Some(held) = lease.take().await? {
            let waits = held.left.filter(|left| *left <= left_last);
            let Some(left) = waits else {
                return Err(StoreError::Failed {
                    doing: "take the node id",
                    reason: lease.conflict(&held),
                });
            };
            left_last = left;
            let instance = held.instance;
            tracing::info!(node_id, instance, "waiting for the node's lease");
            sleep(Duration::from_secs(1).min(left)).await;
        }
        let taken = Arc::new(AtomicBool::new(false));
        let renewing = runtime.spawn(renew(lease.clone(), Arc::clone(&taken)));
        Ok(Node {
            lease,
            taken,
            renewing: renewing.abort_handle(),
        })
    }

    /// Whether another instance has the node by now: this one was silent for too long, and must not
    /// give ids any more.
    pub fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// Gives the node id back at once, for whoever comes next.
    pub async fn release(self) -> Result<(), StoreError> {
        self.renewing.abort();
        let mut script = cmd("EVAL");
        script.arg(RELEASE).arg(1).arg(&self.lease.key);
        script.arg(&self.lease.instance.0);
        self.lease
            .lane
            .call(async |connection| script.query_async::<()>(connection).await)
            .await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Lease {
    async fn take(&self) -> Result<Option<Held>, StoreError> {
        let mut script = cmd("EVAL");
        script.arg(TAKE).arg(1).arg(&self.key).arg(&self.instance.0);
        script.arg(u64::try_from(NODE_TTL.as_millis()).unwrap_or(u64::MAX));
        let held: Vec<String> = self
            .lane
            .call(async |connection| script.query_async(connection).await)
            .await?;
        let [instance, left_ms] = held.as_slice() else {
            return Ok(None);
        };
        Ok(Some(Held {
            instance: instance.clone(),
            // -1 where it never does.
            left: left_ms.parse().ok().map(Duration::from_millis),
        }))
    }

    fn conflict(&self, held: &Held) -> String {
        let (node_id, instance) = (self.node_id, &held.instance);
        match held.left {
            Some(_) => format!(
                "node_id {node_id} is another living instance's ({instance}): give every host a \
                 node_id of its own"
            ),
            None => format!(
                "the key {} holds {instance} and never runs out, so this program did not write it: \
                 delete it, or use another key_prefix",
                self.key
            ),
        }
    }
}

async fn renew(lease: Lease, taken: Arc<AtomicBool>) {
    loop {
        sleep(RENEW).await;
        match lease.take().await {
            Ok(None) => taken.store(false, Ordering::Relaxed),
            Ok(Some(held)) => {
                taken.store(true, Ordering::Relaxed);
                tracing::error!("{}", lease.conflict(&held));
            }
            Err(error) => tracing::debug!(%error, "the node's lease was not renewed"),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A new file next to `path`, to be renamed over it once it is whole.
fn tempfile_beside(path: &Path) -> std::io::Result<(std::path::PathBuf, std::fs::File)> {
    let beside = path.with_extension("new");
    let file = std::fs::File::create(&beside)?;
    Ok((beside, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_stays_with_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Instance::of_dir(dir.path()).unwrap();
        assert!(is_name(&first.to_string()));
        assert_eq!(Instance::of_dir(dir.path()).unwrap(), first);
        assert_ne!(Instance::random().unwrap(), first);
        std::fs::write(dir.path().join("instance"), "x").unwrap();
        let error = Instance::of_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains("remove it"), "{error}");
        let missing = Instance::of_dir(&dir.path().join("no"));
        assert!(missing.is_err());
    }
}
