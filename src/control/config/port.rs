//! `[[port]]`: devices, their settings, and the addresses on them.

use std::collections::HashMap;
use std::net::IpAddr;

use super::model::{Device, Port};
use super::node::{Table, Value};
use super::reader::{Given, Name, Reader, Scope, Subject};
use super::value::{device, edge_of, is_link_local_v6, not_unicast};
use crate::wire::{IpNet, MacAddress};

/// IPv4 hosts need not take larger ones whole (RFC 791 §3.1), so nothing smaller is of use.
const MIN_MTU: u16 = 576;
/// The largest packet that fits one buffer of 2048 bytes with the Ethernet and VLAN headers, the SRTP tag
/// and room for the other leg's headers.
const MAX_MTU: u16 = 1900;
/// What operators with jumbo frames will ask for.
const JUMBO_MTU: i64 = 9000;
/// RFC 8200 §5: every link that carries IPv6 has at least this MTU.
const MIN_MTU_V6: u16 = 1280;
const DEFAULT_MTU: u16 = 1500;
const DEFAULT_DESCRIPTORS: u16 = 1024;
const MAX_NAME: usize = 32;

const ADDRESS_EXAMPLE: &str = "[\"10.1.0.1/24\"]";

/// Reads all ports. The flag is `false` if some address or gateway was wrong, so that the lists are not all
/// there is and errors about what is not in them would mislead.
pub(super) fn ports(root: &Reader<'_, '_>) -> (Vec<Port>, bool) {
    let tables = root.tables("port");
    if tables.is_empty() && root.at("port").is_absent() {
        root.scope().error(None, "there is no [[port]]", "add one with a name, a device and addresses");
    }
    let mut seen = Seen::default();
    let ports = tables
        .into_iter()
        .enumerate()
        .map(|(index, (table, line))| port(root.scope(), index, table, line, &mut seen))
        .collect();
    (ports, !seen.wrong_addresses)
}

/// What earlier ports have taken.
#[derive(Default)]
struct Seen {
    /// With the line of the first.
    names: HashMap<String, u32>,
    devices: HashMap<String, u32>,
    nets: Vec<SeenNet>,
    wrong_addresses: bool,
}

struct SeenNet {
    net: IpNet,
    port: usize,
    line: u32,
}

fn port(scope: Scope<'_>, index: usize, table: &Table<'_>, line: u32, seen: &mut Seen) -> Port {
    let given_name =
        table.entries().iter().find(|entry| entry.key == "name").and_then(|entry| entry.node.string());
    let name = match given_name {
        Some(name) if is_name(name) => Name::Given(name),
        _ => Name::Number(index.saturating_add(1)),
    };
    let reader = Reader::new(scope.about(Subject { kind: "port", name, leg: None }), table, line);

    let name = name_of(&reader, seen);
    let device = device_of(&reader, seen);
    let addresses = addresses_of(&reader, index, seen);
    let gateways = gateways_of(&reader, &addresses, seen);
    let mtu = mtu_of(&reader, &addresses);
    let vlan = reader.optional("vlan").and_then(|given| given.integer(1..=4094));
    let descriptors = |key| {
        let count = reader.optional(key).and_then(|given| {
            let count = given.integer(64..=8192_u16)?;
            if !count.is_power_of_two() {
                let (below, above) = (count.next_power_of_two() / 2, count.next_power_of_two());
                given.error(
                    format_args!("= {count} is not a power of two"),
                    format!("use {below} or {above}"),
                );
            }
            Some(count)
        });
        count.unwrap_or(DEFAULT_DESCRIPTORS)
    };
    let (rx_descriptors, tx_descriptors) = (descriptors("rx_descriptors"), descriptors("tx_descriptors"));
    let mac = reader.optional("mac").and_then(|given| mac_of(&given));
    let promiscuous = reader.boolean("promiscuous", false);
    let udp_checksum = reader.boolean("udp_checksum", true);
    reader.finish();
    Port {
        name,
        device,
        addresses,
        gateways,
        vlan,
        mtu,
        rx_descriptors,
        tx_descriptors,
        mac,
        promiscuous,
        udp_checksum,
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_allowed)
}

fn name_of(reader: &Reader<'_, '_>, seen: &mut Seen) -> String {
    let Some(given) = reader.required("name", "add name = \"a\"") else {
        return String::new();
    };
    let Some(name) = given.string("a") else {
        return String::new();
    };
    if !is_name(name) {
        given.error_showing(name, "is not a port name", "use 1 to 32 letters, digits, '-', '_' and '.'");
    } else if let Some(first) = seen.names.insert(name.to_owned(), given.line) {
        let message = format_args!("is already the name of the port on line {first}");
        given.error_showing(name, message, "give each port a name of its own");
    }
    name.to_owned()
}

fn device_of(reader: &Reader<'_, '_>, seen: &mut Seen) -> Device {
    let none = Device::Virtual(String::new());
    let remedy = "add device = \"0000:01:00.0\" (a PCI address) or \"net_...\" (a virtual device)";
    let Some(given) = reader.required("device", remedy) else {
        return none;
    };
    let Some(text) = given.string("0000:01:00.0") else {
        return none;
    };
    match device(text) {
        Ok(device) => {
            if let Some(first) = seen.devices.insert(device.name().to_owned(), given.line) {
                let message = format_args!("is already the device of the port on line {first}");
                given.error_showing(device.name(), message, "give each port a device of its own");
            }
            device
        }
        Err((what, remedy)) => {
            given.error_showing(text, what, remedy);
            none
        }
    }
}

fn addresses_of(reader: &Reader<'_, '_>, port: usize, seen: &mut Seen) -> Vec<IpNet> {
    let remedy = format!("add addresses = {ADDRESS_EXAMPLE}");
    let Some(given) = reader.required("addresses", &remedy) else {
        seen.wrong_addresses = true;
        return Vec::new();
    };
    let before = given.scope.problems.count();
    let mut addresses = Vec::new();
    let texts = given.strings(ADDRESS_EXAMPLE);
    if texts.is_empty() && given.scope.problems.count() == before {
        given.error("is empty", format!("write at least one, like {ADDRESS_EXAMPLE}"));
    }
    for (text, line) in texts {
        match address(text).and_then(|net| unused(net, port, seen).map(|()| net)) {
            Ok(net) => {
                seen.nets.push(SeenNet { net, port, line });
                addresses.push(net);
            }
            Err((what, remedy)) => given.error_showing_at(line, text, what, remedy),
        }
    }
    seen.wrong_addresses |= given.scope.problems.count() > before;
    addresses
}

/// One host address with its prefix, or what is wrong with it and the remedy.
fn address(text: &str) -> Result<IpNet, (String, String)> {
    let wrong = |what: &str, remedy: &str| (what.to_owned(), remedy.to_owned());
    let form = "write it like \"10.1.0.1/24\" or \"fd00:1::1/64\"";
    let net: IpNet = text.parse().map_err(|_| wrong("is not an address with a prefix length", form))?;
    if net.prefix_len() == 0 {
        return Err(wrong(
            "takes the whole internet for on-link",
            "give the prefix length of the port's own network",
        ));
    }
    if let Some(what) = not_unicast(net.address()).or_else(|| edge_of(net, net.address())) {
        return Err((format!("is {what}"), "give an address of one host in the network".to_owned()));
    }
    if is_link_local_v6(net.address()) {
        let remedy = "leave it out (the gateway makes its own) and give a global or unique local address";
        return Err(wrong("is a link-local address", remedy));
    }
    Ok(net)
}

/// Checks `net` against the addresses of this port and the networks of the others.
fn unused(net: IpNet, port: usize, seen: &Seen) -> Result<(), (String, String)> {
    for other in &seen.nets {
        if other.net.address() == net.address() {
            let what = format!("is given already on line {}", other.line);
            return Err((what, "give each address once".to_owned()));
        }
        if other.port != port && other.net.overlaps(net) {
            let what =
                format!("overlaps the network of \"{}\" of another port on line {}", other.net, other.line);
            return Err((what, "give each port a network of its own".to_owned()));
        }
    }
    Ok(())
}

fn gateways_of(reader: &Reader<'_, '_>, addresses: &[IpNet], seen: &mut Seen) -> Vec<IpAddr> {
    let Some(given) = reader.optional("gateways") else {
        return Vec::new();
    };
    let before = given.scope.problems.count();
    let mut gateways: Vec<IpAddr> = Vec::new();
    for (text, line) in given.strings("[\"10.1.0.254\"]") {
        let wrong = |what: &str, remedy: &str| given.error_showing_at(line, text, what, remedy);
        let Ok(gateway) = text.parse::<IpAddr>() else {
            wrong("is not an address", "write it like \"10.1.0.254\", without a prefix length");
            continue;
        };
        let net = addresses.iter().find(|net| net.contains(gateway)).copied();
        if gateways.iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            wrong("is the second gateway of its family", "give at most one for IPv4 and one for IPv6");
        } else if let Some(what) = not_unicast(gateway).or_else(|| edge_of(net?, gateway)) {
            wrong(&format!("is {what}"), "give the router's address in this network");
        } else if addresses.iter().any(|net| net.address() == gateway) {
            wrong("is this port's own address", "give the router's address");
        } else if net.is_none() && !is_link_local_v6(gateway) {
            wrong(
                "is not in any network of this port",
                "give a router in one of the port's addresses' networks",
            );
        }
        gateways.push(gateway);
    }
    seen.wrong_addresses |= given.scope.problems.count() > before;
    gateways
}

fn mtu_of(reader: &Reader<'_, '_>, addresses: &[IpNet]) -> u16 {
    let Some(given) = reader.optional("mtu") else {
        return DEFAULT_MTU;
    };
    if let Value::Integer(jumbo) = given.node.value
        && (i64::from(MAX_MTU) + 1..=JUMBO_MTU).contains(&jumbo)
    {
        let what = format_args!("= {jumbo} does not fit one buffer of 2048 bytes (no jumbo frames yet)");
        given.error(what, format!("use {MIN_MTU} to {MAX_MTU}"));
        return DEFAULT_MTU;
    }
    let Some(mtu) = given.integer(MIN_MTU..=MAX_MTU) else {
        return DEFAULT_MTU;
    };
    if mtu < MIN_MTU_V6 && addresses.iter().any(|net| net.address().is_ipv6()) {
        given.error(
            format_args!("= {mtu} is too small for the port's IPv6 address"),
            format!("use {MIN_MTU_V6} to {MAX_MTU}, or remove the IPv6 address"),
        );
    }
    mtu
}

fn mac_of(given: &Given<'_, '_>) -> Option<MacAddress> {
    let text = given.string("02:00:00:00:00:01")?;
    let remedy = "write it like \"02:00:00:00:00:01\"";
    match text.parse::<MacAddress>() {
        Ok(mac) if mac.is_multicast() => {
            given.error_showing(text, "is a multicast address", "use one whose first byte is even, like 02");
            None
        }
        Ok(MacAddress([0, 0, 0, 0, 0, 0])) => {
            given.error_showing(text, "is the null address", remedy);
            None
        }
        Ok(mac) => Some(mac),
        Err(_) => {
            given.error_showing(text, "is not a MAC address", remedy);
            None
        }
    }
}
