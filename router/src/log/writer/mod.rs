//! Who writes the group commits. One small trait; the log neither knows nor cares who is behind.

mod glommio;
mod plain;

use std::io;
use std::path::PathBuf;

use super::api::LogError;
use super::options::{Options, WriterKind};

/// Writes blocks of one file at a time, on the thread that made it.
pub(crate) trait Writer {
    /// Turns to another file.
    fn open(&mut self, name: &str) -> io::Result<()>;

    /// Writes block-aligned memory at a block-aligned position of the open file, and returns when
    /// it is durable. After an error the blocks may hold anything: the caller leaves them alone.
    fn write(&mut self, position: u64, blocks: &[u8]) -> io::Result<()>;
}

/// Makes the writer that the options ask for. To be called on the log's thread: the `glommio`
/// writer is tied to it.
pub(crate) fn make(dir: PathBuf, options: &Options) -> Result<Box<dyn Writer>, LogError> {
    match options.writer {
        WriterKind::Plain => Ok(Box::new(plain::Plain::new(dir))),
        WriterKind::Glommio => Ok(Box::new(glommio::Glommio::new(
            dir,
            options.batch_bytes_max,
        )?)),
    }
}
