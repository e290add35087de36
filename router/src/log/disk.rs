//! What the log asks of a directory, and the real one. Group commits do not go this way: they are
//! the [`Writer`](super::writer::Writer)'s. The other implementation is the tests' disk, which
//! loses power.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::api::LogError;
use super::block::BlockBuf;

/// A file open for reading.
pub(crate) trait ReadAt: Send {
    /// Fills `buf` from `position`; a file that ends before is an error.
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()>;
}

/// Asked after each piece of a long fill; `Break` gives it up.
pub(crate) type FillProgress<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// A directory of flat files.
pub(crate) trait Disk: Send + Sync {
    /// A file's name for people.
    fn path(&self, name: &str) -> PathBuf;
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A file's length.
    fn bytes(&self, name: &str) -> io::Result<u64>;
    /// Opens a file for reading.
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>>;
    /// Makes a file of zeroes. After a crash it is there whole or not at all; when this returns it
    /// is there.
    fn create_zeroed(&self, name: &str, bytes: u64, progress: FillProgress<'_>) -> io::Result<()>;
    /// Writes blocks; durable when it returns.
    fn write(&self, name: &str, position: u64, blocks: &[u8]) -> io::Result<()>;
    /// Makes durable what was read: after a kill, not a power loss, it may be in memory only.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Removes a file, if it is there; durable when it returns.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// Files are filled under this ending and then renamed.
const UNFINISHED: &str = ".new";
const FILL_PIECE_BYTES: usize = 1 << 20;

/// A directory of the host, locked against a second log.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
    /// Holds the lock; also synced after a change of names.
    handle: File,
}

impl Dir {
    /// Makes the directory if there is none, locks it, and clears what an interrupted fill left.
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        let io = |doing| {
            move |source| LogError::Io {
                doing,
                file: path.to_owned(),
                source,
            }
        };
        if !path.exists() {
            fs::create_dir_all(path).map_err(io("making the log's directory"))?;
            if let Some(parent) = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
            {
                File::open(parent)
                    .and_then(|dir| dir.sync_all())
                    .map_err(io("syncing the directory above"))?;
            }
        }
        let handle = File::open(path).map_err(io("opening the log's directory"))?;
        match handle.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(LogError::Locked {
                    dir: path.to_owned(),
                });
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(io("locking the log's directory")(source));
            }
        }
        let dir = Self {
            path: path.to_owned(),
            handle,
        };
        dir.clear_unfinished()
            .map_err(io("removing unfinished files"))?;
        Ok(dir)
    }

    fn clear_unfinished(&self) -> io::Result<()> {
        for name in self.list()? {
            if name.ends_with(UNFINISHED) {
                fs::remove_file(self.path.join(name))?;
            }
        }
        Ok(())
    }

    fn fill(&self, path: &Path, bytes: u64, progress: FillProgress<'_>) -> io::Result<()> {
        let file = open_for_blocks(path, libc::O_CREAT | libc::O_TRUNC)?;
        let zeroes = BlockBuf::new(FILL_PIECE_BYTES);
        let mut done = 0;
        while done < bytes {
            let piece = (bytes - done).min(FILL_PIECE_BYTES as u64);
            file.write_all_at(&zeroes.bytes()[..piece as usize], done)?;
            done += piece;
            if progress(done).is_break() {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        file.sync_all()
    }
}

impl ReadAt for File {
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, position)
    }
}

impl Disk for Dir {
    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn bytes(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(name))?.len())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(File::open(self.path(name))?))
    }

    fn create_zeroed(&self, name: &str, bytes: u64, progress: FillProgress<'_>) -> io::Result<()> {
        let unfinished = self.path(&format!("{name}{UNFINISHED}"));
        if let Err(error) = self.fill(&unfinished, bytes, progress) {
            // Gives back the room; should this fail too, the next start clears it.
            drop(fs::remove_file(&unfinished));
            return Err(error);
        }
        fs::rename(&unfinished, self.path(name))?;
        self.handle.sync_all()
    }

    fn write(&self, name: &str, position: u64, blocks: &[u8]) -> io::Result<()> {
        open_for_blocks(&self.path(name), libc::O_DSYNC)?.write_all_at(blocks, position)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.path(name))?.sync_data()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.handle.sync_all(),
        }
    }
}

/// Opens a file for aligned writes past the page cache, or through it where the file system has no
/// direct I/O (`EINVAL` at open).
pub(crate) fn open_for_blocks(path: &Path, flags: i32) -> io::Result<File> {
    let open = |flags| {
        OpenOptions::new()
            .write(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(path)
    };
    match open(flags | libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            tracing::warn!(file = %path.display(), "no direct I/O here: the log goes through the page cache");
            open(flags)
        }
        other => other,
    }
}
