//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::{Error, MacAddress, field, require};

const HARDWARE_TYPE: usize = 0;
const PROTOCOL_TYPE: usize = 2;
const HARDWARE_LEN: usize = 4;
const OPERATION: usize = 6;
const SENDER_HARDWARE: usize = 8;
const SENDER_PROTOCOL: usize = 14;
const TARGET_HARDWARE: usize = 18;
const TARGET_PROTOCOL: usize = 24;

/// Length of a packet in bytes; Ethernet pads it to 46.
pub const PACKET_LEN: usize = 28;

const ETHERNET: u16 = 1;
const IPV4: u16 = 0x0800;
/// Lengths of a MAC and an IPv4 address, as they stand side by side in the packet.
const ADDRESS_LENGTHS: [u8; 2] = [6, 4];

/// What an ARP packet asks or says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender's addresses belong together.
    Reply,
}

/// A view of an ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks length, hardware type, protocol type and both address lengths; all else would put the fields
    /// elsewhere.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let bytes = buffer.as_ref();
        require(bytes, PACKET_LEN)?;
        let hardware = field::u16_at(bytes, HARDWARE_TYPE);
        if hardware != ETHERNET {
            return Err(Error::Unsupported { field: "ARP hardware type", value: hardware.into() });
        }
        let protocol = field::u16_at(bytes, PROTOCOL_TYPE);
        if protocol != IPV4 {
            return Err(Error::Unsupported { field: "ARP protocol type", value: protocol.into() });
        }
        let lengths: [u8; 2] = field::array(bytes, HARDWARE_LEN);
        if lengths != ADDRESS_LENGTHS {
            let value = u16::from_be_bytes(lengths).into();
            return Err(Error::Unsupported { field: "ARP address lengths", value });
        }
        Ok(Packet { buffer })
    }

    /// Operation code: 1 for a request, 2 for a reply.
    #[inline]
    pub fn operation(&self) -> u16 {
        field::u16_at(self.buffer.as_ref(), OPERATION)
    }

    /// MAC address of the sender.
    #[inline]
    pub fn sender_mac(&self) -> MacAddress {
        MacAddress(field::array(self.buffer.as_ref(), SENDER_HARDWARE))
    }

    /// IPv4 address of the sender; unspecified in a probe (RFC 5227 §1.1).
    #[inline]
    pub fn sender_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(field::array::<4>(self.buffer.as_ref(), SENDER_PROTOCOL))
    }

    /// MAC address of the target; ignored in a request.
    #[inline]
    pub fn target_mac(&self) -> MacAddress {
        MacAddress(field::array(self.buffer.as_ref(), TARGET_HARDWARE))
    }

    /// IPv4 address of the target.
    #[inline]
    pub fn target_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(field::array::<4>(self.buffer.as_ref(), TARGET_PROTOCOL))
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the operation.
    #[inline]
    pub fn set_operation(&mut self, value: Operation) {
        let code: u16 = match value {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        field::put(self.buffer.as_mut(), OPERATION, code.to_be_bytes());
    }

    /// Sets both addresses of the sender.
    #[inline]
    pub fn set_sender(&mut self, mac: MacAddress, address: Ipv4Addr) {
        field::put(self.buffer.as_mut(), SENDER_HARDWARE, mac.0);
        field::put(self.buffer.as_mut(), SENDER_PROTOCOL, address.octets());
    }

    /// Sets both addresses of the target.
    #[inline]
    pub fn set_target(&mut self, mac: MacAddress, address: Ipv4Addr) {
        field::put(self.buffer.as_mut(), TARGET_HARDWARE, mac.0);
        field::put(self.buffer.as_mut(), TARGET_PROTOCOL, address.octets());
    }
}

/// An ARP request or reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Request or reply.
    pub operation: Operation,
    /// MAC address of the sender.
    pub sender_mac: MacAddress,
    /// IPv4 address of the sender.
    pub sender_address: Ipv4Addr,
    /// MAC address of the target; [`MacAddress::UNSPECIFIED`] in a request.
    pub target_mac: MacAddress,
    /// IPv4 address of the target.
    pub target_address: Ipv4Addr,
}

impl Repr {
    /// Reads a packet. The sender's MAC address must be one station's, as it may be learned.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr, Error> {
        let operation = match packet.operation() {
            1 => Operation::Request,
            2 => Operation::Reply,
            code => {
                return Err(Error::Unsupported { field: "ARP operation", value: code.into() });
            }
        };
        let sender_mac = packet.sender_mac();
        if !sender_mac.is_unicast() {
            let value = sender_mac.0[0].into();
            return Err(Error::Unsupported { field: "first byte of the ARP sender's MAC address", value });
        }
        Ok(Repr {
            operation,
            sender_mac,
            sender_address: packet.sender_address(),
            target_mac: packet.target_mac(),
            target_address: packet.target_address(),
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        PACKET_LEN
    }

    /// Writes the packet to the start of `buffer`.
    pub fn emit<'a>(&self, buffer: &'a mut [u8]) -> Result<Packet<&'a mut [u8]>, Error> {
        require(buffer, PACKET_LEN)?;
        let mut packet = Packet { buffer };
        field::put(packet.buffer, HARDWARE_TYPE, ETHERNET.to_be_bytes());
        field::put(packet.buffer, PROTOCOL_TYPE, IPV4.to_be_bytes());
        field::put(packet.buffer, HARDWARE_LEN, ADDRESS_LENGTHS);
        packet.set_operation(self.operation);
        packet.set_sender(self.sender_mac, self.sender_address);
        packet.set_target(self.target_mac, self.target_address);
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::sweep;

    #[rustfmt::skip]
    const PACKET: [u8; 28] = [
        0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01,
        0x02, 0x12, 0x13, 0x14, 0x15, 0x16, 10, 0, 0, 1,
        0x02, 0x32, 0x33, 0x34, 0x35, 0x36, 10, 0, 0, 2,
    ];
    const REPR: Repr = Repr {
        operation: Operation::Request,
        sender_mac: MacAddress([0x02, 0x12, 0x13, 0x14, 0x15, 0x16]),
        sender_address: Ipv4Addr::new(10, 0, 0, 1),
        target_mac: MacAddress([0x02, 0x32, 0x33, 0x34, 0x35, 0x36]),
        target_address: Ipv4Addr::new(10, 0, 0, 2),
    };

    #[test]
    fn deconstruct() {
        assert_eq!(Repr::parse(&Packet::new_checked(&PACKET[..]).unwrap()), Ok(REPR));
        let mut reply = PACKET;
        reply[7] = 2;
        let repr = Repr { operation: Operation::Reply, ..REPR };
        assert_eq!(Repr::parse(&Packet::new_checked(reply).unwrap()), Ok(repr));
    }

    #[test]
    fn construct() {
        let mut bytes = vec![0xa5; PACKET_LEN];
        REPR.emit(&mut bytes).unwrap();
        assert_eq!(bytes, PACKET);
        assert!(REPR.emit(&mut [0; 27]).is_err());
    }

    #[test]
    fn other_hardware_protocols_and_operations_are_refused() {
        for (at, name) in [
            (1, "ARP hardware type"),
            (2, "ARP protocol type"),
            (4, "ARP address lengths"),
            (5, "ARP address lengths"),
        ] {
            let mut bytes = PACKET;
            bytes[at] = 9;
            let error = Packet::new_checked(bytes).map(|_| ()).unwrap_err();
            assert!(matches!(error, Error::Unsupported { field, .. } if field == name), "{error}");
        }
        for code in [0, 3, 9] {
            let mut bytes = PACKET;
            bytes[7] = code;
            let error = Repr::parse(&Packet::new_checked(bytes).unwrap()).unwrap_err();
            assert_eq!(error, Error::Unsupported { field: "ARP operation", value: code.into() });
        }
    }

    #[test]
    fn a_sender_that_is_no_station_is_refused() {
        for mac in [MacAddress::BROADCAST, MacAddress::UNSPECIFIED, MacAddress([0x01, 0, 0x5e, 0, 0, 1])] {
            let mut packet = Packet::new_checked(PACKET).unwrap();
            packet.set_sender(mac, Ipv4Addr::new(10, 0, 0, 1));
            assert!(Repr::parse(&packet).is_err(), "{mac}");
        }
    }

    #[test]
    fn every_input_is_refused_or_safe() {
        sweep(&PACKET, |bytes| {
            if let Ok(packet) = Packet::new_checked(bytes) {
                let _ = (Repr::parse(&packet), packet.operation());
                assert!(bytes.len() >= PACKET_LEN);
            }
        });
    }
}
