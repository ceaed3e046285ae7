//! Every refusal and warning in its exact words, over machines that are made up.

use super::*;

/// A machine with `nodes` nodes of `per_node` physical cores with two threads each: node n has cores
/// `n * per_node..` and, above all of them, their siblings, as the kernel numbers them.
fn machine(nodes: u16, per_node: u16, allowed: impl Fn(u16) -> bool) -> Topology {
    let physical = nodes * per_node;
    let core = |id: u16| {
        let first = id % physical;
        Core { id, node: u32::from(first / per_node), allowed: allowed(id), physical: first }
    };
    Topology { cores: (0..2 * physical).map(core).collect() }
}

fn cores(control: &[u16], workers: &[u16]) -> Cores {
    Cores { control: control.to_vec(), workers: workers.to_vec(), allow_shared: false }
}

fn port(name: &str, driver: &str, max_queues: u16, node: Option<u32>) -> PortFacts {
    PortFacts { name: name.to_owned(), driver: driver.to_owned(), max_queues, node }
}

fn refused(topology: &Topology, cores: &Cores) -> String {
    topology.check_cores(cores).expect_err("a placement that cannot work").to_string()
}

#[test]
fn a_core_that_does_not_exist_is_refused_with_one_that_does() {
    let topology = machine(1, 4, |_| true);
    assert_eq!(
        refused(&topology, &cores(&[0], &[1, 9])),
        "core 9 in [cores] does not exist; this machine has 0-7; use: [cores] workers = [1, 2]"
    );
    assert_eq!(
        refused(&topology, &cores(&[77], &[0, 1])),
        "core 77 in [cores] does not exist; this machine has 0-7; use: [cores] workers = [1, 2], control = [0]"
    );
    assert!(topology.check_cores(&cores(&[0], &[1, 2, 3])).is_ok());
}

#[test]
fn more_workers_than_cores_get_as_many_as_there_are() {
    let one_left = machine(1, 1, |_| true);
    assert_eq!(
        refused(&one_left, &cores(&[0], &[1, 2, 3])),
        "core 2 in [cores] does not exist; this machine has 0-1; use: [cores] workers = [1]"
    );
    let none_left = machine(1, 4, |id| id == 3);
    assert_eq!(
        refused(&none_left, &cores(&[3], &[4])),
        "core 4 in [cores] is not one of those that this process may use, 3; a worker needs a core beside the \
         control core, or allow_shared = true for a test, or allow it with: taskset -pc 0-7 $$"
    );
}

#[test]
fn a_core_outside_of_the_affinity_mask_is_refused() {
    let topology = machine(1, 4, |id| [0, 2, 3, 6].contains(&id));
    assert_eq!(
        refused(&topology, &cores(&[0], &[1])),
        "core 1 in [cores] is not one of those that this process may use, 0,2-3,6; use: [cores] workers = [2], or \
         allow it with: taskset -pc 0-7 $$"
    );
}

#[test]
fn more_workers_than_queue_pairs_are_refused_with_the_most_that_work() {
    let topology = machine(2, 4, |_| true);
    let wanted = cores(&[0], &[1, 2, 3, 4]);
    let refused =
        |ports: &[PortFacts]| topology.check_ports(&wanted, ports).expect_err("too few").to_string();
    // On the port's node, and one thread of each physical core.
    assert_eq!(
        refused(&[port("a", "net_tap", 16, None), port("b", "net_x", 3, Some(1))]),
        "port \"b\" (net_x) has 3 queue pairs for 4 workers; at most 3 workers work: [cores] workers = [4, 5, 6]"
    );
    assert_eq!(
        refused(&[port("a", "net_af_packet", 1, Some(0))]),
        "port \"a\" (net_af_packet) has 1 queue pair for 4 workers; add qpairs=4 to its device, or at most 1 worker \
         works: [cores] workers = [1]"
    );
    assert_eq!(
        refused(&[port("a", "net_af_xdp", 2, None)]),
        "port \"a\" (net_af_xdp) has 2 queue pairs for 4 workers; add queue_count=4 to its device, or at most 2 \
         workers work: [cores] workers = [1, 2]"
    );
    let enough = [port("a", "net_x", 4, None)];
    assert_eq!(topology.check_ports(&wanted, &enough), Ok(Vec::new()));
}

#[test]
fn workers_far_from_a_port_are_warned_of() {
    let topology = machine(2, 4, |_| true);
    let warnings = |workers: &[u16], ports: &[PortFacts]| -> Vec<String> {
        let warnings = topology.check_ports(&cores(&[0], workers), ports).expect("it works");
        warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        warnings(&[1, 4], &[port("a", "net_x", 8, Some(1))]),
        [
            "port \"a\" is on NUMA node 1, but the workers on core 1 are not: their packets cross between the nodes; \
          better: [cores] workers = [4, 5]"
        ]
    );
    // No node has room for nine workers, so there is no better line.
    let many = [1, 2, 3, 4, 5, 6, 7, 12, 13];
    let far = warnings(&many, &[port("a", "net_x", 16, Some(0))]);
    assert_eq!(
        far[0],
        "port \"a\" is on NUMA node 0, but the workers on cores 4, 5, 6, 7, 12, 13 are not: their packets cross \
         between the nodes"
    );
    assert_eq!(warnings(&[1, 2], &[port("a", "net_x", 8, Some(0)), port("b", "net_y", 8, None)]), [""; 0]);
}

#[test]
fn two_threads_of_one_physical_core_are_warned_of() {
    let topology = machine(1, 4, |_| true);
    let warnings =
        topology.check_ports(&cores(&[0], &[1, 5]), &[port("a", "net_x", 8, None)]).expect("it works");
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "the workers on cores 1 and 5 share one physical core: each gets about half of it; better: [cores] \
          workers = [1, 2]"
        ]
    );
}

#[test]
fn sharing_by_choice_is_left_alone() {
    let topology = machine(1, 1, |id| id == 0);
    let shared = Cores { control: vec![0], workers: vec![0, 0, 0, 0], allow_shared: true };
    assert!(topology.check_cores(&shared).is_ok());
    assert_eq!(topology.check_ports(&shared, &[port("a", "net_memif", 255, None)]), Ok(Vec::new()));
}

#[test]
fn the_kernels_files_are_understood() {
    let root = std::env::temp_dir().join(format!("voxlane-topology-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a temporary folder");
        fs::write(path, text).expect("a temporary file");
    };
    write("cpu/online", "0-3\n");
    write("node/online", "0-1\n");
    write("node/node0/cpulist", "0,2\n");
    write("node/node1/cpulist", "1,3\n");
    for (core, siblings) in [(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")] {
        write(&format!("cpu/cpu{core}/topology/thread_siblings_list"), siblings);
    }
    let topology = Topology::from_sysfs(&root, &[1, 2, 3]);
    let core = |id, node, allowed, physical| Core { id, node, allowed, physical };
    let expected = [core(0, 0, false, 0), core(1, 1, true, 1), core(2, 0, true, 0), core(3, 1, true, 1)];
    assert_eq!(topology.cores, expected);
    assert!(topology.has_nodes());
    fs::remove_dir_all(&root).expect("our own folder");

    let bare = Topology::from_sysfs(&root, &[0, 1]);
    assert_eq!(
        bare.cores,
        [core(0, 0, true, 0), core(1, 0, true, 1)],
        "nothing is known: the simplest machine"
    );
    assert!(!Topology::read(&[0]).cores.is_empty());
}
