//! Numbers measured several times.

/// Measured numbers, in ascending order; at least one.
#[derive(Debug, Clone)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Takes the numbers in any order.
    ///
    /// # Panics
    /// Where there are none: nothing was measured.
    pub fn new(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut numbers: Vec<_> = numbers.into_iter().collect();
        assert!(!numbers.is_empty(), "a sample needs a number");
        numbers.sort_unstable_by(f64::total_cmp);
        Self(numbers)
    }

    /// The smallest number of which at least that part (0 to 1) of all are no larger: the
    /// nearest rank, so that it is one that was measured.
    pub fn quantile(&self, part: f64) -> f64 {
        let rank = (part * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    /// The median: of an even count, the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len() % 2 == 1 {
            self.0[middle]
        } else {
            f64::midpoint(self.0[middle - 1], self.0[middle])
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn min(&self) -> f64 {
        self.0[0]
    }

    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }
}
