//! A `glommio` executor on the log's own thread, run for the length of one write at a time.
//!
//! So nothing ever wakes it from another thread, and its waker's 16-bit count is out of reach. It
//! sleeps on nothing of ours between commits: the log's thread parks itself. Its panics end the
//! log's thread in good order (`service`), which refuses further appends and says why.

use std::io;
use std::path::PathBuf;

use glommio::io::{DmaFile, OpenOptions};
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement};

use super::Writer;
use crate::log::api::LogError;

pub(super) struct Glommio {
    dir: PathBuf,
    // Before the executor, which must outlive it.
    file: Option<DmaFile>,
    executor: LocalExecutor,
}

impl Glommio {
    /// `batch_bytes_max` sizes the registered memory: one write is in flight at a time.
    pub(super) fn new(dir: PathBuf, batch_bytes_max: usize) -> Result<Self, LogError> {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .name("rookery-log")
            .io_memory(2 * batch_bytes_max)
            .ring_depth(16)
            .make()
            .map_err(|error| LogError::Host {
                writer: "glommio",
                reason: format!(
                    "{error}; it needs io_uring and RLIMIT_MEMLOCK of at least 512 KiB \
                     (ulimit -l), or choose log.writer = \"plain\""
                ),
            })?;
        Ok(Self {
            dir,
            file: None,
            executor,
        })
    }
}

impl Writer for Glommio {
    fn open(&mut self, name: &str) -> io::Result<()> {
        let path = self.dir.join(name);
        let former = self.file.take();
        let file = self.executor.run(async {
            if let Some(former) = former {
                former.close().await?;
            }
            // Write-only: the probe read for the polled ring then fails and the device is marked
            // as one for the sleeping ring. The polled one spins, and starves the kernel's worker
            // where they share a core.
            OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_DSYNC)
                .dma_open(&path)
                .await
        });
        self.file = Some(file.map_err(into_io)?);
        Ok(())
    }

    fn write(&mut self, position: u64, blocks: &[u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let written = self.executor.run(async {
            let mut buf = file.alloc_dma_buffer(blocks.len());
            buf.as_bytes_mut()[..blocks.len()].copy_from_slice(blocks);
            file.write_at(buf, position).await
        });
        match written.map_err(into_io)? {
            whole if whole == blocks.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

impl Drop for Glommio {
    fn drop(&mut self) {
        if let Some(file) = self.file.take()
            && let Err(error) = self.executor.run(file.close())
        {
            tracing::warn!(%error, "closing the log's segment");
        }
    }
}

/// Keeps the kernel's number: a full disk is told by it.
fn into_io(error: GlommioError<()>) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    }
}
