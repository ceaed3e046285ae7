//! How the packet buffers are spread over NUMA nodes: one pool for each node that has a worker.
//!
//! A queue receives into the pool of its worker's node, not of its port's. The worker reads and writes every line of
//! a packet several times and waits for each; the port writes and reads it once, and nobody waits. Where a port is on
//! another node than its worker, one of the two has to cross, and the port is the one that can afford it. (That such a
//! placement is slower at all is what [`placement`](super::placement) warns of.) The rings of descriptors stay on the
//! port's node, where the driver puts them.

/// A pool to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPlan {
    /// Its name, a metric label.
    pub name: String,
    /// The node of its memory; `None` where the machine has but one.
    pub node: Option<u32>,
    /// How many buffers.
    pub buffers: u32,
}

/// Pools for `buffers` buffers in all, and for each worker the pool that its queues receive into. `worker_nodes` is by
/// worker; `has_nodes` says whether the machine has more than one.
///
/// Each worker's share is the same. Workers on one node have one pool of the name `buffers`, as on a machine with one
/// node, so that dashboards need not know.
pub fn plan(buffers: u32, worker_nodes: &[u32], has_nodes: bool) -> (Vec<PoolPlan>, Vec<usize>) {
    let mut nodes: Vec<u32> = worker_nodes.to_vec();
    nodes.sort_unstable();
    nodes.dedup();
    if nodes.len() <= 1 {
        let node = nodes.first().copied().filter(|_| has_nodes);
        return (vec![PoolPlan { name: "buffers".to_owned(), node, buffers }], vec![0; worker_nodes.len()]);
    }
    let share = u64::from(buffers).div_ceil(worker_nodes.len() as u64);
    let pools = nodes.iter().map(|&node| {
        let workers = worker_nodes.iter().filter(|of| **of == node).count() as u64;
        let buffers = u32::try_from(share * workers).unwrap_or(u32::MAX);
        PoolPlan { name: format!("buffers_node{node}"), node: Some(node), buffers }
    });
    let of_worker = worker_nodes.iter().map(|node| nodes.iter().position(|of| of == node).unwrap_or(0));
    (pools.collect(), of_worker.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str, node: Option<u32>, buffers: u32) -> PoolPlan {
        PoolPlan { name: name.to_owned(), node, buffers }
    }

    #[test]
    fn one_node_keeps_the_one_pool() {
        assert_eq!(plan(16_384, &[0, 0], false), (vec![pool("buffers", None, 16_384)], vec![0, 0]));
        // A second node without workers gets no buffers; the memory is where the workers are.
        assert_eq!(plan(16_384, &[1], true), (vec![pool("buffers", Some(1), 16_384)], vec![0]));
    }

    #[test]
    fn each_node_with_workers_has_a_pool_of_their_shares() {
        let (pools, of_worker) = plan(10_000, &[1, 0, 1], true);
        assert_eq!(pools, [pool("buffers_node0", Some(0), 3_334), pool("buffers_node1", Some(1), 6_668)]);
        assert_eq!(of_worker, [1, 0, 1]);
        assert!(pools.iter().map(|pool| pool.buffers).sum::<u32>() >= 10_000, "never fewer than configured");
    }

    #[test]
    fn node_numbers_may_have_gaps() {
        let (pools, of_worker) = plan(8_192, &[7, 2], true);
        assert_eq!(pools, [pool("buffers_node2", Some(2), 4_096), pool("buffers_node7", Some(7), 4_096)]);
        assert_eq!(of_worker, [1, 0]);
    }
}
