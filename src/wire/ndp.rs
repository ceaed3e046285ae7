//! Neighbour discovery (RFC 4861): solicitations and advertisements over ICMPv6.
//!
//! [`parse`] applies the validation rules of RFC 4861 §7.1.1 and §7.1.2 in one place. It needs what the IPv6
//! header said, the hop limit above all: 255 proves that no router forwarded the message.

use std::net::Ipv6Addr;

use super::checksum::PseudoHeader;
use super::icmpv6::{self, HEADER_LEN};
use super::ipv6::solicited_node;
use super::{Error as WireError, MacAddress, field};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Offsets within the body of the ICMPv6 message.
const FLAGS: usize = 0;
const TARGET: usize = 4;
const OPTIONS: usize = 20;

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
/// Option lengths count units of eight bytes, the option's own two bytes included (RFC 4861 §4.6).
const OPTION_UNIT: usize = 8;

/// The hop limit of every neighbour discovery message (RFC 4861 §7.1).
pub const HOP_LIMIT: u8 = 255;

/// Why a message is not valid neighbour discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The hop limit shows that the message came over a router (RFC 4861 §7.1).
    #[error(
        "neighbour discovery with hop limit {0} where 255 is required: it came from another link, drop it"
    )]
    HopLimit(u8),
    /// An advertisement to a multicast group claims to be solicited (RFC 4861 §7.1.2).
    #[error("solicited neighbour advertisement to the multicast group {0}: drop it")]
    SolicitedMulticast(Ipv6Addr),
    /// A probe for duplicate addresses that is not addressed to the solicited-node group, or that names a
    /// source link-layer address (RFC 4861 §7.1.1).
    #[error(
        "neighbour solicitation from the unspecified address to {0} breaks the rules of a probe: drop it"
    )]
    Probe(Ipv6Addr),
    /// The target is a multicast address (RFC 4861 §7.1.1, §7.1.2).
    #[error("neighbour discovery for the multicast address {0}: drop it")]
    TargetMulticast(Ipv6Addr),
    /// The ICMPv6 message itself is wrong: truncated, of another type, a bad checksum or option length.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// A neighbour discovery message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repr {
    /// "Who has the target?" (RFC 4861 §4.3)
    Solicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// Link-layer address of the asker; absent in a probe for duplicate addresses.
        source_mac: Option<MacAddress>,
    },
    /// "I have the target." (RFC 4861 §4.4)
    Advertisement {
        /// The sender is a router.
        router: bool,
        /// The message answers a unicast solicitation.
        solicited: bool,
        /// The link-layer address replaces a known one.
        overrides: bool,
        /// The address that is advertised.
        target: Ipv6Addr,
        /// Link-layer address of the target.
        target_mac: Option<MacAddress>,
    },
}

/// Whether an ICMPv6 message is a neighbour solicitation or advertisement, by its type.
#[inline]
pub fn is_ndp<T: AsRef<[u8]>>(packet: &icmpv6::Packet<T>) -> bool {
    matches!(packet.message_type(), SOLICITATION | ADVERTISEMENT)
}

/// Reads a message and applies RFC 4861 §7.1.1 and §7.1.2: hop limit 255, checksum, code zero, length,
/// target not multicast, every option of a length above zero and within the message, the rules for the
/// unspecified source and for the solicited flag.
///
/// A link-layer option of a length other than one unit is skipped: it is not Ethernet's.
pub fn parse<T: AsRef<[u8]>>(
    packet: &icmpv6::Packet<T>,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
) -> Result<Repr, Error> {
    if hop_limit != HOP_LIMIT {
        return Err(Error::HopLimit(hop_limit));
    }
    if !packet.verify_checksum(icmpv6::pseudo_header(source, destination)) {
        return Err(WireError::Checksum { found: packet.checksum() }.into());
    }
    if !is_ndp(packet) || packet.code() != 0 {
        let value = u16::from_be_bytes([packet.message_type(), packet.code()]).into();
        return Err(WireError::Unsupported { field: "neighbour discovery type and code", value }.into());
    }
    let body = packet.body();
    if body.len() < OPTIONS {
        let (needed, actual) = (HEADER_LEN + OPTIONS, HEADER_LEN + body.len());
        return Err(WireError::Truncated { needed, actual }.into());
    }
    let target = Ipv6Addr::from(field::array::<16>(body, TARGET));
    if target.is_multicast() {
        return Err(Error::TargetMulticast(target));
    }
    let options = Options::parse(field::range(body, OPTIONS, body.len()))?;
    if packet.message_type() == SOLICITATION {
        let is_probe = source.is_unspecified();
        if is_probe && (destination != solicited_node(target) || options.source_mac.is_some()) {
            return Err(Error::Probe(destination));
        }
        return Ok(Repr::Solicitation { target, source_mac: options.source_mac });
    }
    let flags = field::u8_at(body, FLAGS);
    if destination.is_multicast() && flags & SOLICITED != 0 {
        return Err(Error::SolicitedMulticast(destination));
    }
    Ok(Repr::Advertisement {
        router: flags & ROUTER != 0,
        solicited: flags & SOLICITED != 0,
        overrides: flags & OVERRIDE != 0,
        target,
        target_mac: options.target_mac,
    })
}

impl Repr {
    /// Bytes that [`Repr::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        let (Repr::Solicitation { source_mac: mac, .. } | Repr::Advertisement { target_mac: mac, .. }) = self;
        HEADER_LEN + OPTIONS + if mac.is_some() { OPTION_UNIT } else { 0 }
    }

    /// Writes the ICMPv6 message with its checksum to the start of `buffer`. Send it with [`HOP_LIMIT`].
    pub fn emit<'a>(
        &self,
        buffer: &'a mut [u8],
        pseudo: PseudoHeader,
    ) -> Result<icmpv6::Packet<&'a mut [u8]>, WireError> {
        let (needed, actual) = (self.buffer_len(), buffer.len());
        let buffer = buffer.get_mut(..needed).ok_or(WireError::Truncated { needed, actual })?;
        let (message_type, flags, target, option, mac) = match *self {
            Repr::Solicitation { target, source_mac } => {
                (SOLICITATION, 0, target, SOURCE_LINK_LAYER, source_mac)
            }
            Repr::Advertisement { router, solicited, overrides, target, target_mac } => {
                let flag = |set, bit| if set { bit } else { 0 };
                let flags = flag(router, ROUTER) | flag(solicited, SOLICITED) | flag(overrides, OVERRIDE);
                (ADVERTISEMENT, flags, target, TARGET_LINK_LAYER, target_mac)
            }
        };
        let mut packet = icmpv6::Packet::new_checked(buffer)?;
        packet.set_type(message_type, 0);
        let body = packet.body_mut();
        field::put(body, FLAGS, [flags, 0, 0, 0]);
        field::put(body, TARGET, target.octets());
        if let Some(mac) = mac {
            field::put(body, OPTIONS, [option, 1]);
            field::put(body, OPTIONS + 2, mac.0);
        }
        packet.fill_checksum(pseudo);
        Ok(packet)
    }
}

/// The link-layer addresses among a message's options; other options are skipped (RFC 4861 §4.6).
#[derive(Default)]
struct Options {
    source_mac: Option<MacAddress>,
    target_mac: Option<MacAddress>,
}

impl Options {
    fn parse(mut bytes: &[u8]) -> Result<Options, WireError> {
        let mut options = Options::default();
        while !bytes.is_empty() {
            let stated = usize::from(field::u8_at(bytes, 1)) * OPTION_UNIT;
            // A length of zero would go on for ever: the whole message is invalid (RFC 4861 §4.6).
            let Some((option, rest)) = bytes.split_at_checked(stated).filter(|_| stated > 0) else {
                return Err(WireError::LengthField { stated, least: OPTION_UNIT, most: bytes.len() });
            };
            let mac = || MacAddress(field::array(option, 2));
            match option {
                [SOURCE_LINK_LAYER, 1, ..] => options.source_mac = Some(mac()),
                [TARGET_LINK_LAYER, 1, ..] => options.target_mac = Some(mac()),
                _ => {}
            }
            bytes = rest;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests;
