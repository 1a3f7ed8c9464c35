//! The requests that come to a world's workers.

use super::World;
use crate::calendar::Happening;
use crate::sources::HOSTS;
use crate::vm::Mail;

impl World {
    /// Plans when the next request comes to a worker.
    pub(super) fn plan_request(&mut self, thread: usize) {
        let at = self.now + self.about(self.plan.request_interval);
        if thread > 0 {
            self.calendar.plan(at, Happening::Request(thread));
        }
    }

    /// A request comes to a worker. One whose VM is dead is given a new one.
    pub(super) fn request(&mut self, thread: usize) {
        self.plan_request(thread);
        if !self.vms[thread].alive {
            self.rebirth(thread);
        }
        let count = self.vms[thread].contexts.len() as u32;
        let chosen = self.rng.below(count) as usize;
        let service = self.rng.next_u64() as u32;
        let mail = self.host().map_or(Mail::Request(service), Mail::Named);
        if let Some(id) = self.vms[thread].contexts.get(chosen).map(|context| context.id) {
            self.post(id, mail);
        }
    }

    /// Requests come to all workers for all hosts that no service is configured for.
    pub fn ask_for_all(&mut self) {
        let workers = self.vms.iter().skip(1).flat_map(|vm| &vm.contexts);
        let ids: Vec<_> = workers.map(|context| context.id).collect();
        for id in ids {
            (0..HOSTS.len()).for_each(|host| self.post(id, Mail::Named(host)));
        }
    }

    /// The host of a request, where it is one that no service is configured for. The first ones
    /// come more often.
    fn host(&mut self) -> Option<usize> {
        if !self.names || self.rng.below(self.plan.named) > 0 {
            return None;
        }
        let most = 1 + self.rng.below(HOSTS.len() as u32);
        let host = self.rng.below(most);
        let turn = self.now.checked_div(u64::from(self.plan.burst)).unwrap_or_default();
        let is_asked_for = self.plan.burst == 0 || (turn + u64::from(host)).is_multiple_of(2);
        is_asked_for.then_some(host as usize)
    }
}
