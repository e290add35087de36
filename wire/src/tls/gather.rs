//! Several byte runs read as one: a frame's header and its shared payload go into a record without
//! being joined first.

/// A cursor over `parts`.
pub(super) struct Gather<'a> {
    parts: std::slice::Iter<'a, &'a [u8]>,
    part: &'a [u8],
    left: usize,
}

impl<'a> Gather<'a> {
    pub(super) fn new(parts: &'a [&'a [u8]]) -> Self {
        let left = parts.iter().map(|part| part.len()).sum();
        Self {
            parts: parts.iter(),
            part: &[],
            left,
        }
    }

    /// Bytes not yet taken.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Appends the next `len` bytes, or what is left.
    pub(super) fn append(&mut self, len: usize, out: &mut Vec<u8>) {
        let mut wanted = len.min(self.left);
        self.left -= wanted;
        while wanted > 0 {
            let (now, later) = self.part.split_at(self.part.len().min(wanted));
            out.extend_from_slice(now);
            wanted -= now.len();
            self.part = later;
            if later.is_empty() {
                match self.parts.next() {
                    Some(part) => self.part = part,
                    None => return,
                }
            }
        }
    }
}
