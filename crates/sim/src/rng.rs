//! Chance that is the same for whoever asks.
//!
//! A stream shared by all would tie everybody together: a scheduler that makes one attempt more would
//! shift every later draw, and two schedulers would no longer see the same clients. So whatever needs
//! chance draws it from what it *is* ([`Rng::of`]: the seed, the client, the turn), never from what was
//! drawn before. splitmix64 is enough for this: its state may be any number.

/// A stream of chance.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of whatever these numbers name.
    #[must_use]
    pub fn of(seed: u64, names: &[u64]) -> Self {
        let mut state = scramble(seed ^ GOLDEN);
        for name in names {
            state = scramble(state.wrapping_add(GOLDEN) ^ name.wrapping_mul(ODD));
        }
        Self(state)
    }

    /// Sixty-four bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        scramble(self.0)
    }

    /// From 0 up to and without 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        let span = most.saturating_sub(least).saturating_add(1);
        least + ((u128::from(self.bits()) * u128::from(span)) >> 64) as u64
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len() as u64 - 1) as usize]
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// The gap before the next of events that come by themselves, so many apart on average.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Around `median`, never below zero, with a long tail; `spread` 0.5 puts two thirds between 0.6 and
    /// 1.6 of it.
    pub fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        // Box and Muller's way, of which one of the two is used.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median * (spread * normal).exp()
    }
}

const fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// splitmix64's step.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Keeps small names (client 1, turn 2) far from each other.
const ODD: u64 = 0xd6e8_feb8_6659_fd93;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thing_draws_depends_on_its_name_alone() {
        assert_eq!(Rng::of(1, &[2, 3]).bits(), Rng::of(1, &[2, 3]).bits());
        assert_ne!(Rng::of(1, &[2, 3]).bits(), Rng::of(1, &[3, 2]).bits());
        assert_ne!(Rng::of(1, &[2, 3]).bits(), Rng::of(2, &[2, 3]).bits());
    }

    #[test]
    fn distributions_have_the_middle_that_they_say() {
        let mut rng = Rng::of(1, &[]);
        let mean = (0..50_000).map(|_| rng.exponential(10.0)).sum::<f64>() / 50_000.0;
        assert!((9.8..10.2).contains(&mean), "{mean}");
        let below = (0..50_000)
            .filter(|_| rng.log_normal(40.0, 0.5) < 40.0)
            .count();
        assert!((24_500..25_500).contains(&below), "{below}");
        assert!((0..1000).all(|_| (3..=5).contains(&rng.between(3, 5))));
    }
}
