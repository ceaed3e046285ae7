//! RFC 7714 §16 and §17, and packets that OpenSSL and libsrtp made from a master key.
//!
//! The data are in `tests/vectors/`; each test asserts how many it ran, so that a vector cannot get lost.

use super::{Provider, Suite, for_each_provider, hex};
use crate::srtp::kdf::SessionKeys;
use crate::srtp::{
    MasterKey, Mki, OpenError, PacketIndex, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound,
    RtpOutbound, SRTCP_INDEX_LEN, SessionKey, TAG_LEN,
};

pub(super) const RFC_7714: &str = include_str!("../../../tests/vectors/rfc7714.txt");
const DERIVED: &str = include_str!("../../../tests/vectors/srtp-gcm-derived.txt");
const CM_DERIVED: &str = include_str!("../../../tests/vectors/srtp-cm-derived.txt");

for_each_provider!(
    rfc_7714_16_srtp,
    rfc_7714_17_srtcp,
    rfc_7714_authentication_only,
    rfc_7714_17_authentication_only_srtcp_is_not_encrypted,
    master_key_to_srtp_packet,
    master_key_to_srtcp_packet,
);

/// A section of a vector file: a title in brackets and `name = hexadecimal` lines.
#[derive(Clone)]
pub(super) struct Vector {
    pub(super) title: &'static str,
    pub(super) fields: Vec<(&'static str, &'static str)>,
}

impl Vector {
    pub(super) fn text(&self, name: &str) -> &'static str {
        let field = self.fields.iter().find(|(field, _)| *field == name);
        field.unwrap_or_else(|| panic!("{} has no {name}", self.title)).1
    }

    pub(super) fn octets(&self, name: &str) -> Vec<u8> {
        hex(self.text(name))
    }

    pub(super) fn number(&self, name: &str) -> u32 {
        u32::from_str_radix(self.text(name), 16).expect("a 32-bit number")
    }

    pub(super) fn suite(&self) -> Suite {
        self.text("suite").parse().expect("a suite name")
    }

    pub(super) fn session_keys(&self) -> SessionKeys {
        SessionKeys::from_raw(self.suite(), &self.octets("key"), &[], &self.octets("salt"))
    }

    pub(super) fn master_key(&self) -> MasterKey {
        MasterKey::from_parts(self.suite(), &self.octets("master_key"), &self.octets("master_salt"))
            .expect("right lengths")
    }
}

/// The sections of a file whose title contains all of `words`.
pub(super) fn sections(file: &'static str, words: &[&str]) -> Vec<Vector> {
    let mut all: Vec<Vector> = Vec::new();
    for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(title) = line.strip_prefix('[') {
            all.push(Vector { title, fields: Vec::new() });
        } else {
            let field = line.split_once(" = ").expect("name = value");
            all.last_mut().expect("a title first").fields.push(field);
        }
    }
    all.retain(|vector| words.iter().all(|word| vector.title.contains(word)));
    all
}

/// SSRC and sequence number of an RTP packet.
fn ssrc_and_seq(packet: &[u8]) -> (u32, u16) {
    let field =
        |from: usize, to: usize| packet[from..to].iter().fold(0, |n, &octet| n << 8 | u32::from(octet));
    (field(8, 12), field(2, 4) as u16)
}

fn rfc_7714_16_srtp<P: Provider>() {
    let vectors: Vec<_> =
        sections(RFC_7714, &[" SRTP "]).into_iter().filter(|v| !v.title.contains("only")).collect();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let keys = vector.session_keys();
        let (plain, sealed) = (vector.octets("plain"), vector.octets("sealed"));
        let (ssrc, seq) = ssrc_and_seq(&plain);
        let index = PacketIndex::new(0, seq);
        assert_eq!(
            SessionKey::<P>::new(&keys).nonce(ssrc, index.as_u64()).to_vec(),
            vector.octets("iv"),
            "{}",
            vector.title
        );

        let mut packet = [plain.clone(), vec![0; TAG_LEN]].concat();
        let mut sender = RtpOutbound::<P>::from_session_keys(&keys, None);
        assert_eq!(sender.seal(&mut packet, 12, ssrc, index), Ok(()), "{}", vector.title);
        assert_eq!(packet, sealed, "{}", vector.title);

        let mut receiver = RtpInbound::<P>::from_session_keys(&keys, None, ReplayWindowSize::default());
        let opened = receiver.open(&mut packet, 12, ssrc, seq).expect("an authentic packet");
        assert_eq!((&packet[..opened.len], opened.index), (&plain[..], index), "{}", vector.title);
    }
}

fn rfc_7714_17_srtcp<P: Provider>() {
    let vectors: Vec<_> =
        sections(RFC_7714, &["17.", "SRTCP"]).into_iter().filter(|v| !v.title.contains("only")).collect();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let keys = vector.session_keys();
        let (plain, sealed, index) =
            (vector.octets("plain"), vector.octets("sealed"), vector.number("index"));
        assert_eq!(
            SessionKey::<P>::new(&keys).nonce(0x4d61_7273, index.into()).to_vec(),
            vector.octets("iv"),
            "{}",
            vector.title
        );

        let mut packet = [plain.clone(), vec![0; TAG_LEN + SRTCP_INDEX_LEN]].concat();
        let mut sender = RtcpOutbound::<P>::from_session_keys(&keys, None);
        assert_eq!(sender.seal(&mut packet, index), Ok(()), "{}", vector.title);
        assert_eq!(packet, sealed, "{}", vector.title);

        let mut receiver = RtcpInbound::<P>::from_session_keys(&keys, None, ReplayWindowSize::default());
        let opened = receiver.open(&mut packet).expect("an authentic packet");
        assert_eq!(&packet[..opened.len], &plain[..], "{}", vector.title);
        assert_eq!((opened.index, opened.ssrc), (index, 0x4d61_7273), "{}", vector.title);
    }
}

/// Nothing but associated data: not a packet that voxlane sends, but a check of every provider's GHASH.
fn rfc_7714_authentication_only<P: Provider>() {
    let mut vectors = sections(RFC_7714, &["only"]);
    assert_eq!(vectors.len(), 4);
    for vector in &mut vectors {
        let (aad, tag) = if vector.title.starts_with("16.") {
            (vector.octets("aad"), vector.octets("tag"))
        } else {
            // Body, then tag, then index word: the associated data is the first and the last (§9.3).
            let tagged = vector.octets("tagged");
            let (rest, word) = tagged.split_at(tagged.len() - SRTCP_INDEX_LEN);
            let (body, tag) = rest.split_at(rest.len() - TAG_LEN);
            ([body, word].concat(), tag.to_vec())
        };
        let suite = vector.suite();
        let key = P::key(&SessionKeys::from_raw(suite, &vector.octets("key"), &[], &[0; 12]));
        let iv = vector.octets("iv").try_into().expect("12 octets");
        assert_eq!(P::aead_seal(&key, suite, &iv, &aad, &mut []).to_vec(), tag, "{}", vector.title);
        let tag = tag.try_into().expect("16 octets");
        assert_eq!(P::aead_open(&key, suite, &iv, &aad, &mut [], &tag), Ok(()), "{}", vector.title);
    }
}

/// The same SRTCP packets verify, but are readable by anyone: refused for that, before any crypto.
fn rfc_7714_17_authentication_only_srtcp_is_not_encrypted<P: Provider>() {
    let vectors = sections(RFC_7714, &["17.", "only"]);
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let window = ReplayWindowSize::default();
        let mut receiver = RtcpInbound::<P>::from_session_keys(&vector.session_keys(), None, window);
        let mut packet = vector.octets("tagged");
        assert_eq!(receiver.open(&mut packet), Err(OpenError::NotEncrypted), "{}", vector.title);
        assert_eq!(packet, vector.octets("tagged"), "{}", vector.title);
        assert_eq!(receiver.highest_index(), None, "{}", vector.title);
    }
}

/// What a vector's packets are under its key alone, and under the key with an MKI where the file has that.
fn sealed_forms(vector: &Vector) -> Vec<(MasterKey, Vec<u8>)> {
    let key = vector.master_key();
    let mut forms = vec![(key.clone(), vector.octets("sealed"))];
    if vector.fields.iter().any(|(name, _)| *name == "mki") {
        let mki = Mki::from_octets(&vector.octets("mki")).expect("a short MKI");
        let text = format!("{}|{mki}", *key.to_sdes_inline());
        let named = MasterKey::from_sdes_inline(vector.suite(), &text).expect("a valid key");
        forms.push((named, vector.octets("sealed_with_mki")));
    }
    forms
}

fn master_key_to_srtp_packet<P: Provider>() {
    let vectors = [sections(DERIVED, &[" SRTP "]), sections(CM_DERIVED, &[" SRTP "])].concat();
    assert_eq!(vectors.len(), 4 + 12);
    let mut forms = 0;
    for vector in vectors {
        for (key, sealed) in sealed_forms(&vector) {
            let plain = vector.octets("plain");
            let (ssrc, seq) = ssrc_and_seq(&plain);
            let index = PacketIndex::new(vector.number("roc"), seq);

            let mut sender = RtpOutbound::<P>::new(&key);
            let mut packet = [plain.clone(), vec![0; sender.trailer()]].concat();
            assert_eq!(sender.seal(&mut packet, 12, ssrc, index), Ok(()), "{}", vector.title);
            assert_eq!(packet, sealed, "{}", vector.title);

            let mut receiver = RtpInbound::<P>::new(&key, ReplayWindowSize::default());
            if let Some(before) = index.as_u64().checked_sub(1).and_then(PacketIndex::from_u64) {
                receiver.resume(ssrc, before);
            }
            let opened = receiver.open(&mut packet, 12, ssrc, seq).expect("an authentic packet");
            assert_eq!((&packet[..opened.len], opened.index), (&plain[..], index), "{}", vector.title);
            forms += 1;
        }
    }
    assert_eq!(forms, 4 + 2 * 12);
}

fn master_key_to_srtcp_packet<P: Provider>() {
    let vectors = [sections(DERIVED, &[" SRTCP "]), sections(CM_DERIVED, &[" SRTCP "])].concat();
    assert_eq!(vectors.len(), 4 + 9);
    let mut forms = 0;
    for vector in vectors {
        for (key, sealed) in sealed_forms(&vector) {
            let (plain, index) = (vector.octets("plain"), vector.number("index"));
            let mut sender = RtcpOutbound::<P>::new(&key);
            let mut packet = [plain.clone(), vec![0; sender.trailer()]].concat();
            assert_eq!(sender.seal(&mut packet, index), Ok(()), "{}", vector.title);
            assert_eq!(packet, sealed, "{}", vector.title);

            let mut receiver = RtcpInbound::<P>::new(&key, ReplayWindowSize::default());
            let opened = receiver.open(&mut packet).expect("an authentic packet");
            assert_eq!((&packet[..opened.len], opened.index), (&plain[..], index), "{}", vector.title);
            forms += 1;
        }
    }
    assert_eq!(forms, 4 + 2 * 9);
}

#[test]
fn session_keys_and_salts_are_the_derived_ones() {
    let vectors = sections(DERIVED, &[]);
    assert_eq!(vectors.len(), 8);
    for vector in vectors {
        let master = vector.master_key();
        let keys = if vector.title.contains("SRTCP") {
            SessionKeys::rtcp(&master)
        } else {
            SessionKeys::rtp(&master)
        };
        assert_eq!(keys.key().to_vec(), vector.octets("session_key"), "{}", vector.title);
        assert_eq!(keys.salt()[..12].to_vec(), vector.octets("session_salt"), "{}", vector.title);
    }
}
