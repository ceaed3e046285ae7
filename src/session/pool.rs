//! SessionPool: which places are free, and which session a place is about.
//!
//! A session has two neighbouring rows among the streams of its worker. The pool has the rights to the rows of all
//! places that are free, hands them out and takes them back in O(1), and never grows. A [`SessionId`] names worker, place
//! and generation, so that one that is kept too long names a session that is gone and not the next one in its place.
//!
//! Generic over what the rights are, so that the simulated day of churn (`tests/churn_model.rs`) runs this file over
//! small rows.

use std::fmt;

/// A session, for as long as the process lives: never given to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct SessionId {
    /// The worker on which it is homed.
    pub worker: u16,
    /// Its place there; its rows are twice that, and the next.
    pub place: u32,
    /// How many sessions had the place before it.
    pub generation: u32,
}

/// What a pool counts, in sessions. Control thread only; published from there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PoolCount {
    /// Places that there are.
    pub size: u64,
    /// Handed out.
    pub acquired: u64,
    /// Of these: places that a session had before.
    pub reused: u64,
    /// Taken back.
    pub released: u64,
    /// Most that were out at a time.
    pub high_water: u64,
    /// Requests for which there was none.
    pub exhausted: u64,
}

/// A place that was handed out, and the right to its rows.
pub type Taken<T> = (SessionId, [T; 2]);

/// The free places of all workers.
#[derive(Debug)]
pub struct SessionPool<T> {
    workers: Vec<Places<T>>,
    count: PoolCount,
}

#[derive(Debug)]
struct Places<T> {
    /// The one that was given back last is handed out first: its lines are the likeliest to be in a cache.
    free: Vec<(u32, [T; 2])>,
    /// How many sessions each place has had; odd while one has it.
    uses: Vec<u32>,
}

impl<T> SessionPool<T> {
    /// A pool over the rows of each worker, given in order; an odd last one is left out.
    pub fn new(rows: impl IntoIterator<Item = Vec<T>>) -> Self {
        let mut size = 0;
        let workers = rows.into_iter().map(|rows| {
            let mut rows = rows.into_iter();
            let mut free = Vec::with_capacity(rows.len() / 2);
            while let (Some(even), Some(odd)) = (rows.next(), rows.next()) {
                free.push((free.len() as u32, [even, odd]));
            }
            let uses = vec![0; free.len()];
            size += free.len() as u64;
            free.reverse();
            Places { free, uses }
        });
        let workers = workers.collect();
        SessionPool { workers, count: PoolCount { size, ..PoolCount::default() } }
    }

    /// A free place of `worker`; `None` when there is none, which is counted.
    pub fn acquire(&mut self, worker: u16) -> Option<Taken<T>> {
        let taken = self.workers.get_mut(usize::from(worker)).and_then(|places| {
            let (place, rows) = places.free.pop()?;
            let uses = places.uses.get_mut(place as usize)?;
            *uses = uses.wrapping_add(1);
            Some((SessionId { worker, place, generation: *uses / 2 }, *uses > 1, rows))
        });
        let Some((id, reused, rows)) = taken else {
            self.count.exhausted += 1;
            return None;
        };
        self.count.acquired += 1;
        self.count.reused += u64::from(reused);
        self.count.high_water = self.count.high_water.max(self.in_use());
        Some((id, rows))
    }

    /// Takes a place back.
    ///
    /// # Errors
    /// Gives the rights back when no session has the place under this id.
    pub fn release(&mut self, id: SessionId, rows: [T; 2]) -> Result<(), [T; 2]> {
        if !self.is_taken(id) {
            return Err(rows);
        }
        let Some(places) = self.workers.get_mut(usize::from(id.worker)) else { return Err(rows) };
        if let Some(uses) = places.uses.get_mut(id.place as usize) {
            *uses = uses.wrapping_add(1);
        }
        places.free.push((id.place, rows));
        self.count.released += 1;
        Ok(())
    }

    /// Whether the session has its place.
    pub fn is_taken(&self, id: SessionId) -> bool {
        let uses = self.workers.get(usize::from(id.worker)).and_then(|it| it.uses.get(id.place as usize));
        uses.is_some_and(|&uses| uses % 2 == 1 && uses / 2 == id.generation)
    }

    /// Free places of a worker.
    pub fn free(&self, worker: u16) -> usize {
        self.workers.get(usize::from(worker)).map_or(0, |places| places.free.len())
    }

    /// Places that are handed out.
    pub fn in_use(&self) -> u64 {
        self.count.acquired - self.count.released
    }

    /// What was counted.
    pub fn count(&self) -> PoolCount {
        self.count
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.worker, self.place, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn pool(sizes: &[usize]) -> SessionPool<u32> {
        SessionPool::new(sizes.iter().map(|&rows| (0..rows as u32).collect()))
    }

    #[test]
    fn hands_out_every_place_once_and_then_says_that_there_is_none() {
        let mut pool = pool(&[4, 7]);
        let taken: Vec<_> = [0, 0, 1, 1, 1].map(|worker| pool.acquire(worker).expect("free")).into();
        let rows: Vec<_> = taken.iter().map(|(id, rows)| (id.worker, *rows)).collect();
        assert_eq!(rows, [(0, [0, 1]), (0, [2, 3]), (1, [0, 1]), (1, [2, 3]), (1, [4, 5])]);
        assert!(pool.acquire(0).is_none() && pool.acquire(1).is_none() && pool.acquire(2).is_none());
        let count = PoolCount { size: 5, acquired: 5, reused: 0, released: 0, high_water: 5, exhausted: 3 };
        assert_eq!(pool.count(), count);
    }

    #[test]
    fn an_id_is_good_until_its_session_is_gone() {
        let mut pool = pool(&[2]);
        let (first, rows) = pool.acquire(0).expect("free");
        assert_eq!(pool.release(SessionId { generation: 1, ..first }, rows), Err(rows), "not yet");
        assert_eq!(pool.release(SessionId { worker: 1, ..first }, rows), Err(rows));
        assert_eq!(pool.release(first, rows), Ok(()));
        assert_eq!(pool.release(first, rows), Err(rows), "once");
        let (second, _) = pool.acquire(0).expect("free again");
        assert!(pool.is_taken(second) && !pool.is_taken(first));
        assert_eq!((second.place, second.generation), (first.place, first.generation + 1));
        assert_eq!((pool.count().reused, pool.in_use()), (1, 1));
    }

    #[test]
    fn agrees_with_a_model_over_random_requests() {
        let mut pool = pool(&[20, 6]);
        let mut taken: Vec<Taken<u32>> = Vec::new();
        let mut ids = HashSet::new();
        let mut random = 1_u64;
        // Miri takes its time with each.
        let rounds = if cfg!(miri) { 1_000 } else { 200_000 };
        for _ in 0..rounds {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let worker = (random >> 40) as u16 % 2;
            if random >> 63 == 0 {
                let used = taken.iter().filter(|(id, _)| id.worker == worker).count();
                match pool.acquire(worker) {
                    None => assert_eq!(used, [10, 3][usize::from(worker)]),
                    Some((id, rows)) => {
                        assert!(ids.insert(id), "{id} was given out before");
                        assert_eq!(rows, [2 * id.place, 2 * id.place + 1]);
                        assert!(
                            taken.iter().all(|(other, _)| (other.worker, other.place) != (worker, id.place))
                        );
                        taken.push((id, rows));
                    }
                }
            } else if !taken.is_empty() {
                let (id, rows) = taken.swap_remove((random >> 33) as usize % taken.len());
                assert_eq!(pool.release(id, rows), Ok(()));
            }
            assert_eq!(pool.in_use(), taken.len() as u64);
            assert!(taken.iter().all(|(id, _)| pool.is_taken(*id)));
        }
        assert!(pool.count().reused > rounds / 20);
    }
}
