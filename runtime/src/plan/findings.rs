//! What is wrong with a config, all of it: so that `validate` can show everything at once, and `create` the
//! first of it.

use crate::error::{Error, Result};

/// Collected errors.
#[derive(Debug, Default)]
pub struct Findings(Vec<Error>);

impl Findings {
    /// The value, or its default with the error kept.
    pub fn keep<T: Default>(&mut self, result: Result<T>) -> T {
        result.unwrap_or_else(|error| {
            self.0.push(error);
            T::default()
        })
    }

    /// Keeps an error.
    pub fn push(&mut self, error: Error) {
        self.0.push(error);
    }

    /// All of them, in the order they were found.
    pub fn into_all(self) -> Vec<Error> {
        self.0
    }

    /// Success, or the first of them.
    pub fn into_result(self) -> Result<()> {
        self.0.into_iter().next().map_or(Ok(()), Err)
    }
}
