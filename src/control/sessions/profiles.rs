//! Which profile stands at which number of one worker's table, and for how many streams.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::session::{Profile, ProfileId};

#[derive(Debug)]
pub(super) struct ProfileBook {
    ids: HashMap<Profile, ProfileId, RandomState>,
    /// By number: the profile and its streams.
    entries: Vec<(Profile, u32)>,
    free: Vec<ProfileId>,
    capacity: usize,
}

impl ProfileBook {
    pub(super) fn new(capacity: usize) -> Self {
        ProfileBook { ids: HashMap::default(), entries: Vec::new(), free: Vec::new(), capacity }
    }

    /// The number of a profile for one more stream, and whether the worker has to be told what it stands for. `None`
    /// when the table is full.
    pub(super) fn acquire(&mut self, profile: &Profile) -> Option<(ProfileId, bool)> {
        if let Some(&id) = self.ids.get(profile) {
            if let Some((_, streams)) = self.entries.get_mut(usize::from(id.0)) {
                *streams += 1;
            }
            return Some((id, false));
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.entries.len() < self.capacity => {
                self.entries.push((profile.clone(), 0));
                ProfileId(self.entries.len() as u16 - 1)
            }
            None => return None,
        };
        *self.entries.get_mut(usize::from(id.0))? = (profile.clone(), 1);
        self.ids.insert(profile.clone(), id);
        Some((id, true))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// One stream less. The number of a profile without streams is free; the command that gives it another meaning
    /// comes after the one that removed the last stream.
    pub(super) fn release(&mut self, id: ProfileId) {
        let Some((profile, streams)) = self.entries.get_mut(usize::from(id.0)) else { return };
        *streams = streams.saturating_sub(1);
        if *streams == 0 && self.ids.remove(profile).is_some() {
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::PayloadRules;

    #[test]
    fn equal_profiles_share_a_number_and_an_unused_number_is_used_again() {
        let profile = |payload_types| Profile::from(PayloadRules { payload_types, reduced_size_rtcp: false });
        let mut book = ProfileBook::new(2);
        assert_eq!(book.acquire(&profile(1)), Some((ProfileId(0), true)));
        assert_eq!(book.acquire(&profile(1)), Some((ProfileId(0), false)));
        assert_eq!(book.acquire(&profile(2)), Some((ProfileId(1), true)));
        assert_eq!(book.acquire(&profile(3)), None);
        book.release(ProfileId(0));
        assert_eq!(book.acquire(&profile(3)), None, "one stream still has it");
        book.release(ProfileId(0));
        book.release(ProfileId(0));
        assert_eq!(book.acquire(&profile(3)), Some((ProfileId(0), true)));
        assert_eq!(book.acquire(&profile(1)), None);
    }
}
