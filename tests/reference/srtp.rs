//! SRTP and SRTCP packets from RFC 3711, RFC 6188 and RFC 7714: how one packet is sealed and opened, given its
//! index. What a receiver remembers between packets is in `receiver`.

use std::fmt;

use super::crypto::{Aes, Block, counter_mode, gcm_crypt, gcm_tag, hmac_sha1};

/// A suite by what the RFCs say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// SDES name.
    pub name: &'static str,
    /// Octets of master and session encryption key.
    pub key_len: usize,
    /// Octets of master and session salt.
    pub salt_len: usize,
    /// Octets of tag of SRTP and of SRTCP.
    pub tag_len: usize,
    pub rtcp_tag_len: usize,
    pub aead: bool,
}

/// Every suite: RFC 7714 §12 and §13, RFC 4568 §6.2, RFC 6188 §3. SRTCP never has the short tag
/// (RFC 4568 §6.2.2).
pub const SUITES: [Suite; 5] = [
    suite("AEAD_AES_128_GCM", 16, 12, 16, 16, true),
    suite("AEAD_AES_256_GCM", 32, 12, 16, 16, true),
    suite("AES_CM_128_HMAC_SHA1_80", 16, 14, 10, 10, false),
    suite("AES_CM_128_HMAC_SHA1_32", 16, 14, 4, 10, false),
    suite("AES_256_CM_HMAC_SHA1_80", 32, 14, 10, 10, false),
];

const fn suite(
    name: &'static str,
    key_len: usize,
    salt_len: usize,
    tag_len: usize,
    rtcp_tag_len: usize,
    aead: bool,
) -> Suite {
    Suite { name, key_len, salt_len, tag_len, rtcp_tag_len, aead }
}

/// A master key with its salt, as signalling hands it over; `mki` is empty if packets name no key.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    pub suite: Suite,
    pub key: Vec<u8>,
    pub salt: Vec<u8>,
    pub mki: Vec<u8>,
}

/// Suite, key, salt and MKI in hexadecimal: these keys are for tests, and a failure is to be reproduced.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suite.name)?;
        for octets in [&self.key, &self.salt, &self.mki] {
            f.write_str(" ")?;
            octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        }
        Ok(())
    }
}

/// What a master key becomes.
#[derive(Clone)]
pub struct SessionKeys {
    pub suite: Suite,
    pub mki: Vec<u8>,
    rtp: Keys,
    rtcp: Keys,
}

/// The session keys of SRTP or of SRTCP.
#[derive(Clone)]
struct Keys {
    cipher: Aes,
    authentication: Vec<u8>,
    salt: Vec<u8>,
}

/// A packet is not what the key's owner sealed.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAuthentic;

/// The parts of an SRTCP packet that a receiver needs before it opens it.
#[derive(Debug, PartialEq, Eq)]
pub struct SrtcpTrailer {
    pub encrypted: bool,
    pub index: u32,
}

const E_FLAG: u32 = 1 << 31;
const RTCP_CLEAR: usize = 8;

impl SessionKeys {
    pub fn new(master: &MasterKey) -> Self {
        SessionKeys {
            suite: master.suite,
            mki: master.mki.clone(),
            rtp: Keys::derive(master, [0, 1, 2]),
            rtcp: Keys::derive(master, [3, 4, 5]),
        }
    }

    /// Session keys as the vectors of RFC 7714 give them: the same for SRTP and SRTCP.
    pub fn raw(suite: Suite, key: &[u8], salt: &[u8]) -> Self {
        let keys = Keys { cipher: Aes::new(key), authentication: Vec::new(), salt: salt.to_vec() };
        SessionKeys { suite, mki: Vec::new(), rtp: keys.clone(), rtcp: keys }
    }

    /// Octets that sealing appends to an RTP packet.
    pub fn rtp_trailer(&self) -> usize {
        self.suite.tag_len + self.mki.len()
    }

    /// Octets that sealing appends to an RTCP packet.
    pub fn rtcp_trailer(&self) -> usize {
        self.suite.rtcp_tag_len + 4 + self.mki.len()
    }

    /// RFC 3711 §3.3, RFC 7714 §8: an RTP packet with `header` octets of header becomes SRTP.
    pub fn seal_rtp(&self, packet: &[u8], header: usize, index: u64) -> Vec<u8> {
        let (header, payload) = packet.split_at(header);
        let ssrc = word(&header[8..12]);
        let keys = &self.rtp;
        if self.suite.aead {
            let nonce = keys.gcm_nonce(ssrc, index);
            let ciphertext = gcm_crypt(&keys.cipher, &nonce, payload);
            let tag = gcm_tag(&keys.cipher, &nonce, header, &ciphertext);
            [header, &ciphertext, &tag, &self.mki].concat()
        } else {
            let ciphertext = counter_mode(&keys.cipher, keys.counter_iv(ssrc, index), payload);
            let roc = ((index >> 16) as u32).to_be_bytes();
            let tag = hmac_sha1(&keys.authentication, &[header, &ciphertext, &roc]);
            [header, &ciphertext, &self.mki, &tag[..self.suite.tag_len]].concat()
        }
    }

    /// The RTP packet in an SRTP packet that is long enough for its trailer, or what is wrong with it.
    pub fn open_rtp(&self, packet: &[u8], header: usize, index: u64) -> Result<Vec<u8>, NotAuthentic> {
        let (header, body) = packet.split_at(header);
        let (ciphertext, trailer) = body.split_at(body.len() - self.rtp_trailer());
        let ssrc = word(&header[8..12]);
        let keys = &self.rtp;
        if self.suite.aead {
            let nonce = keys.gcm_nonce(ssrc, index);
            let tag = gcm_tag(&keys.cipher, &nonce, header, ciphertext);
            if trailer != [&tag[..], &self.mki].concat() {
                return Err(NotAuthentic);
            }
            Ok([header, &gcm_crypt(&keys.cipher, &nonce, ciphertext)].concat())
        } else {
            let roc = ((index >> 16) as u32).to_be_bytes();
            let tag = hmac_sha1(&keys.authentication, &[header, ciphertext, &roc]);
            if trailer != [&self.mki, &tag[..self.suite.tag_len]].concat() {
                return Err(NotAuthentic);
            }
            let payload = counter_mode(&keys.cipher, keys.counter_iv(ssrc, index), ciphertext);
            Ok([header, &payload].concat())
        }
    }

    /// The MKI of an SRTP packet that is long enough for its trailer.
    pub fn rtp_mki<'p>(&self, packet: &'p [u8]) -> &'p [u8] {
        let behind = if self.suite.aead { 0 } else { self.suite.tag_len };
        &packet[packet.len() - behind - self.mki.len()..packet.len() - behind]
    }

    /// RFC 3711 §3.4, RFC 7714 §9: a compound packet becomes SRTCP. With `encrypt` false the E flag is clear
    /// and the packet is authenticated alone.
    pub fn seal_rtcp(&self, packet: &[u8], index: u32, encrypt: bool) -> Vec<u8> {
        let (header, body) = packet.split_at(RTCP_CLEAR);
        let ssrc = word(&header[4..8]);
        let trailer = (if encrypt { E_FLAG | index } else { index }).to_be_bytes();
        let keys = &self.rtcp;
        if self.suite.aead {
            let nonce = keys.gcm_nonce(ssrc, index.into());
            let (body, tag) = if encrypt {
                let ciphertext = gcm_crypt(&keys.cipher, &nonce, body);
                let tag = gcm_tag(&keys.cipher, &nonce, &[header, &trailer].concat(), &ciphertext);
                (ciphertext, tag)
            } else {
                // Everything is associated data, nothing is ciphertext (RFC 7714 §9.3).
                (body.to_vec(), gcm_tag(&keys.cipher, &nonce, &[packet, &trailer].concat(), &[]))
            };
            [header, &body, &tag, &trailer, &self.mki].concat()
        } else {
            let body = match encrypt {
                true => counter_mode(&keys.cipher, keys.counter_iv(ssrc, index.into()), body),
                false => body.to_vec(),
            };
            let tag = hmac_sha1(&keys.authentication, &[header, &body, &trailer]);
            [header, &body, &trailer[..], &self.mki, &tag[..self.suite.rtcp_tag_len]].concat()
        }
    }

    /// E flag and index of an SRTCP packet that is long enough for its trailer.
    pub fn rtcp_index(&self, packet: &[u8]) -> SrtcpTrailer {
        let behind = self.mki.len() + if self.suite.aead { 0 } else { self.suite.rtcp_tag_len };
        let end = packet.len() - behind;
        let trailer = word(&packet[end - 4..end]);
        SrtcpTrailer { encrypted: trailer & E_FLAG != 0, index: trailer & !E_FLAG }
    }

    /// The MKI of an SRTCP packet that is long enough for its trailer.
    pub fn rtcp_mki<'p>(&self, packet: &'p [u8]) -> &'p [u8] {
        let behind = if self.suite.aead { 0 } else { self.suite.rtcp_tag_len };
        &packet[packet.len() - behind - self.mki.len()..packet.len() - behind]
    }

    /// The compound packet in an encrypted SRTCP packet that is long enough for its trailer.
    pub fn open_rtcp(&self, packet: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
        let SrtcpTrailer { index, .. } = self.rtcp_index(packet);
        let end = packet.len() - self.rtcp_trailer();
        let (header, ciphertext) = packet[..end].split_at(RTCP_CLEAR);
        let rest = &packet[end..];
        let ssrc = word(&header[4..8]);
        let trailer = (E_FLAG | index).to_be_bytes();
        let keys = &self.rtcp;
        let (expected, plain) = if self.suite.aead {
            let nonce = keys.gcm_nonce(ssrc, index.into());
            let tag = gcm_tag(&keys.cipher, &nonce, &[header, &trailer].concat(), ciphertext);
            ([&tag[..], &trailer, &self.mki].concat(), gcm_crypt(&keys.cipher, &nonce, ciphertext))
        } else {
            let tag = hmac_sha1(&keys.authentication, &[header, ciphertext, &trailer]);
            let plain = counter_mode(&keys.cipher, keys.counter_iv(ssrc, index.into()), ciphertext);
            ([&trailer[..], &self.mki, &tag[..self.suite.rtcp_tag_len]].concat(), plain)
        };
        if rest == expected { Ok([header, &plain].concat()) } else { Err(NotAuthentic) }
    }
}

impl Keys {
    /// RFC 3711 §4.3 with labels of encryption key, authentication key and salt.
    fn derive(master: &MasterKey, [encryption, authentication, salt]: [u8; 3]) -> Self {
        Keys {
            cipher: Aes::new(&derive(master, encryption, master.suite.key_len)),
            authentication: derive(master, authentication, 20),
            salt: derive(master, salt, master.suite.salt_len),
        }
    }

    /// RFC 3711 §4.1.1: IV = (k_s * 2^16) XOR (SSRC * 2^64) XOR (i * 2^16).
    fn counter_iv(&self, ssrc: u32, index: u64) -> Block {
        let salt = number(&self.salt) << 16;
        (salt ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16).to_be_bytes()
    }

    /// RFC 7714 §8.1 and §9.1: two zero octets, SSRC, and the index in 48 bits, added to the salt.
    fn gcm_nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let nonce = number(&self.salt) ^ u128::from(ssrc) << 48 ^ u128::from(index);
        let [_, _, _, _, nonce @ ..] = nonce.to_be_bytes();
        nonce
    }
}

/// RFC 3711 §4.3.1 and §4.3.3 with a derivation rate of zero: x = key_id XOR master_salt, where key_id is the label
/// and 48 zero bits; then AES-CM from x * 2^16 on. A 96-bit salt counts as its value times 2^16 (RFC 7714 §11).
pub fn derive(master: &MasterKey, label: u8, len: usize) -> Vec<u8> {
    let salt = number(&master.salt) << (8 * (14 - master.salt.len()));
    let x = salt ^ u128::from(label) << 48;
    counter_mode(&Aes::new(&master.key), (x << 16).to_be_bytes(), &vec![0; len])
}

fn number(octets: &[u8]) -> u128 {
    octets.iter().fold(0, |value, &octet| value << 8 | u128::from(octet))
}

fn word(octets: &[u8]) -> u32 {
    u32::from_be_bytes(octets.try_into().expect("four octets"))
}
