//! The accepts in flight on a ring, and the memory into which the kernel writes the peers' addresses.
//!
//! A place is in use from the arming of an accept until its address is taken after the completion; it
//! neither moves nor goes back to the allocator before the ring has ended. Idle ones are used again:
//! a ring has as many as it ever had accepts armed at one time.

use std::cell::UnsafeCell;
use std::net::SocketAddr;

use super::sockaddr;
use crate::driver::Tag;

/// What accept4(2) fills in. An IPv4 address is the shorter one and fits.
struct Name {
    addr: libc::sockaddr_in6,
    len: libc::socklen_t,
}

impl Name {
    const EMPTY: Name = Name {
        addr: libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
        len: size_of::<libc::sockaddr_in6>() as libc::socklen_t,
    };
}

struct Place {
    /// The accept; `None` where the place is free.
    tag: Option<Tag>,
    name: Box<UnsafeCell<Name>>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Accepts {
    places: Vec<Place>,
    free: Vec<u32>,
}

/// Where the kernel writes.
pub(super) struct Target {
    pub(super) addr: *mut libc::sockaddr,
    pub(super) len: *mut libc::socklen_t,
}

impl Accepts {
    /// A place for an accept: its number, and where the kernel is to write.
    pub(super) fn begin(&mut self, tag: Tag) -> (u32, Target) {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                tag: None,
                name: Box::new(UnsafeCell::new(Name::EMPTY)),
            });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[at as usize];
        place.tag = Some(tag);
        *place.name.get_mut() = Name::EMPTY;
        let name = place.name.get();
        // SAFETY: `name` points to a live Name; only the addresses of its fields are taken.
        let (addr, len) = unsafe { (&raw mut (*name).addr, &raw mut (*name).len) };
        let addr = addr.cast();
        (at, Target { addr, len })
    }

    /// The accept at a place.
    pub(super) fn tag(&self, at: u32) -> Option<Tag> {
        self.places.get(at as usize)?.tag
    }

    /// Where an accept is.
    pub(super) fn place(&self, tag: Tag) -> Option<u32> {
        let at = self
            .places
            .iter()
            .position(|place| place.tag == Some(tag))?;
        Some(at as u32)
    }

    /// Frees the place of an accept that has completed. What the kernel wrote, if it is an address.
    pub(super) fn take(&mut self, tag: Tag) -> Option<SocketAddr> {
        let at = self.place(tag)?;
        let place = &mut self.places[at as usize];
        place.tag = None;
        self.free.push(at);
        sockaddr::read(&place.name.get_mut().addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sockaddr::SockAddr;

    #[test]
    fn addresses_come_back_and_places_are_used_again() {
        let mut accepts = Accepts::default();
        for (number, text) in [(1, "127.0.0.3:4711"), (2, "[2001:db8::7]:65535")] {
            let addr: SocketAddr = text.parse().unwrap();
            let (at, target) = accepts.begin(Tag(number));
            assert_eq!((at, accepts.tag(0)), (0, Some(Tag(number))));
            let name = SockAddr::new(addr);
            // SAFETY: both are live, and the target has room for the larger of the two forms.
            unsafe {
                let from: *const u8 = name.as_ptr().cast();
                assert!(*target.len >= name.len());
                std::ptr::copy_nonoverlapping(from, target.addr.cast(), name.len() as usize);
            }
            assert_eq!(accepts.take(Tag(number)), Some(addr));
            assert_eq!(accepts.take(Tag(number)), None, "it is taken");
        }
        accepts.begin(Tag(3));
        assert_eq!(accepts.take(Tag(3)), None, "nothing was written");
        assert_eq!(accepts.places.len(), 1);
    }
}
