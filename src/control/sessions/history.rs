//! Why the latest sessions ended, for whoever asks after one that is gone.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::session::EndReason;

/// The ends of the latest sessions.
#[derive(Debug)]
pub(super) struct History {
    ends: HashMap<String, (EndReason, u64), RandomState>,
    /// Oldest first; a name that ended again is in it twice.
    order: VecDeque<(String, u64)>,
    capacity: usize,
    number: u64,
}

impl History {
    pub(super) fn new(capacity: usize) -> Self {
        History { ends: HashMap::default(), order: VecDeque::new(), capacity, number: 0 }
    }

    pub(super) fn add(&mut self, name: String, reason: EndReason) {
        if self.order.len() >= self.capacity
            && let Some((oldest, number)) = self.order.pop_front()
            && self.ends.get(&oldest).is_some_and(|(_, latest)| *latest == number)
        {
            self.ends.remove(&oldest);
        }
        self.number += 1;
        self.order.push_back((name.clone(), self.number));
        self.ends.insert(name, (reason, self.number));
    }

    pub(super) fn get(&self, name: &str) -> Option<EndReason> {
        self.ends.get(name).map(|(reason, _)| *reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_latest_ends() {
        let mut history = History::new(2);
        history.add("a".into(), EndReason::Removed);
        history.add("a".into(), EndReason::IdleTimeout);
        assert_eq!(history.get("a"), Some(EndReason::IdleTimeout));
        history.add("b".into(), EndReason::MaxLifetime);
        assert_eq!(history.get("a"), Some(EndReason::IdleTimeout), "its first end made room");
        history.add("c".into(), EndReason::Removed);
        assert_eq!((history.get("a"), history.get("b")), (None, Some(EndReason::MaxLifetime)));
        assert_eq!(history.ends.len(), 2);
    }
}
