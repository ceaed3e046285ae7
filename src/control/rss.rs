//! On which queue a leg's packets will arrive, for ports that spread by RSS.
//!
//! From the key and the redirection table that a started port reports ([`Rss`]) and a leg's addresses to a queue
//! number; [`plan::home`](super::plan::home) homes sessions by it. It is a forecast: where it is wrong (a NIC that lays its
//! hash input out in a way of its own), the hand-over between workers makes it right and its counters show it.

use std::net::{IpAddr, SocketAddr};

use crate::dpdk::Rss;

/// The queue on which packets from `remote` to `local` arrive. `None` if that cannot be said: the port does not hash
/// this family's UDP, or the hash takes in a remote that is not known.
pub fn queue(rss: &Rss, remote: Option<SocketAddr>, local: SocketAddr) -> Option<u16> {
    let is_hashed = if local.is_ipv4() { rss.udp_ipv4 } else { rss.udp_ipv6 };
    if !is_hashed {
        return None;
    }
    let mut input = Vec::with_capacity(36);
    if !rss.destination_port_only {
        // "Source address, destination address, source port, destination port" in network order.
        let remote = remote.filter(|remote| remote.is_ipv4() == local.is_ipv4())?;
        push_address(&mut input, remote.ip());
        push_address(&mut input, local.ip());
        input.extend(remote.port().to_be_bytes());
    }
    input.extend(local.port().to_be_bytes());
    let hash = toeplitz(&rss.key, &input) as usize;
    rss.table.get(hash.checked_rem(rss.table.len())?).copied()
}

fn push_address(input: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => input.extend(address.octets()),
        IpAddr::V6(address) => input.extend(address.octets()),
    }
}

/// The Toeplitz hash (Microsoft, "RSS Hashing Types" and "Verifying the RSS Hash Calculation"): for every bit of the
/// input that is set, the 32 bits of the key that begin at its position. A key that ends goes on with zeros.
pub fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let bit_of =
        |octets: &[u8], at: usize| octets.get(at / 8).is_some_and(|octet| octet >> (7 - at % 8) & 1 == 1);
    (0..input.len() * 8)
        .filter(|&at| bit_of(input, at))
        .map(|at| (0..32).fold(0, |window, next| window << 1 | u32::from(bit_of(key, at + next))))
        .fold(0, |hash, window| hash ^ window)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the published vectors.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    /// Source, destination, hash with ports: Microsoft's vectors. UDP has the same input as TCP.
    const VECTORS: [(&str, &str, u32); 8] = [
        ("66.9.149.187:2794", "161.142.100.80:1766", 0x51cc_c178),
        ("199.92.111.2:14230", "65.69.140.83:4739", 0xc626_b0ea),
        ("24.19.198.95:12898", "12.22.207.184:38024", 0x5c2b_394a),
        ("38.27.205.30:48228", "209.142.163.6:2217", 0xafc7_327f),
        ("153.39.163.191:44251", "202.188.127.2:1303", 0x10e8_28a2),
        ("[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x4020_7d3d),
        ("[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0xdde5_1bbf),
        ("[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", "[fe80::200:f8ff:fe21:67cf]:38024", 0x02d1_feef),
    ];

    fn rss(table: Vec<u16>, destination_port_only: bool) -> Rss {
        Rss { udp_ipv4: true, udp_ipv6: true, destination_port_only, key: KEY.to_vec(), table }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("a literal")
    }

    #[test]
    fn published_vectors() {
        // 65536 entries that name themselves show the low 16 bits of the hash.
        let identity = rss((0..=u16::MAX).collect(), false);
        for (source, destination, hash) in VECTORS {
            let found = queue(&identity, Some(address(source)), address(destination));
            assert_eq!(found, Some(hash as u16), "{source} to {destination}");
        }
        let input = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(toeplitz(&KEY, &input), 0x51cc_c178);
        assert_eq!(toeplitz(&KEY, &input[..8]), 0x323e_8fc2, "addresses alone");
        assert_eq!(toeplitz(&KEY, &[]), 0);
    }

    #[test]
    fn a_hash_of_the_destination_port_needs_no_remote() {
        let spread = rss(vec![0, 1, 2, 3], true);
        let local = address("10.1.0.1:20000");
        let expected = (toeplitz(&KEY, &[0x4e, 0x20]) % 4) as u16;
        assert_eq!(queue(&spread, None, local), Some(expected));
        assert_eq!(queue(&spread, Some(address("192.0.2.1:9")), local), Some(expected), "nor cares for one");
        let queues: std::collections::BTreeSet<_> = (0..64)
            .filter_map(|leg| queue(&spread, None, SocketAddr::new(local.ip(), 20_000 + 2 * leg)))
            .collect();
        assert_eq!(queues.len(), 4, "local ports reach every queue");
    }

    #[test]
    fn what_cannot_be_known_is_not_guessed() {
        let local = address("10.1.0.1:20000");
        assert_eq!(queue(&rss(vec![0, 1], false), None, local), None, "the remote is learned later");
        assert_eq!(queue(&rss(Vec::new(), true), None, local), None, "no table");
        let other_family = Rss { udp_ipv4: false, ..rss(vec![0, 1], true) };
        assert_eq!(queue(&other_family, None, local), None);
        assert!(queue(&other_family, None, address("[2001:db8::1]:20000")).is_some());
    }
}
