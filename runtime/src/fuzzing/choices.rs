//! Choices out of bytes, for targets whose input is no text: the same bytes always make the same choices, and an
//! input that has run out chooses the first of everything.

/// A stream of choices.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    /// Whether there is more.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `end`, which is at most 256.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// One of a list.
    pub fn one<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// True or false.
    pub fn coin(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Four bytes.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number of 64 bits: a small one, one at a boundary, or any.
    pub fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => u64::from(self.byte()),
            1 => 1u64.checked_shl(u32::from(self.byte()) % 64).unwrap_or(0),
            2 => (1u64 << (self.byte() % 64)) - 1,
            3 => u64::MAX - u64::from(self.byte()),
            4 => u64::from(self.word()),
            _ => u64::from(self.word()) << 32 | u64::from(self.word()),
        }
    }

    /// A number of 32 bits, likewise.
    pub fn id(&mut self) -> u32 {
        match self.below(4) {
            0 => u32::from(self.byte()),
            1 => u32::MAX - u32::from(self.byte()),
            2 => 1 << (self.byte() % 32),
            _ => self.word(),
        }
    }
}
