//! Network namespaces and the veth pairs that join them to a gateway port.
//!
//! The gateway's end of a pair stays in the main namespace, without an address and with IPv6 disabled: DPDK
//! alone uses it. Offloads are off at both ends, because packet sockets and AF_XDP see the frame before the
//! kernel would have filled in a checksum or cut a segment.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::{PREFIX, process, require, run, sh, unique, wait_until};

/// A namespace with the loopback interface up.
pub struct Namespace {
    name: String,
}

/// A veth pair: one end for the gateway, one in a namespace.
pub struct Veth {
    /// The gateway's end, in the main namespace.
    pub host: String,
    /// The other end, in the namespace.
    pub peer: String,
    namespace: String,
}

/// Removes what a killed test left behind. Only for the holder of the lock.
pub(super) fn remove_leftovers() {
    for line in sh("ip netns list").lines() {
        if let Some(name) = line.split_whitespace().next().filter(|name| name.starts_with(PREFIX)) {
            sh(&format!("ip netns delete {name}"));
        }
    }
}

impl Namespace {
    /// A new namespace.
    pub fn new() -> Self {
        require("ip", "iproute2");
        let name = unique();
        sh(&format!("ip netns add {name}"));
        let namespace = Namespace { name };
        namespace.sh("ip link set lo up");
        namespace
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = process::command("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command line (split at blanks) inside, and returns what it printed.
    pub fn sh(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        run(self.command(words.next().expect("a command")).args(words))
    }

    /// Runs `work` on a thread inside: sockets that it opens stay there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        let entered = || {
            let namespace = File::open(&path).unwrap_or_else(|error| panic!("cannot open {path}: {error}"));
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|error| panic!("setns {path}: {error}"));
            work()
        };
        std::thread::scope(|scope| match scope.spawn(entered).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// A UDP socket inside, bound to `local`.
    pub fn udp(&self, local: std::net::SocketAddr) -> UdpSocket {
        self.enter(|| UdpSocket::bind(local).unwrap_or_else(|error| panic!("cannot bind {local}: {error}")))
    }

    /// Waits until some socket inside is bound to UDP port `port`.
    pub fn wait_for_udp_port(&self, port: u16, limit: Duration) {
        let wanted = format!(":{port:04X} ");
        wait_until(&format!("a socket on UDP port {port}"), limit, || {
            let tables = self.enter(|| {
                ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"]
                    .map(|path| fs::read_to_string(path).unwrap_or_default())
            });
            let bound = tables.iter().flat_map(|table| table.lines()).any(|line| {
                line.split_whitespace().nth(1).is_some_and(|local| format!("{local} ").ends_with(&wanted))
            });
            bound.then_some(())
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

impl Veth {
    /// A pair into `namespace` whose inner end has `addresses` ("10.1.0.2/24"). Without any, the inner kernel
    /// stays silent: no address, no IPv6.
    pub fn new(namespace: &Namespace, addresses: &[&str]) -> Self {
        require("ethtool", "ethtool");
        let base = unique();
        let (host, peer) = (format!("{base}h"), format!("{base}p"));
        let inside = &namespace.name;
        sh(&format!("ip link add {host} type veth peer name {peer} netns {inside}"));
        let veth = Veth { host, peer, namespace: inside.clone() };
        let (host, peer) = (&veth.host, &veth.peer);
        sh(&format!("sysctl -qw net.ipv6.conf.{host}.disable_ipv6=1"));
        sh(&format!("ethtool -K {host} tx off rx off gso off gro off tso off"));
        namespace.sh(&format!("ethtool -K {peer} tx off rx off gso off gro off tso off"));
        let silent = u8::from(!addresses.iter().any(|address| address.contains(':')));
        for setting in
            [format!("disable_ipv6={silent}"), "accept_dad=0".to_owned(), "router_solicitations=0".to_owned()]
        {
            namespace.sh(&format!("sysctl -qw net.ipv6.conf.{peer}.{setting}"));
        }
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            namespace.sh(&format!("ip address add {address} dev {peer} {nodad}"));
        }
        namespace.sh(&format!("ip link set {peer} up"));
        sh(&format!("ip link set {host} up"));
        wait_until("the veth pair to be up", Duration::from_secs(5), || {
            let state = fs::read_to_string(format!("/sys/class/net/{host}/operstate")).unwrap_or_default();
            (state.trim() == "up").then_some(())
        });
        veth
    }

    /// Takes the gateway's end down or up.
    pub fn set_link(&self, is_up: bool) {
        sh(&format!("ip link set {} {}", self.host, if is_up { "up" } else { "down" }));
    }

    /// MAC address of the gateway's end.
    pub fn host_mac(&self) -> [u8; 6] {
        let path = format!("/sys/class/net/{}/address", self.host);
        parse_mac(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    /// MAC address of the inner end.
    pub fn peer_mac(&self) -> [u8; 6] {
        let text = sh(&format!("ip -n {} -brief link show dev {}", self.namespace, self.peer));
        parse_mac(text.split_whitespace().nth(2).expect("name, state, address"))
    }

    /// As a DPDK device of the driver `net_af_packet` or `net_af_xdp`.
    pub fn device(&self, driver: &str, number: usize) -> String {
        format!("{driver}{number},iface={}", self.host)
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        // The kernel may have removed it together with the namespace.
        let _ = Command::new("ip")
            .args(["link", "delete", &self.host])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

fn parse_mac(text: &str) -> [u8; 6] {
    let mut mac = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut mac {
        let part = parts.next().unwrap_or_default();
        *byte = u8::from_str_radix(part, 16).unwrap_or_else(|_| panic!("{text:?} is no MAC address"));
    }
    mac
}
