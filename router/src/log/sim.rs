//! A disk in memory that remembers every write in order, so that the power can be cut at each of
//! them, and that fails on demand. For the tests.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::disk::{Disk, FillProgress, ReadAt};
use super::format::segment_slot;
use super::writer::Writer;

pub(super) const SECTOR: usize = 512;

/// Names and contents.
pub(super) type Image = BTreeMap<String, Vec<u8>>;

/// A change that was asked of the disk, durable before the next was asked.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create {
        name: String,
        bytes: usize,
    },
    Write {
        name: String,
        position: usize,
        bytes: Vec<u8>,
    },
    Remove {
        name: String,
    },
}

impl Op {
    pub(super) fn apply(&self, image: &mut Image) {
        self.apply_part(image, |_| true);
    }

    /// Applies what the power left of it: of a write the sectors chosen, of the rest all or none.
    pub(super) fn apply_part(&self, image: &mut Image, mut chosen: impl FnMut(usize) -> bool) {
        match self {
            Self::Create { name, bytes } if chosen(0) => {
                image.insert(name.clone(), vec![0; *bytes]);
            }
            Self::Remove { name } if chosen(0) => {
                image.remove(name);
            }
            Self::Create { .. } | Self::Remove { .. } => {}
            Self::Write {
                name,
                position,
                bytes,
            } => {
                let file = image
                    .get_mut(name)
                    .expect("a file is made before it is written");
                for (n, sector) in bytes.chunks(SECTOR).enumerate().filter(|(n, _)| chosen(*n)) {
                    let at = position + n * SECTOR;
                    file[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) image: Image,
    pub(super) ops: Vec<Op>,
    /// Segment files that fit; none bounds them where it is `None`.
    pub(super) segments_max: Option<usize>,
    /// The next writes of the writer that fail, each leaving the sectors that its mask has.
    pub(super) failing: Vec<u64>,
    /// The writer says `Ok` and keeps the write to itself until the next one: a lie.
    pub(super) lies: bool,
    kept_back: Option<Op>,
}

impl State {
    fn change(&mut self, op: Op) {
        op.apply(&mut self.image);
        self.ops.push(op);
    }
}

#[derive(Clone, Default)]
pub(super) struct SimDisk(pub(super) Arc<Mutex<State>>);

impl SimDisk {
    pub(super) fn with(image: Image) -> Self {
        Self(Arc::new(Mutex::new(State {
            image,
            ..State::default()
        })))
    }

    pub(super) fn state<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }
}

struct SimFile(SimDisk, String);

impl ReadAt for SimFile {
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        self.0.state(|state| {
            let file = state.image.get(&self.1).ok_or(io::ErrorKind::NotFound)?;
            let from = file
                .get(position as usize..)
                .and_then(|rest| rest.get(..buf.len()));
            buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }
}

impl Disk for SimDisk {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("sim").join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state(|state| state.image.keys().cloned().collect()))
    }

    fn bytes(&self, name: &str) -> io::Result<u64> {
        self.state(|state| Ok(state.image.get(name).ok_or(io::ErrorKind::NotFound)?.len() as u64))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(SimFile(self.clone(), name.to_owned())))
    }

    fn create_zeroed(&self, name: &str, bytes: u64, progress: FillProgress<'_>) -> io::Result<()> {
        if progress(bytes).is_break() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.state(|state| {
            let segments = state
                .image
                .keys()
                .filter(|name| segment_slot(name).is_some())
                .count();
            if state.segments_max.is_some_and(|max| segments >= max) {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            state.change(Op::Create {
                name: name.to_owned(),
                bytes: bytes as usize,
            });
            Ok(())
        })
    }

    fn write(&self, name: &str, position: u64, blocks: &[u8]) -> io::Result<()> {
        let op = Op::Write {
            name: name.into(),
            position: position as usize,
            bytes: blocks.into(),
        };
        self.state(|state| state.change(op));
        Ok(())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.bytes(name).map(drop)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state(|state| {
            state.change(Op::Remove {
                name: name.to_owned(),
            })
        });
        Ok(())
    }
}

/// The writer of a [`SimDisk`].
pub(super) struct SimWriter {
    disk: SimDisk,
    name: String,
    /// Blocks written in this life of the process, to see that none is written twice.
    written: HashMap<(String, u64), u64>,
}

impl SimWriter {
    pub(super) fn new(disk: SimDisk) -> Self {
        Self {
            disk,
            name: String::new(),
            written: HashMap::new(),
        }
    }
}

impl Writer for SimWriter {
    fn open(&mut self, name: &str) -> io::Result<()> {
        self.name = name.to_owned();
        self.disk.bytes(name).map(drop)
    }

    fn write(&mut self, position: u64, blocks: &[u8]) -> io::Result<()> {
        if position == 0 {
            self.written.retain(|(name, _), _| *name != self.name);
        }
        for block in position / 4096..(position + blocks.len() as u64) / 4096 {
            let times = self.written.entry((self.name.clone(), block)).or_default();
            *times += 1;
            assert_eq!(*times, 1, "{} block {block} was rewritten", self.name);
        }
        let name = self.name.clone();
        let op = Op::Write {
            name,
            position: position as usize,
            bytes: blocks.into(),
        };
        self.disk.state(|state| {
            if let Some(mask) = state.failing.pop() {
                // What stays of a failed write is a change like any other.
                let mut left = state.image.clone();
                op.apply_part(&mut left, |sector| mask >> (sector % 64) & 1 == 1);
                let now = &left[&self.name][position as usize..][..blocks.len()];
                let bytes = now.to_vec();
                state.change(Op::Write {
                    name: self.name.clone(),
                    position: position as usize,
                    bytes,
                });
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            let before = state.kept_back.take();
            before.into_iter().for_each(|op| state.change(op));
            match state.lies {
                true => state.kept_back = Some(op),
                false => state.change(op),
            }
            Ok(())
        })
    }
}
