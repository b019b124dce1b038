//! The instant by which something must have happened.

use std::time::{Duration, Instant};

/// See the module's text. A time beyond what the clock can tell is never over.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now.
    pub fn after(duration: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(duration))
    }

    /// Whether it has passed.
    pub fn is_over(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// The time that is left, zero when it has passed; `None` if that is for ever.
    pub fn left(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_beyond_the_clock_is_never_over() {
        let deadline = Deadline::after(Duration::MAX);
        assert!(!deadline.is_over() && deadline.left().is_none());
        assert!(Deadline::after(Duration::ZERO).is_over());
    }
}
