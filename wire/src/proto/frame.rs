//! Encoding and parsing of frames: the two header bytes, the bounds, the validated access.

use rkyv::Portable;
use rkyv::api::low::{LowDeserializer, LowValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Failure, Panic, Strategy};
use rkyv::ser::Serializer;
use rkyv::ser::allocator::ArenaHandle;

use super::VERSION;
use super::codes::CloseCode;
use super::kind::{Kind, Message};
use super::limits::{FRAME_HEADER_BYTES, Limits};

/// Writes archives to the end of a vector. With alignment 1 and relative pointers it does not
/// matter what stands in front of them.
pub type Encoder<'a> = Strategy<Serializer<&'a mut Vec<u8>, ArenaHandle<'a>, ()>, Panic>;

/// Copies messages out of archives.
pub type Owner = LowDeserializer<Panic>;

/// Why a frame was refused. The peer is to blame for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer than the two header bytes.
    #[error("a frame without its version and kind bytes")]
    Empty,
    /// Another version than [`VERSION`].
    #[error("protocol version {got}, expected 1")]
    Version {
        /// The version byte.
        got: u8,
    },
    /// A kind that is unknown, or not for this side to receive.
    #[error("frame kind {got:#04x} is unknown here")]
    Kind {
        /// The kind byte.
        got: u8,
    },
    /// The archive does not validate: a length, an offset or an order is wrong, a byte belongs to no
    /// list, or a request names no id.
    #[error("the archive of a {} frame does not validate", .kind.name())]
    Invalid {
        /// The kind of the frame.
        kind: Kind,
    },
    /// A list (or the frame itself, field "frame") is over its limit.
    #[error("{field} has {len} entries or bytes, at most {max} are allowed")]
    TooLong {
        /// Which list.
        field: &'static str,
        /// Its length.
        len: usize,
        /// The most allowed.
        max: usize,
    },
}

impl FrameError {
    /// The code that the connection is closed with.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Version { .. } => CloseCode::VERSION_UNSUPPORTED,
            Self::TooLong { .. } => CloseCode::FRAME_TOO_LONG,
            Self::Empty | Self::Kind { .. } | Self::Invalid { .. } => CloseCode::FRAME_INVALID,
        }
    }
}

/// What an archived message is held to beyond what its type can be.
pub(super) trait Bounded {
    /// Bytes of all its lists, and of the lists within them.
    fn list_bytes(&self) -> usize {
        0
    }

    /// Whether it names the id that its answer is to carry, where it is to have one.
    fn is_named(&self) -> bool {
        true
    }

    /// Refuses a list over its limit.
    fn check(&self, _: &Limits) -> Result<(), FrameError> {
        Ok(())
    }
}

/// A whole frame: version, kind, archive.
pub fn encode<T: Message>(message: &T) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_into(message, &mut frame);
    frame
}

/// Appends a whole frame to `out`; allocates nothing but what `out` needs to grow.
///
/// # Panics
/// Where the archive would be over 2 GiB, which nothing that was bounded by [`Limits`] is.
pub fn encode_into<T: Message>(message: &T, out: &mut Vec<u8>) {
    out.extend_from_slice(&[VERSION, T::KIND as u8]);
    rkyv::util::with_arena(|arena| {
        let mut encoder = Serializer::new(out, arena.acquire(), ());
        // `Panic` has no values: there is no error to handle.
        let Ok(_root) = rkyv::api::serialize_using(message, &mut encoder);
    });
}

/// The message of a validated archive, copied to the heap.
pub fn owned<T: Message>(archived: &T::Archived) -> T {
    // `Panic` has no values: the only failure would be a layout over isize::MAX.
    let Ok(message) = rkyv::api::deserialize_using(archived, &mut ());
    message
}

/// The kind and the archive of a frame within its bound.
#[inline(always)]
pub(super) fn split<'a>(frame: &'a [u8], limits: &Limits) -> Result<(Kind, &'a [u8]), FrameError> {
    if frame.len() > limits.frame_bytes_max {
        return Err(FrameError::TooLong {
            field: "frame",
            len: frame.len(),
            max: limits.frame_bytes_max,
        });
    }
    let Some((&[version, kind], archive)) = frame.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return Err(FrameError::Empty);
    };
    if version != VERSION {
        return Err(FrameError::Version { got: version });
    }
    let kind = Kind::from_byte(kind).ok_or(FrameError::Kind { got: kind })?;
    Ok((kind, archive))
}

/// The root of a validated archive whose lists are within their bounds, and which is the only one of
/// its message: validation holds the lists to their order without an overlap, so where they fill all
/// bytes in front of the root, each stands where a writer puts it. What is invalid is so whatever its
/// lengths: only a frame that is right but for them is too long.
#[inline(always)]
pub(super) fn access<'a, T>(
    archive: &'a [u8],
    limits: &Limits,
) -> Result<&'a T::Archived, FrameError>
where
    T: Message<Archived: Portable + Bounded + for<'b> CheckBytes<LowValidator<'b, Failure>>>,
{
    let invalid = FrameError::Invalid { kind: T::KIND };
    let root =
        rkyv::api::low::access::<T::Archived, Failure>(archive).map_err(|Failure| invalid)?;
    if root.list_bytes() != archive.len() - size_of::<T::Archived>() || !root.is_named() {
        return Err(invalid);
    }
    root.check(limits)?;
    Ok(root)
}
