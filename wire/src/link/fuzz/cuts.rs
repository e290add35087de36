//! The dice of an input: how it is cut, and what happens between two pieces.

/// See the module.
pub(super) struct Cuts {
    most: usize,
    /// An odd number; none where nothing is cut and nothing happens.
    state: Option<u32>,
}

impl Cuts {
    /// Nothing is cut, and nothing happens.
    pub(super) fn whole() -> Self {
        Self {
            most: usize::MAX,
            state: None,
        }
    }

    /// Pieces of at most so many bytes.
    pub(super) fn of(most: usize, seed: u8) -> Self {
        Self {
            most,
            state: Some(u32::from(seed) << 8 | 1),
        }
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.state.as_mut().map_or(0, |state| {
            *state = state.wrapping_mul(0x915f_77f5).wrapping_add(12_345);
            (*state >> 8) as usize % sides
        })
    }

    /// Of the next piece.
    pub(super) fn size(&mut self) -> usize {
        match self.state {
            None => self.most,
            Some(_) => 1 + self.roll(self.most),
        }
    }

    /// Once in so many times.
    pub(super) fn happens(&mut self, times: usize) -> bool {
        self.state.is_some() && self.roll(times) == 0
    }
}
