//! A request's part of a retry budget.

use core::cell::RefCell;
use std::rc::Rc;

use crate::balance::retry_budget::Budget;
use crate::time::Time;

/// A service's retry budget, shared with the requests that hold a part of it.
#[derive(Debug, Clone)]
pub(super) struct SharedBudget(Rc<RefCell<Budget>>);

/// A request's part of the budget: given back, but for the retries that were made, when it is
/// answered, or else when it is dropped, however it ends.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: SharedBudget,
    granted: u32,
    /// What is still reserved of it.
    held: u32,
}

impl SharedBudget {
    /// Shares a budget.
    pub(super) fn new(budget: Budget) -> Self {
        Self(Rc::new(RefCell::new(budget)))
    }

    /// Counts a request, and reserves the retries that it may want if they are within the budget.
    pub(super) fn reserve(&self, wanted: u32, now: Time) -> Reservation {
        let granted = self.0.borrow_mut().admit(wanted, now);
        Reservation { budget: self.clone(), granted, held: granted }
    }
}

impl Reservation {
    /// How many retries the request may take.
    pub(super) const fn granted(&self) -> u32 {
        self.granted
    }

    /// Notes the retries that it took. There will be no more: it is answered.
    pub(super) fn on_retried(&mut self, retries: u32, now: Time) {
        self.budget.0.borrow_mut().settle(self.held, retries, now);
        self.held = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.borrow_mut().release(self.held);
    }
}
