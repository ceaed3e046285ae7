//! The IPv4 protocol and IPv6 next-header number.

use std::fmt;

/// An IP protocol number: IPv4's protocol field, IPv6's next-header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP (RFC 792).
    pub const ICMP: Protocol = Protocol(1);
    /// UDP (RFC 768).
    pub const UDP: Protocol = Protocol(17);
    /// The IPv6 fragment header (RFC 8200 §4.5).
    pub const IPV6_FRAGMENT: Protocol = Protocol(44);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Protocol = Protocol(58);

    /// Whether the number names an IPv6 extension header and not an upper-layer protocol: the registry that
    /// RFC 7045 §4 set up (hop-by-hop, routing, fragment, ESP, AH, destination options, mobility, HIP,
    /// Shim6 and the two experimental numbers).
    #[inline]
    pub const fn is_ipv6_extension(self) -> bool {
        matches!(self.0, 0 | 43 | 44 | 50 | 51 | 60 | 135 | 139 | 140 | 253 | 254)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Protocol::ICMP => f.write_str("ICMP"),
            Protocol::UDP => f.write_str("UDP"),
            Protocol::ICMPV6 => f.write_str("ICMPv6"),
            Protocol(number) => write!(f, "protocol {number}"),
        }
    }
}
