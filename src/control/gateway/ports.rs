//! Ports: attached, configured and started, and which of their queues gets which packets.
//!
//! What a port is (its MAC address, its offloads, how it spreads packets) is known once it is attached; the plan of
//! the streams and the host side are made from that.

use std::net::SocketAddr;

use super::GatewayError;
use crate::control::config::{self, Config, Device};
use crate::control::host::{Host, HostLimits, Interface};
use crate::control::placement::{PortFacts, Topology};
use crate::control::plan;
use crate::dpdk::{Attach, Eal, Mempool, Port, PortConfig, Rss, RxQueue, TxQueue, lockdown};
use crate::session::EgressPort;
use crate::wire::MacAddress;

/// Local ports of a device port up to which flow rules are tried: what small NICs have room for.
const MAX_FLOW_RULES: usize = 128;

/// One port while it is being set up.
pub(super) struct Opened {
    pub port: Port,
    /// Those that no worker has yet; the first is the next worker's.
    pub queues: Vec<(RxQueue, TxQueue)>,
    pub facts: EgressPort,
    started: bool,
}

impl Opened {
    /// Starts the port unless it runs already.
    pub(super) fn start(&mut self, name: &str) -> Result<(), GatewayError> {
        if !self.started {
            self.port.start().map_err(|reason| GatewayError::Port { port: name.to_owned(), reason })?;
            self.started = true;
        }
        Ok(())
    }
}

/// Attaches all ports and holds the placement of the workers against what they offer.
pub(super) fn attach_ports(
    eal: &Eal,
    config: &Config,
    topology: &Topology,
) -> Result<Vec<Attach>, GatewayError> {
    let mut attached = Vec::new();
    for port in &config.ports {
        let failed = |reason| GatewayError::Port { port: port.name.clone(), reason };
        attached.push(Attach::new(eal, port.device.devargs()).map_err(failed)?);
    }
    let facts = config.ports.iter().zip(&attached).map(|(port, attach)| PortFacts {
        name: port.name.clone(),
        driver: attach.info().driver.clone(),
        max_queues: attach.info().max_queues,
        node: attach.info().socket,
    });
    for warning in topology.check_ports(&config.cores, &facts.collect::<Vec<_>>())? {
        tracing::warn!("{warning}");
    }
    Ok(attached)
}

/// Configures all ports. The second value is by pool the number of buffers that drivers took and never give back.
pub(super) fn open_ports(
    config: &Config,
    attached: Vec<Attach>,
    pools: &[Mempool],
    pool_of_worker: &[usize],
) -> Result<(Vec<Opened>, Vec<u32>), GatewayError> {
    let mut opened = Vec::new();
    let mut kept_by_drivers = vec![0; pools.len()];
    // Worker `i` polls queue `i` of every port.
    let of_queue: Vec<Mempool> = pool_of_worker.iter().map(|&pool| pools[pool].clone()).collect();
    for (index, (port, attach)) in config.ports.iter().zip(attached).enumerate() {
        let failed = |reason| GatewayError::Port { port: port.name.clone(), reason };
        let offloads = attach.info().offloads;
        // PCI drivers are not listed one by one.
        let is_virtual = matches!(port.device, Device::Virtual(_));
        if config.worker.lockdown && is_virtual && !lockdown::is_kernel_free(&attach.info().driver) {
            let driver = attach.info().driver.clone();
            return Err(GatewayError::NotKernelFree { port: port.name.clone(), driver });
        }
        let wanted = PortConfig {
            queues: config.cores.workers.len() as u16,
            mtu: port.mtu,
            rx_descriptors: port.rx_descriptors,
            tx_descriptors: port.tx_descriptors,
            mac: port.mac.map(|mac| mac.0),
            promiscuous: port.promiscuous,
        };
        let in_use_before: Vec<u32> = pools.iter().map(|pool| pool.usage().in_use).collect();
        let (device, queues) = attach.configure(&wanted, &of_queue).map_err(failed)?;
        let facts = EgressPort {
            index: index as u8,
            mac: MacAddress(device.info().mac),
            vlan: port.vlan,
            mtu: port.mtu,
            udp_checksum: port.udp_checksum,
            offload_ip: offloads.tx_ipv4,
            offload_udp: offloads.tx_udp,
        };
        tracing::info!(
            port = %port.name,
            driver = %device.info().driver,
            mac = %facts.mac,
            queues = wanted.queues,
            ?offloads,
            "port configured"
        );
        if device.info().keeps_buffers() {
            for ((kept, pool), before) in kept_by_drivers.iter_mut().zip(pools).zip(in_use_before) {
                *kept += pool.usage().in_use - before;
            }
        }
        opened.push(Opened { port: device, queues, facts, started: false });
    }
    Ok((opened, kept_by_drivers))
}

/// How each port spreads packets over its queues, where it says. Drivers fill their redirection table in when the port
/// starts, so those with RSS start here, before streams are homed by it; what arrives until the workers poll stays in
/// the rings.
pub(super) fn start_spreading(
    config: &Config,
    opened: &mut [Opened],
) -> Result<Vec<Option<Rss>>, GatewayError> {
    let workers = config.cores.workers.len() as u16;
    let mut spreads = Vec::new();
    for (port, opened) in config.ports.iter().zip(opened) {
        let mut spread = None;
        if workers > 1 && opened.port.info().has_rss {
            opened.start(&port.name)?;
            spread = opened.port.spread(workers);
            let by = match &spread {
                None => "a hash that the driver does not tell",
                Some(Rss { destination_port_only: true, .. }) => "destination port",
                Some(_) => "addresses and ports",
            };
            tracing::info!(port = %port.name, by, "received packets are spread over the queues");
        }
        spreads.push(spread);
    }
    Ok(spreads)
}

/// By port the legs to deliver on their worker's queue by flow rules: those of ports that do not say how they spread,
/// where they are few. Elsewhere the homing of streams or the hand-over does it.
pub(super) fn flow_rules(
    config: &Config,
    spreads: &[Option<Rss>],
    homes: &[u16],
) -> Vec<Vec<(SocketAddr, u16)>> {
    let rules_of = |(index, spread): (usize, &Option<Rss>)| {
        let wanted = config.cores.workers.len() > 1 && spread.is_none();
        let most = if wanted { MAX_FLOW_RULES + 1 } else { 0 };
        let rules: Vec<_> =
            plan::locals(config.sessions.iter().zip(homes.iter().copied()), index).take(most).collect();
        if rules.len() > MAX_FLOW_RULES { Vec::new() } else { rules }
    };
    spreads.iter().enumerate().map(rules_of).collect()
}

/// Makes the rules of one port, all or none.
pub(super) fn steer(name: &str, port: &Port, rules: &[(SocketAddr, u16)]) {
    if rules.is_empty() {
        return;
    }
    match rules.iter().try_for_each(|&(local, worker)| port.steer(local, worker)) {
        Ok(()) => {
            tracing::info!(port = %name, rules = rules.len(), "flow rules deliver each leg to its worker")
        }
        Err(reason) => {
            port.steer_nothing();
            tracing::info!(port = %name, %reason, "no flow rules; packets are handed over between workers");
        }
    }
}

/// The gateway as a host on one port.
pub(in crate::control) fn host(
    config: &Config,
    port: &config::Port,
    facts: &EgressPort,
    next_hops: usize,
) -> Host {
    let interface = Interface {
        mac: facts.mac,
        vlan: facts.vlan,
        addresses: port.addresses.clone(),
        gateways: port.gateways.clone(),
        mtu: port.mtu,
    };
    let limits = HostLimits {
        arp_per_second: config.host.arp_per_second,
        icmp_per_second: config.host.icmp_per_second,
        next_hops,
    };
    Host::new(interface, limits)
}
