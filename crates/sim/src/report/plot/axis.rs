//! The upright axis of a plot: where its ticks are, and where a value stands.
//!
//! Wasted attempts differ by three powers of ten between two schedulers, so theirs goes by powers; all that is
//! below a tenth a minute stands at the foot. The others are even.

/// An axis from its foot to its head.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) ticks: Vec<(f64, String)>,
    head: f64,
    powers: bool,
}

impl Axis {
    /// From 0 to a round number that is not below `highest`.
    pub(super) fn even(highest: f64) -> Self {
        let (head, tick) = if highest > 0.0 {
            round(highest)
        } else {
            (1.0, 1.0)
        };
        let count = (head / tick).round() as usize;
        let ticks = (0..=count)
            .map(|at| at as f64 * tick)
            .map(|value| (value, plain(value)))
            .collect();
        Self {
            ticks,
            head,
            powers: false,
        }
    }

    /// By powers of ten, from a tenth.
    pub(super) fn powers(highest: f64) -> Self {
        let most = highest.max(1.0).log10().ceil() as i32;
        let ticks = (-1..=most)
            .map(|power| 10_f64.powi(power))
            .map(|value| {
                (
                    value,
                    if value < 0.5 {
                        format!("≤ {}", plain(value))
                    } else {
                        plain(value)
                    },
                )
            })
            .collect();
        Self {
            ticks,
            head: f64::from(most),
            powers: true,
        }
    }

    /// From 0, at the foot, to 1.
    pub(super) fn height(&self, value: f64) -> f64 {
        if self.powers {
            (value.max(FOOT).log10() - FOOT.log10()) / (self.head - FOOT.log10())
        } else {
            value / self.head
        }
    }
}

/// A round number that is not below `highest`, and the step between two ticks.
fn round(highest: f64) -> (f64, f64) {
    let rough = highest / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let tick = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|tick| *tick >= rough * 0.999)
        .unwrap_or(power * 10.0);
    ((highest / tick - 1e-9).ceil() * tick, tick)
}

/// As short as it can be said.
fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Of axes that go by powers.
const FOOT: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn even_axes_end_at_round_numbers() {
        for (highest, wanted) in [
            (0.0, &["0", "1"][..]),
            (4.0, &["0", "1", "2", "3", "4"]),
            (7.3, &["0", "2", "4", "6", "8"]),
            (430.0, &["0", "200", "400", "600"]),
            (0.09, &["0", "0.025", "0.05", "0.075", "0.1"]),
        ] {
            let axis = Axis::even(highest);
            assert_eq!(ticks(&axis), wanted);
            assert!((0.0..=1.0).contains(&axis.height(highest)));
        }
    }

    #[test]
    fn axes_by_powers_begin_at_a_tenth() {
        let axis = Axis::powers(430.0);
        assert_eq!(ticks(&axis), ["≤ 0.1", "1", "10", "100", "1000"]);
        let heights = [0.0, 0.1, 10.0, 1000.0].map(|value| axis.height(value));
        assert_eq!(heights, [0.0, 0.0, 0.5, 1.0]);
    }
}
