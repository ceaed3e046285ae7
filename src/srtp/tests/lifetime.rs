//! A lifetime stated with a key ends the use of the key, in both directions (RFC 4568 §6.1).

use super::{
    PacketIndex, Provider, RTP_HEADER_LEN, RtpOutbound, Suite, for_each_provider, master, rtcp_plain,
    rtp_plain, rtp_sealed,
};
use crate::srtp::{MasterKey, OpenError, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound, SealError};

for_each_provider!(srtp_ends_at_the_lifetime, srtcp_ends_at_the_lifetime);

const SSRC: u32 = 5;

/// The first index that a lifetime of 2^20 packets excludes, and the last that it allows.
const END: u64 = 1 << 20;

/// The same key without and with a lifetime.
fn keys() -> impl Iterator<Item = (MasterKey, MasterKey)> {
    Suite::ALL.into_iter().map(|suite| {
        let free = master(suite, 77);
        let text = format!("{}|2^20", *free.to_sdes_inline());
        (free, MasterKey::from_sdes_inline(suite, &text).expect("a valid key"))
    })
}

fn srtp_ends_at_the_lifetime<P: Provider>() {
    let index = |index| PacketIndex::from_u64(index).expect("48 bits");
    for (free, limited) in keys() {
        let mut sender = RtpOutbound::<P>::new(&limited);
        let mut receiver = RtpInbound::<P>::new(&limited, ReplayWindowSize::default());
        receiver.resume(SSRC, index(END - 3));
        for (at, sealed, opened) in [
            (END - 2, Ok(()), None),
            (END - 1, Ok(()), None),
            (END, Err(SealError::KeyExhausted), Some(OpenError::KeyExhausted)),
        ] {
            let mut packet = rtp_plain(SSRC, index(at), 20);
            packet.resize(packet.len() + sender.trailer(), 0);
            let before = packet.clone();
            assert_eq!(sender.seal(&mut packet, RTP_HEADER_LEN, SSRC, index(at)), sealed);
            assert_eq!(packet == before, sealed.is_err());
            let mut packet = rtp_sealed::<P>(&free, SSRC, index(at), 20);
            let result = receiver.open(&mut packet, RTP_HEADER_LEN, SSRC, index(at).seq());
            assert_eq!(result.err(), opened, "{at}");
        }
    }
}

fn srtcp_ends_at_the_lifetime<P: Provider>() {
    for (free, limited) in keys() {
        let mut sender = RtcpOutbound::<P>::new(&limited);
        let mut other = RtcpOutbound::<P>::new(&free);
        let mut receiver = RtcpInbound::<P>::new(&limited, ReplayWindowSize::default());
        for (at, sealed, opened) in
            [(END - 1, Ok(()), None), (END, Err(SealError::KeyExhausted), Some(OpenError::KeyExhausted))]
        {
            let mut packet = rtcp_plain(SSRC, 2);
            packet.resize(packet.len() + sender.trailer(), 0);
            let mut from_other = packet.clone();
            assert_eq!(sender.seal(&mut packet, at as u32), sealed);
            assert_eq!(other.seal(&mut from_other, at as u32), Ok(()));
            assert_eq!(receiver.open(&mut from_other).err(), opened, "{at}");
        }
    }
}
