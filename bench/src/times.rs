//! How long answers took: every one is kept, so percentiles are exact, in memory taken beforehand.

use std::time::Duration;

#[derive(Default)]
pub(crate) struct Times {
    nanos: Vec<u32>,
}

impl Times {
    /// Room for this many without asking for memory while measuring.
    pub(crate) fn with_room(answers: usize) -> Self {
        Self {
            nanos: Vec::with_capacity(answers),
        }
    }

    /// An answer of over four seconds counts as four: on loopback it is no figure but a fault.
    pub(crate) fn add(&mut self, took: Duration) {
        self.nanos
            .push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
    }

    pub(crate) fn count(&self) -> usize {
        self.nanos.len()
    }

    /// The time that `share` of a thousand answers did not exceed, in nanoseconds.
    pub(crate) fn permille(&mut self, share: usize) -> u32 {
        self.nanos.sort_unstable();
        let at = (self.nanos.len() * share / 1000).min(self.nanos.len().saturating_sub(1));
        self.nanos.get(at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact() {
        let mut times = Times::with_room(100);
        for nanos in (1..=100).rev() {
            times.add(Duration::from_nanos(nanos));
        }
        assert_eq!(times.permille(500), 51);
        assert_eq!(times.permille(990), 100);
        assert_eq!(Times::default().permille(500), 0);
    }
}
