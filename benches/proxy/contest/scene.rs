//! The backends of a contest: two good ones, and three in trouble.

use std::time::Duration;

use stack::{Backend, Registry, Service, Trouble};

use crate::Failure;

/// Five instances of `web`. Consul lists all of them all the time: what is wrong with them is for
/// the proxy to find out.
#[derive(Debug)]
pub struct Scene {
    /// Good ones, a slow one, and one that fails.
    lasting: Vec<Backend>,
    slow: usize,
    failing: usize,
    /// The one that dies in each run.
    mortal: Backend,
}

impl Scene {
    /// The delay of the slow one.
    pub const SLOWNESS: Duration = Duration::from_millis(100);
    /// The share of requests that the failing one fails with 503.
    pub const FAILURE_PERCENT: u8 = 50;
    /// The name of the slow one.
    pub const SLOW: &str = "slow";

    /// Starts them, and registers them without checks.
    pub fn set(consul: &dyn Registry) -> Result<Self, Failure> {
        let names = ["good-1", "good-2", Self::SLOW, "failing"];
        let lasting = names.map(Backend::start).into_iter().collect::<Result<Vec<_>, _>>()?;
        let place = |name: &str| names.iter().position(|other| *other == name);
        let (Some(slow), Some(failing)) = (place(Self::SLOW), place("failing")) else {
            return Err("a backend has no name".into());
        };
        let scene = Self { lasting, slow, failing, mortal: Backend::start("mortal")? };
        for backend in scene.backends() {
            consul.register(&Service::new("web", backend.name()).at(backend.address()))?;
        }
        Ok(scene)
    }

    /// What they are called.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.backends().map(Backend::name)
    }

    /// Begins a run: the same troubles in the same order as in every other one.
    pub fn begin(&self) {
        const SEED: u64 = 1;
        self.lasting[self.slow].set_delay(Self::SLOWNESS);
        let trouble = Trouble::drawn(Self::FAILURE_PERCENT, 503, SEED);
        self.lasting[self.failing].set_trouble(trouble);
    }

    /// Kills one: its connections are cut, and it refuses new ones.
    pub fn kill(&self) {
        self.mortal.stop();
    }

    /// Ends a run: nothing is wrong any more, and the one that died is back.
    pub fn end(&mut self) -> Result<(), Failure> {
        self.lasting[self.slow].set_delay(Duration::ZERO);
        self.lasting[self.failing].set_trouble(Trouble::none());
        let address = self.mortal.address();
        self.mortal.stop();
        self.mortal = Backend::start_on(self.mortal.name(), address)?;
        Ok(())
    }

    fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.lasting.iter().chain([&self.mortal])
    }
}
