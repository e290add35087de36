//! Where a connection is counted: three bytes of it, so that its end can be counted too.

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seat([u8; 3]);

/// Counted, without an entry in the table of addresses.
const NO_ADDRESS: u32 = 0xff_ffff;

/// Entries that a seat can name.
pub(super) const ENTRIES_MAX: usize = NO_ADDRESS as usize - 1;

impl Seat {
    /// A connection that is counted, at the entry of its address where it has one.
    pub(super) fn counted(entry: Option<u32>) -> Self {
        let number = match entry {
            Some(entry) if (entry as usize) < ENTRIES_MAX => entry + 1,
            _ => NO_ADDRESS,
        };
        let [a, b, c, _] = number.to_le_bytes();
        Self([a, b, c])
    }

    fn number(self) -> u32 {
        let [a, b, c] = self.0;
        u32::from_le_bytes([a, b, c, 0])
    }

    /// Whether the connection is counted.
    pub fn is_counted(self) -> bool {
        self.number() != 0
    }

    /// The entry of its address.
    pub(super) fn entry(self) -> Option<u32> {
        match self.number() {
            0 | NO_ADDRESS => None,
            number => Some(number - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bytes_say_it_all() {
        assert_eq!(size_of::<Seat>(), 3);
        assert!(!Seat::default().is_counted());
        for entry in [0, 1, 0xfffe, ENTRIES_MAX as u32 - 1] {
            let seat = Seat::counted(Some(entry));
            assert_eq!((seat.is_counted(), seat.entry()), (true, Some(entry)));
        }
        for beyond in [None, Some(ENTRIES_MAX as u32), Some(u32::MAX)] {
            let seat = Seat::counted(beyond);
            assert_eq!((seat.is_counted(), seat.entry()), (true, None));
        }
    }
}
