//! The list of members: whoever lives stays on it.

use std::collections::HashMap;

use consul_resolver::shared::key::SharedKey;
use consul_resolver::shared::members::{Members, QueueId};
use consul_resolver::util::rng::Rng;

use crate::configs::BESIDE;
use crate::plan::Plan;
use crate::seeds::for_seeds;
use crate::sources::CROWD;
use crate::vm::ContextId;
use crate::world::World;

/// How far the first and the last of three looks are apart, in microseconds: two intervals of five
/// seconds, on the fastest clock.
const THREE_LOOKS: u64 = 8_000_000;

/// Who has looked into whose queue, and found messages there at each look since: when.
#[derive(Default)]
pub struct Looks(HashMap<(ContextId, QueueId), Vec<u64>>);

impl Looks {
    /// A context looks into a queue.
    pub fn on_look(&mut self, context: ContextId, queue: QueueId, pending: bool, now: u64) {
        let looks = self.0.entry((context, queue)).or_default();
        if !pending {
            looks.clear();
        } else {
            looks.push(now);
        }
    }

    /// A context has written the list of members. Whom it has struck off had messages in its queue at
    /// three looks in a row that were a real time apart; a context that leaves strikes itself off.
    pub fn on_members(&self, context: ContextId, own: &[QueueId], lists: [&[u8]; 2], now: u64) {
        let [before, after] = lists.map(|list| Members::decode(list).unwrap_or_default());
        let is_struck = |queue: &QueueId| after.iter().all(|member| member.queue != *queue);
        let queues = before.iter().map(|member| member.queue);
        for queue in queues.filter(is_struck).filter(|queue| !own.contains(queue)) {
            let looks = self.0.get(&(context, queue)).map_or(&[][..], Vec::as_slice);
            let apart = looks.iter().rev().nth(2).map_or(0, |first| now - first);
            assert!(
                apart >= THREE_LOOKS,
                "a member is struck off by {context:?} after looks within {} ms",
                apart / 1_000
            );
        }
    }
}

impl World {
    /// Which context that lives is no member, if there is one: each adds itself with its first tick,
    /// and nobody strikes it off.
    pub fn missing_member(&self) -> Option<String> {
        let list = self.shared.load(&SharedKey::Members.to_string());
        let members = list.and_then(|(bytes, _)| Members::decode(&bytes).ok()).unwrap_or_default();
        let lives = |made: u64| made + 1_000_000 < self.now;
        let mut contexts = self.contexts().filter(|(_, it)| !it.leaves && lives(it.made));
        let missing = contexts.find(|(_, context)| !members.contains(context.agent.id()));
        missing.map(|(_, context)| format!("{:?} lives and is no member", context.id))
    }
}

// Promise: R-604
#[test]
fn vm_stays_a_member_when_many_services_change_at_once() {
    for_seeds(20, |seed| {
        let plan = Plan::crowded(2 + (seed % 4) as usize, BESIDE);
        let mut world = World::new(plan, Rng::new(seed));
        for source in CROWD.take(12) {
            world.replace(source, &[1]);
        }
        world.run(10_000);
        // All of them have nothing any more, which is held back, and then believed at one tick.
        for source in CROWD.take(12) {
            world.empty(source);
        }
        for _ in 0..180 {
            world.run(250);
            assert_eq!(world.missing_member(), None);
        }
    });
}
