//! How the world stands: what must be so in the end.

use consul_resolver::model::service::ServiceId;

use crate::checks::ports;
use crate::consul::SOURCES;
use crate::vm::{Context, Vm};
use crate::world::World;

impl World {
    /// What is not as Consul says, if anything: an endpoint too many or too few, somewhere.
    pub fn unlike_consul(&self) -> Option<String> {
        self.contexts().find_map(|(_, context)| {
            context.agent.trackers().iter().zip(&context.sources).find_map(|(tracker, source)| {
                let installed = tracker.installed().map(|record| ports(&record.snapshot, *source));
                let expected: Vec<u16> = self.consul.ports(*source).iter().copied().collect();
                let name = SOURCES[*source];
                (installed.as_ref() != Some(&expected)).then(|| {
                    format!("{:?} has {installed:?} of {name}, not {expected:?}", context.id)
                })
            })
        })
    }

    /// What is not settled, if anything: one context fetches each source, in the most suitable VM,
    /// and one query blocks for it.
    pub fn unsettled(&self) -> Option<String> {
        (0..SOURCES.len()).find_map(|source| {
            let name = SOURCES[source];
            let with_source =
                || self.contexts().filter(|(_, context)| context.sources.contains(&source));
            let best = with_source().map(|(vm, _)| vm.rank()).min()?;
            let fetches = |context: &Context| {
                let n = context.sources.iter().position(|known| *known == source);
                n.is_some_and(|n| context.agent.trackers()[n].is_fetcher())
            };
            let fetchers: Vec<_> = with_source().filter(|(_, context)| fetches(context)).collect();
            let blocking = self.consul.blocking(source);
            match fetchers[..] {
                [(vm, context)] if vm.rank() != best => {
                    Some(format!("{:?} fetches {name}, and another VM is better", context.id))
                }
                [_] if self.consul.is_waited_on_in_vain(source) => {
                    Some(format!("a query waits in vain on {name}"))
                }
                [(_, context)] if blocking != [context.id] => {
                    Some(format!("{blocking:?} block on {name}, not only {:?}", context.id))
                }
                [_] => None,
                _ => Some(format!("{} VMs fetch {name}", fetchers.len())),
            }
        })
    }

    /// Checks that every context has what Consul has.
    pub fn check_converged(&self) {
        assert_eq!(self.unlike_consul(), None);
    }

    /// Checks that it is clear who fetches.
    pub fn check_settled(&self) {
        assert_eq!(self.unsettled(), None);
        self.check_queues();
    }

    /// Checks that nothing piles up for anyone, dead or alive.
    pub fn check_queues(&self) {
        let longest = self.shared.longest_queue();
        assert!(longest <= crate::MOST_MESSAGES, "{longest} messages pile up");
    }

    /// Checks that no context has endpoints.
    pub fn check_nothing_is_installed(&self) {
        for (_, context) in self.contexts() {
            let is_empty = context.agent.trackers().iter().all(|t| t.installed().is_none());
            assert!(is_empty, "{:?}", context.id);
        }
    }

    /// Ends all requests, and checks that no endpoint counts one.
    pub fn check_nothing_stays_in_flight(&mut self) {
        for context in self.vms.iter_mut().flat_map(|vm| &mut vm.contexts) {
            context.flying.clear();
            let services = 0..context.sources.len() as u16;
            let in_flight: u64 =
                services.map(|n| context.router.in_flight(ServiceId::nth(n))).sum();
            assert_eq!(in_flight, 0, "{:?}", context.id);
        }
    }

    fn contexts(&self) -> impl Iterator<Item = (&Vm, &Context)> {
        self.vms.iter().flat_map(|vm| vm.contexts.iter().map(move |context| (vm, context)))
    }
}
