//! An address together with the length of its network prefix, as an interface has it: `10.0.0.1/24`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An interface address and its on-link prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpNet {
    address: IpAddr,
    prefix_len: u8,
}

/// A text is not an address with a prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIpNetError {
    /// The part before the slash is not an IP address.
    #[error("\"{0}\" is not an IP address: write one as 10.0.0.1/24 or fd00::1/64")]
    Address(String),
    /// There is no slash.
    #[error("\"{0}\" has no prefix length: write one as 10.0.0.1/24 or fd00::1/64")]
    NoPrefix(String),
    /// The prefix length is not a number in the family's range.
    #[error("prefix length \"{found}\" is out of range: use 0 to {most}")]
    PrefixLen {
        /// The part after the slash.
        found: String,
        /// 32 for IPv4, 128 for IPv6.
        most: u8,
    },
}

impl IpNet {
    /// Joins an address and the length of its prefix in bits, at most 32 (IPv4) or 128 (IPv6).
    pub fn new(address: IpAddr, prefix_len: u8) -> Result<IpNet, ParseIpNetError> {
        let most = family_bits(address);
        if prefix_len > most {
            return Err(ParseIpNetError::PrefixLen { found: prefix_len.to_string(), most });
        }
        Ok(IpNet { address, prefix_len })
    }

    /// The interface's own address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits.
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// Whether `other` lies within the prefix; never for the other address family.
    pub fn contains(self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                bits(other) & self.mask() == bits(self.address) & self.mask()
            }
            _ => false,
        }
    }

    /// Whether the two prefixes share an address.
    pub fn overlaps(self, other: IpNet) -> bool {
        if self.prefix_len <= other.prefix_len {
            self.contains(other.address)
        } else {
            other.contains(self.address)
        }
    }

    /// The first address of the prefix: its network address (IPv4) or subnet-router anycast address (IPv6).
    pub fn network(self) -> IpAddr {
        self.with_bits(bits(self.address) & self.mask())
    }

    /// The directed broadcast address. None for IPv6 and for prefixes of 31 and 32 bits (RFC 3021).
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) if self.prefix_len < 31 => {
                Some(Ipv4Addr::from_bits(address.to_bits() | !(self.mask() as u32)))
            }
            _ => None,
        }
    }

    /// Whether one host can have the address: unicast, not loopback or unspecified, and neither the network
    /// nor the broadcast address of an IPv4 prefix of up to 30 bits.
    pub fn is_host_address(self) -> bool {
        match self.address {
            IpAddr::V4(address) => {
                let within = self.prefix_len >= 31
                    || (self.network() != self.address && self.broadcast() != Some(address));
                within
                    && !address.is_multicast()
                    && !address.is_broadcast()
                    && !address.is_loopback()
                    && !address.is_unspecified()
            }
            IpAddr::V6(address) => {
                !address.is_multicast() && !address.is_loopback() && !address.is_unspecified()
            }
        }
    }

    fn mask(self) -> u128 {
        let host_bits = u32::from(family_bits(self.address).saturating_sub(self.prefix_len));
        u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }

    fn with_bits(self, value: u128) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => Ipv4Addr::from_bits(value as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(value).into(),
        }
    }
}

fn family_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for IpNet {
    type Err = ParseIpNetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) =
            text.split_once('/').ok_or_else(|| ParseIpNetError::NoPrefix(text.to_owned()))?;
        let address: IpAddr = address.parse().map_err(|_| ParseIpNetError::Address(address.to_owned()))?;
        let refused = || ParseIpNetError::PrefixLen { found: prefix.to_owned(), most: family_bits(address) };
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refused());
        }
        IpNet::new(address, prefix.parse().map_err(|_| refused())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn text_goes_both_ways() {
        for text in ["10.0.0.1/24", "0.0.0.0/0", "192.0.2.7/32", "fd00:1::1/64", "::/0", "fe80::1/128"] {
            assert_eq!(net(text).to_string(), text);
        }
    }

    #[test]
    fn texts_that_are_no_net_are_refused_with_a_remedy() {
        let error = |text: &str| text.parse::<IpNet>().unwrap_err().to_string();
        assert_eq!(
            error("10.0.0.1"),
            "\"10.0.0.1\" has no prefix length: write one as 10.0.0.1/24 or fd00::1/64"
        );
        assert_eq!(
            error("10.0.0/8"),
            "\"10.0.0\" is not an IP address: write one as 10.0.0.1/24 or fd00::1/64"
        );
        assert_eq!(error("10.0.0.1/33"), "prefix length \"33\" is out of range: use 0 to 32");
        assert_eq!(error("fd00::1/129"), "prefix length \"129\" is out of range: use 0 to 128");
        for text in ["10.0.0.1/", "10.0.0.1/+8", "10.0.0.1/-1", "10.0.0.1/300", "10.0.0.1/8/8"] {
            assert!(matches!(text.parse::<IpNet>(), Err(ParseIpNetError::PrefixLen { .. })), "{text}");
        }
    }

    #[test]
    fn contains_compares_exactly_the_prefix() {
        for (text, inside, outside) in [
            ("10.1.2.3/24", "10.1.2.255", "10.1.3.0"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("10.1.2.3/0", "255.255.255.255", "::1"),
            ("10.1.2.3/31", "10.1.2.2", "10.1.2.4"),
            ("fd00:1::1/64", "fd00:1::ffff:1:2:3", "fd00:1:0:1::1"),
            ("fd00:1::1/128", "fd00:1::1", "fd00:1::2"),
            ("::/0", "2001:db8::1", "0.0.0.0"),
        ] {
            assert!(net(text).contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!net(text).contains(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn overlap_is_symmetric() {
        for (a, b, expected) in [
            ("10.0.0.1/8", "10.9.9.9/24", true),
            ("10.0.0.1/24", "10.0.1.1/24", false),
            ("10.0.0.1/24", "fd00::1/64", false),
            ("fd00::1/64", "fd00::2/64", true),
        ] {
            assert_eq!(net(a).overlaps(net(b)), expected, "{a} {b}");
            assert_eq!(net(b).overlaps(net(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn network_and_broadcast_are_no_hosts() {
        assert_eq!(net("10.1.2.3/24").network(), "10.1.2.0".parse::<IpAddr>().unwrap());
        assert_eq!(net("10.1.2.3/24").broadcast(), Some(Ipv4Addr::new(10, 1, 2, 255)));
        assert_eq!(net("10.1.2.3/31").broadcast(), None);
        assert_eq!(net("fd00::1/64").broadcast(), None);
        for text in ["10.1.2.3/24", "10.1.2.2/31", "10.1.2.3/32", "fd00::1/64"] {
            assert!(net(text).is_host_address(), "{text}");
        }
        for text in [
            "10.1.2.0/24",
            "10.1.2.255/24",
            "224.0.0.1/24",
            "127.0.0.1/8",
            "0.0.0.0/32",
            "ff02::1/64",
            "::/64",
            "::1/128",
        ] {
            assert!(!net(text).is_host_address(), "{text}");
        }
    }
}
