//! Envoy's shared data and queues, with the rules that were measured on it.

use std::collections::{HashMap, VecDeque};

use consul_resolver::host::Expect;
use consul_resolver::shared::key::Cas;
use consul_resolver::shared::members::QueueId;

use crate::vm::ContextId;

/// A number that no value ever has, as the module uses it to store only where nothing is.
const NO_VALUE_HAS_THIS: u32 = u32::MAX;

/// One process's shared data and queues.
pub struct Shared {
    /// The most values: the members, the book, whom Envoy has acknowledged, three for each
    /// source, and one for each registration.
    most: usize,
    data: HashMap<String, (Vec<u8>, u32)>,
    last_cas: u32,
    queues: Vec<Queue>,
}

struct Queue {
    name: String,
    /// The context that registered last under the name: it alone is woken.
    target: ContextId,
    messages: VecDeque<Vec<u8>>,
}

impl Shared {
    /// Nothing yet, for so many sources and registrations.
    pub fn new(sources: usize, registrations: usize) -> Self {
        Self {
            most: 3 + 3 * sources + registrations,
            data: HashMap::new(),
            last_cas: 0,
            queues: Vec::new(),
        }
    }

    /// Reads a value.
    pub fn load(&self, key: &str) -> Option<(Vec<u8>, Cas)> {
        self.data.get(key).map(|(value, cas)| (value.clone(), Cas(*cas)))
    }

    /// Writes a value: numbers are compared only where the key exists, and 0 never.
    pub fn store(&mut self, key: &str, value: &[u8], expect: Expect) -> bool {
        let number = match expect {
            Expect::Absent => NO_VALUE_HAS_THIS,
            Expect::Unchanged(Cas(cas)) => cas,
        };
        if let Some((_, cas)) = self.data.get(key)
            && number != 0
            && number != *cas
        {
            return false;
        }
        self.last_cas += 1;
        self.data.insert(key.to_owned(), (value.to_vec(), self.last_cas));
        assert!(self.data.len() <= self.most, "nothing is ever removed: {:?}", self.data.keys());
        true
    }

    /// Registers a queue; one of that name keeps its messages, and wakes this context from
    /// now on.
    pub fn register(&mut self, name: &str, target: ContextId) -> QueueId {
        let known = self.queues.iter().position(|queue| queue.name == name);
        let index = known.unwrap_or_else(|| {
            let messages = VecDeque::new();
            self.queues.push(Queue { name: name.to_owned(), target, messages });
            self.queues.len() - 1
        });
        self.queues[index].target = target;
        QueueId(u32::try_from(index).unwrap() + 1)
    }

    /// Adds a message; tells whom to wake.
    pub fn enqueue(&mut self, queue: QueueId, message: &[u8]) -> Option<ContextId> {
        let queue = self.queues.get_mut(queue.0 as usize - 1)?;
        queue.messages.push_back(message.to_vec());
        Some(queue.target)
    }

    /// Takes a message.
    pub fn dequeue(&mut self, queue: QueueId) -> Option<Vec<u8>> {
        self.queues.get_mut(queue.0 as usize - 1)?.messages.pop_front()
    }

    /// The queues by which a context is woken.
    pub fn queues_of(&self, context: ContextId) -> Vec<QueueId> {
        let queues = (1..).zip(&self.queues).filter(|(_, queue)| queue.target == context);
        queues.map(|(number, _)| QueueId(number)).collect()
    }

    /// How many messages wait in a queue.
    pub fn pending(&self, queue: QueueId) -> usize {
        self.queues.get(queue.0 as usize - 1).map_or(0, |queue| queue.messages.len())
    }

    /// The longest queue.
    pub fn longest_queue(&self) -> usize {
        self.queues.iter().map(|queue| queue.messages.len()).max().unwrap_or(0)
    }
}
