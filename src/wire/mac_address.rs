//! 48-bit MAC addresses and the addresses that are derived from them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An Ethernet (EUI-48) address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

/// A text is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a MAC address: write six bytes as 02:00:00:00:00:01")]
pub struct ParseMacAddressError(String);

impl MacAddress {
    /// ff:ff:ff:ff:ff:ff, every station on the link.
    pub const BROADCAST: MacAddress = MacAddress([0xff; 6]);
    /// 00:00:00:00:00:00, which no station has: ARP's "not known".
    pub const UNSPECIFIED: MacAddress = MacAddress([0; 6]);

    /// Whether the group bit is set; broadcast is a multicast address, too.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether this is ff:ff:ff:ff:ff:ff.
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether one station can have this address: neither a group nor all zeroes.
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::UNSPECIFIED
    }

    /// The group address that carries an IPv4 multicast group (RFC 1112 §6.4).
    pub const fn of_ipv4_group(group: Ipv4Addr) -> MacAddress {
        let octets = group.octets();
        MacAddress([0x01, 0x00, 0x5e, octets[1] & 0x7f, octets[2], octets[3]])
    }

    /// The group address that carries an IPv6 multicast group (RFC 2464 §7).
    pub const fn of_ipv6_group(group: Ipv6Addr) -> MacAddress {
        let octets = group.octets();
        MacAddress([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
    }

    /// The IPv6 link-local address with the modified EUI-64 interface identifier (RFC 4291 App. A).
    pub const fn link_local(self) -> Ipv6Addr {
        const fn word(high: u8, low: u8) -> u16 {
            u16::from_be_bytes([high, low])
        }
        let [a, b, c, d, e, f] = self.0;
        Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 0x02, b), word(c, 0xff), word(0xfe, d), word(e, f))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = ParseMacAddressError;

    /// Parses six two-digit hexadecimal bytes separated by colons.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseMacAddressError(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or_else(refused)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(refused());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        if parts.next().is_some() { Err(refused()) } else { Ok(MacAddress(octets)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_both_ways() {
        let mac: MacAddress = "02:aB:00:1f:ff:09".parse().unwrap();
        assert_eq!(mac, MacAddress([0x02, 0xab, 0x00, 0x1f, 0xff, 0x09]));
        assert_eq!(mac.to_string(), "02:ab:00:1f:ff:09");
    }

    #[test]
    fn texts_that_are_no_address_are_refused() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:0:0:0:0:1",
            "02-00-00-00-00-01",
            "+2:00:00:00:00:01",
            "g2:00:00:00:00:01",
        ] {
            let error = text.parse::<MacAddress>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("\"{text}\" is not a MAC address: write six bytes as 02:00:00:00:00:01")
            );
        }
    }

    #[test]
    fn kinds_of_address() {
        assert!(MacAddress::BROADCAST.is_broadcast() && MacAddress::BROADCAST.is_multicast());
        assert!(!MacAddress::BROADCAST.is_unicast() && !MacAddress::UNSPECIFIED.is_unicast());
        let group = MacAddress([0x33, 0x33, 0, 0, 0, 1]);
        assert!(group.is_multicast() && !group.is_broadcast() && !group.is_unicast());
        assert!(MacAddress([0x02, 0, 0, 0, 0, 1]).is_unicast());
    }

    #[test]
    fn derived_addresses() {
        let mac = MacAddress([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(mac.link_local(), "fe80::3656:78ff:fe9a:bcde".parse::<Ipv6Addr>().unwrap());
        assert_eq!(
            MacAddress::of_ipv6_group("ff02::1:ff28:9c5a".parse().unwrap()).to_string(),
            "33:33:ff:28:9c:5a"
        );
        assert_eq!(MacAddress::of_ipv4_group(Ipv4Addr::new(239, 129, 2, 3)).to_string(), "01:00:5e:01:02:03");
    }
}
