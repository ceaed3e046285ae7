//! Text to addresses and devices: what a value must look like, apart from what it must agree with.

use std::net::{IpAddr, SocketAddr};

use super::model::Device;
use crate::wire::IpNet;

/// Longest device name DPDK takes, without its terminating NUL (`RTE_DEV_NAME_MAX_LEN`).
const MAX_DEVICE_NAME: usize = 63;

/// `10.1.0.1:20000` or `[fd00::1]:20000`; scope ids (`%eth0`) mean nothing without the kernel's interfaces.
pub(super) fn socket_address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().filter(|address| match address {
        SocketAddr::V4(_) => true,
        SocketAddr::V6(address) => address.scope_id() == 0 && address.flowinfo() == 0,
    })
}

/// Why `address` cannot be one single host's on the network, if it cannot.
pub(super) fn not_unicast(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => match address.octets() {
            // RFC 1122 §3.2.1.3: "this host on this network", as a source only.
            [0, ..] => Some("an unspecified address"),
            [255, 255, 255, 255] => Some("the broadcast address"),
            _ if address.is_loopback() => Some("a loopback address"),
            _ if address.is_multicast() => Some("a multicast address"),
            // RFC 1112 §4: class E.
            [240..=255, ..] => Some("a reserved address"),
            _ => None,
        },
        IpAddr::V6(address) if address.is_unspecified() => Some("an unspecified address"),
        IpAddr::V6(address) if address.is_loopback() => Some("a loopback address"),
        IpAddr::V6(address) if address.is_multicast() => Some("a multicast address"),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Some("an IPv4-mapped address, which never appears on a network")
        }
        IpAddr::V6(_) => None,
    }
}

/// Whether `address` is in fe80::/10 (RFC 4291 §2.5.6): valid on one link only.
pub(super) fn is_link_local_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// What `address`, which lies in `net`, stands for if not for one host there.
pub(super) fn edge_of(net: IpNet, address: IpAddr) -> Option<&'static str> {
    match address {
        // RFC 3021: a /31 has no network and no broadcast address, and a /32 is a host.
        IpAddr::V4(address) => {
            let broadcast = net.broadcast()?;
            match address {
                _ if net.network() == address => Some("the network's own address"),
                _ if broadcast == address => Some("the network's broadcast address"),
                _ => None,
            }
        }
        // RFC 4291 §2.6.1; RFC 6164 takes it away from a /127.
        IpAddr::V6(_) => (net.prefix_len() <= 126 && net.network() == address)
            .then_some("the subnet-router anycast address"),
    }
}

/// A PCI address (`0000:01:00.0`, `01:00.0`) or a virtual device (`net_memif0`), each with EAL arguments
/// after a comma if wanted.
///
/// # Errors
/// What is wrong with it, and what to write.
pub(super) fn device(text: &str) -> Result<Device, (&'static str, &'static str)> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(("has a space in it", "write the device and its arguments without spaces"));
    }
    let (name, arguments) = text.split_at(text.find(',').unwrap_or(text.len()));
    if let Some(address) = pci_address(name) {
        return Ok(Device::Pci(address + arguments));
    }
    let is_name =
        name.len() <= MAX_DEVICE_NAME && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name || !name.starts_with("net_") {
        return Err((
            "is not a device",
            "give a PCI address like \"0000:01:00.0\" or a virtual device like \"net_memif0,role=server,id=0\"",
        ));
    }
    if !name.ends_with(|c: char| c.is_ascii_digit()) {
        return Err(("has no number after the driver's name", "append one, like \"net_memif0\""));
    }
    Ok(Device::Virtual(text.to_owned()))
}

/// `[domain:]bus:device.function` in hex, completed and in lower case.
fn pci_address(text: &str) -> Option<String> {
    let hex = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let is_hex = digits.contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit());
        is_hex.then(|| u32::from_str_radix(text, 16).ok())?
    };
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0000", rest));
    // Domains beyond 16 bits exist behind Intel VMD and Hyper-V.
    let (domain, bus) = (hex(domain, 4..=8)?, hex(bus, 2..=2)?);
    let device = hex(device, 2..=2).filter(|device| *device < 32)?;
    let function = hex(function, 1..=1).filter(|function| *function < 8)?;
    Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_apart_and_completed() {
        let good = [
            ("0000:01:00.0", "0000:01:00.0"),
            ("01:00.0", "0000:01:00.0"),
            ("0000:AF:1f.7,mprq_en=1", "0000:af:1f.7,mprq_en=1"),
            ("10000:01:00.0", "10000:01:00.0"),
        ];
        for (text, expected) in good {
            assert_eq!(device(text), Ok(Device::Pci(expected.to_owned())), "{text}");
        }
        let memif = "net_memif0,role=server,id=0,socket=/run/a.sock";
        assert_eq!(device(memif), Ok(Device::Virtual(memif.to_owned())));
        for text in
            ["", "eth0", "01:00", "01:00.8", "01:20.0", "1:00.0", "0000:01:00.0:", "net_memif", "net memif0"]
        {
            assert!(device(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_edges_of_a_network_are_no_hosts() {
        let edge = |net: &str, address: &str| {
            let net: IpNet = net.parse().expect("a valid network");
            edge_of(net, address.parse().expect("a valid address"))
        };
        assert_eq!(edge("10.1.0.1/24", "10.1.0.0"), Some("the network's own address"));
        assert_eq!(edge("10.1.0.1/24", "10.1.0.255"), Some("the network's broadcast address"));
        assert_eq!(edge("10.1.0.1/30", "10.1.0.3"), Some("the network's broadcast address"));
        for (net, address) in
            [("10.1.0.1/24", "10.1.0.9"), ("10.1.0.0/31", "10.1.0.0"), ("10.1.0.0/32", "10.1.0.0")]
        {
            assert_eq!(edge(net, address), None, "{net} {address}");
        }
        assert_eq!(edge("fd00::1/64", "fd00::"), Some("the subnet-router anycast address"));
        assert_eq!(edge("fd00::/127", "fd00::"), None);
        assert_eq!(edge("fd00::1/64", "fd00::ffff:ffff:ffff:ffff"), None);
    }

    #[test]
    fn only_addresses_of_one_host_are_unicast() {
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ];
        for text in refused {
            assert!(not_unicast(text.parse().expect("a valid address")).is_some(), "{text}");
        }
        for text in ["10.0.0.1", "169.254.1.1", "223.255.255.255", "fd00::1", "fe80::1", "2001:db8::1"] {
            assert_eq!(not_unicast(text.parse().expect("a valid address")), None, "{text}");
        }
    }

    #[test]
    fn scope_ids_are_refused() {
        assert!(socket_address("[fe80::1]:5").is_some());
        assert!(socket_address("[fe80::1%3]:5").is_none());
        assert!(socket_address("10.0.0.1").is_none());
    }
}
