//! Medians and quartiles.

/// The middle of a sample, and how far it spreads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// A quarter of the sample is below it.
    pub low: f64,
    /// Half of it.
    pub median: f64,
    /// Three quarters.
    pub high: f64,
}

impl Spread {
    /// Of a sample that is not empty; not a number otherwise.
    #[must_use]
    pub fn of(mut sample: Vec<f64>) -> Self {
        sample.sort_by(f64::total_cmp);
        Self {
            low: quantile(&sample, 0.25),
            median: quantile(&sample, 0.5),
            high: quantile(&sample, 0.75),
        }
    }
}

/// Between neighbours by interpolation.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = part * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_small_samples() {
        let five = Spread::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!((five.low, five.median, five.high), (2.0, 3.0, 4.0));
        let two = Spread::of(vec![2.0, 1.0]);
        assert_eq!((two.low, two.median, two.high), (1.25, 1.5, 1.75));
        assert!(Spread::of(Vec::new()).median.is_nan());
    }
}
