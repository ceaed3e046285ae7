//! A transport address in the form that the packet path compares.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// IP address and UDP port. IPv4 addresses are held as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2), so that equality
/// is one comparison whatever the family.
///
/// The address is two numbers: as an array of octets it would be put together octet by octet for each packet, and
/// reading back what was just written in smaller pieces stalls.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, packed(2))]
pub struct Endpoint {
    /// The first eight octets, big-endian.
    high: u64,
    low: u64,
    port: u16,
}

/// What stands before an IPv4 address in its mapped form.
const MAPPED: u64 = 0xffff << 32;

impl Endpoint {
    /// An IPv4 endpoint from the octets of the header.
    #[inline(always)]
    pub const fn v4(address: Ipv4Addr, port: u16) -> Self {
        Endpoint { high: 0, low: MAPPED | address.to_bits() as u64, port }
    }

    /// An IPv6 endpoint from the octets of the header.
    #[inline(always)]
    pub const fn v6(address: Ipv6Addr, port: u16) -> Self {
        let bits = address.to_bits();
        Endpoint { high: (bits >> 64) as u64, low: bits as u64, port }
    }

    /// The address in mapped form, as two numbers.
    #[inline(always)]
    pub const fn address(&self) -> [u64; 2] {
        [self.high, self.low]
    }

    /// The UDP port.
    #[inline(always)]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The standard library's form, IPv4 unmapped.
    pub fn socket_addr(&self) -> SocketAddr {
        let [high, low] = self.address();
        let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
        let address = address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4);
        SocketAddr::new(address, self.port)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) => Endpoint::v4(ip, address.port()),
            IpAddr::V6(ip) => Endpoint::v6(ip, address.port()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket_addr().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_round_trip() {
        for text in ["192.0.2.1:5004", "[2001:db8::1]:5004"] {
            let address: SocketAddr = text.parse().expect("a literal");
            assert_eq!(Endpoint::from(address).socket_addr(), address);
        }
    }

    #[test]
    fn differs_in_every_part() {
        let one = Endpoint::v4(Ipv4Addr::new(192, 0, 2, 1), 5004);
        assert_ne!(one, Endpoint::v4(Ipv4Addr::new(192, 0, 2, 1), 5005));
        assert_ne!(one, Endpoint::v4(Ipv4Addr::new(192, 0, 2, 2), 5004));
        assert_ne!(one, Endpoint::v6(Ipv6Addr::LOCALHOST, 5004));
    }
}
