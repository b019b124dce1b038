//! A small pseudo-random generator (SplitMix64), so that a seed means the same configs on every machine and
//! with every version of every crate.

use std::cell::Cell;

/// A stream of choices.
pub struct Dice(Cell<u64>);

impl Dice {
    /// The stream of one config of a run.
    pub fn new(seed: u64, index: u64) -> Dice {
        let dice = Dice(Cell::new(seed ^ index.wrapping_mul(0xd134_2543_de82_ef95)));
        dice.next();
        dice
    }

    fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut mixed = self.0.get();
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in `percent` of cases.
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of a list.
    pub fn pick<'a, T: ?Sized>(&self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len() as u64) as usize]
    }

    /// One of a list of values.
    pub fn one<T: Clone>(&self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize].clone()
    }

    /// Each of a list in `percent` of cases, in a random order.
    pub fn some<T: Clone>(&self, list: &[T], percent: u64) -> Vec<T> {
        let mut taken: Vec<T> = list.iter().filter(|_| self.chance(percent)).cloned().collect();
        for end in (1..taken.len()).rev() {
            taken.swap(end, self.below(end as u64 + 1) as usize);
        }
        taken
    }
}
