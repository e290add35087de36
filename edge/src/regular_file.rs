//! Files that the configuration names, read within a bound. Only regular ones: a pipe would be waited at for a
//! writer who never comes, a device might never end.

use std::fs::OpenOptions;
use std::io::{Error, Read as _, Result};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The bytes of a file, `most` at most: one byte more than that tells of a longer one.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    // Without waiting, a pipe is opened at once (open(2), O_NONBLOCK); to a regular file it means nothing.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(Error::other("it is no regular file"));
    }
    // At once, so that no part of a secret stays where it was too small.
    let room = about.len().min(most) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_is_read_up_to_its_bound_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, [7; 10]).unwrap();
        assert_eq!(read(&file, 10).unwrap(), [7; 10]);
        assert_eq!(read(&file, 5).unwrap().len(), 6, "one more than the bound");
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for other in [&pipe, folder.path(), Path::new("/dev/zero")] {
            let error = read(other, 10).unwrap_err();
            assert_eq!(error.to_string(), "it is no regular file", "{other:?}");
        }
    }
}
