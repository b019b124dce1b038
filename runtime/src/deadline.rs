//! The instant by which something must have happened.

use std::time::{Duration, Instant};

use crate::sys::again::sleep;

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

    /// Pauses until then, for who asks again and again because nothing announces the answer.
    pub fn pauses(self) -> Pauses {
        Pauses { until: self, next: Duration::from_micros(200) }
    }
}

/// See `Deadline::pauses`.
#[derive(Debug)]
pub struct Pauses {
    until: Deadline,
    next: Duration,
}

impl Pauses {
    /// Waits, each time twice as long up to 20 ms; `false`, without waiting, once the deadline has passed.
    pub fn wait(&mut self) -> bool {
        if self.until.is_over() {
            return false;
        }
        sleep(self.next);
        self.next = self.next.saturating_mul(2).min(Duration::from_millis(20));
        true
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

    #[test]
    fn pauses_end_with_the_deadline() {
        assert!(Deadline::after(Duration::MAX).pauses().wait());
        assert!(!Deadline::after(Duration::ZERO).pauses().wait());
    }
}
