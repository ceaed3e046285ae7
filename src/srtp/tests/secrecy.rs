//! No key octet in any debug print or error text; key material is wiped.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Provider, Suite, for_each_provider};
use crate::srtp::kdf::SessionKeys;
use crate::srtp::nonce::SessionSalt;
use crate::srtp::{MasterKey, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound, RtpOutbound};

for_each_provider!(contexts_print_no_key);

/// An octet that is easy to find in a print, whichever way it is written.
const OCTET: u8 = 0xb9;

fn key(suite: Suite) -> MasterKey {
    MasterKey::generate(suite, &mut |octets| octets.fill(OCTET))
}

/// Nothing that could be the octet: decimal, hexadecimal, base64, or a Rust escape.
fn assert_no_key(print: &str) {
    assert!(print.contains("[redacted]"), "{print}");
    let lower = print.to_lowercase();
    for trace in ["185", "b9", "ubm5", "\\u{b9}"] {
        assert!(!lower.contains(trace), "{trace} in {print}");
    }
}

#[test]
fn master_key_prints_lengths_only() {
    for suite in Suite::ALL {
        for print in [format!("{:?}", key(suite)), format!("{:#?}", Some(key(suite)))] {
            assert_no_key(&print);
            assert!(print.contains(&format!("{} octets", suite.key_len())), "{print}");
            assert!(print.contains(&format!("{} octets", suite.salt_len())), "{print}");
        }
    }
}

fn contexts_print_no_key<P: Provider>() {
    for suite in Suite::ALL {
        // Session keys as they are, so that the octet is in the context itself and not only behind the derivation.
        let keys = SessionKeys::from_raw(suite, &vec![OCTET; suite.key_len()], [OCTET; 12]);
        let window = ReplayWindowSize::default();
        let mut inbound = RtpInbound::<P>::from_session_keys(&keys, window);
        inbound.resume(1, crate::srtp::PacketIndex::new(0, 2));
        assert_no_key(&format!("{inbound:?}"));
        assert_no_key(&format!("{:#?}", RtpOutbound::<P>::from_session_keys(&keys)));
        assert_no_key(&format!("{:?}", RtcpInbound::<P>::from_session_keys(&keys, window)));
        assert_no_key(&format!("{:?}", RtcpOutbound::<P>::from_session_keys(&keys)));
    }
}

#[test]
fn expanded_key_prints_its_size_only() {
    use crate::srtp::AesGcmProvider;
    for suite in Suite::ALL {
        let print = format!("{:?}", AesGcmProvider::key(suite, key(suite).key()));
        assert_no_key(&print);
        assert!(print.contains(&format!("{} bits", suite.key_len() * 8)), "{print}");
    }
}

/// Whatever is wrong with a key's text, the error repeats no part of it.
#[test]
fn errors_repeat_nothing_of_the_text() {
    const SECRET: &str = "Zm9vYmFyc2VjcmV0a2V5IQZm9vYmFyc2VjcmV0a2V5IQ";
    for suite in Suite::ALL {
        for len in 0..=SECRET.len() {
            for text in [
                SECRET[..len].to_owned(),
                format!("inline:{}", &SECRET[..len]),
                format!("inline:{}|{SECRET}", &SECRET[..len]),
                format!("inline:{};{SECRET}", &SECRET[..len]),
                format!("inline:{}~{SECRET}", &SECRET[..len]),
                format!("inline:{}|1:{SECRET}", &SECRET[..len]),
                format!("inline:{SECRET}{SECRET}"),
            ] {
                let Err(error) = MasterKey::from_sdes_inline(suite, &text) else {
                    continue;
                };
                let print = format!("{error} {error:?}");
                for part in SECRET.as_bytes().windows(4) {
                    let part = str::from_utf8(part).expect("ASCII");
                    assert!(!print.contains(part), "{part} in {print}");
                }
            }
        }
    }
}

#[test]
fn key_material_is_wiped() {
    // That dropping does the same is the meaning of `ZeroizeOnDrop`, which the compiler checks here.
    fn wiped_when_dropped<T: ZeroizeOnDrop>() {}
    wiped_when_dropped::<MasterKey>();
    wiped_when_dropped::<SessionKeys>();
    wiped_when_dropped::<SessionSalt>();

    for suite in Suite::ALL {
        let mut master = key(suite);
        let mut session = SessionKeys::rtp(&master);
        assert!(session.key().iter().any(|&octet| octet != 0));
        master.zeroize();
        assert!(master.key().iter().chain(master.salt()).all(|&octet| octet == 0));
        session.zeroize();
        assert!(session.key().iter().chain(&session.salt.0).all(|&octet| octet == 0));
    }
}
