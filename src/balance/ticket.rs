//! A pick in flight.

use std::rc::Rc;

use crate::balance::target::Target;

/// A pick in flight: counts one request at its target for as long as it lives.
///
/// The count goes down when the ticket is dropped, and only then. So it is right however
/// the request ends, a reset stream and a context that Envoy deletes included.
#[derive(Debug)]
#[must_use = "a ticket that is dropped at once counts no request"]
pub struct Ticket {
    target: Rc<Target>,
}

impl Ticket {
    /// Begins a request at `target`.
    pub(super) fn new(target: &Rc<Target>) -> Self {
        target.begin();
        Self { target: Rc::clone(target) }
    }

    /// Where the request goes.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the request goes to this very target. A target that was removed and has
    /// come back is another one.
    pub fn goes_to(&self, target: &Rc<Target>) -> bool {
        Rc::ptr_eq(&self.target, target)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.target.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::Endpoint;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_ticket_counts_while_it_lives() {
        let endpoint = Endpoint::new("10.0.0.1:80".parse().unwrap());
        let target = Rc::new(Target::new(&endpoint, Box::default()));
        let one = Ticket::new(&target);
        let two = Ticket::new(&target);
        assert_eq!(target.active(), 2);
        assert!(one.goes_to(&target));
        drop(one);
        assert_eq!(target.active(), 1);
        drop(two);
        assert_eq!(target.active(), 0);
    }
}
