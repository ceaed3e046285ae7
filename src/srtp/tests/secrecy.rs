//! No key octet in any debug print or error text; key material is wiped.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Provider, Suite, for_each_provider};
use crate::srtp::counter_hmac::CounterHmacKey;
use crate::srtp::kdf::SessionKeys;
use crate::srtp::{
    AesGcmProvider, IpsecMbProvider, MasterKey, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound,
    RtpOutbound, SessionKey,
};

for_each_provider!(contexts_print_no_key, an_expanded_key_prints_its_suite_only);

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
        let keys = SessionKeys::from_raw(suite, &[OCTET; 32], &[OCTET; 20], &[OCTET; 14]);
        let window = ReplayWindowSize::default();
        let mut inbound = RtpInbound::<P>::from_session_keys(&keys, None, window);
        inbound.resume(1, crate::srtp::PacketIndex::new(0, 2));
        assert_no_key(&format!("{inbound:?}"));
        assert_no_key(&format!("{:#?}", RtpOutbound::<P>::from_session_keys(&keys, None)));
        assert_no_key(&format!("{:?}", RtcpInbound::<P>::from_session_keys(&keys, None, window)));
        assert_no_key(&format!("{:?}", RtcpOutbound::<P>::from_session_keys(&keys, None)));
    }
}

fn an_expanded_key_prints_its_suite_only<P: Provider>() {
    for suite in Suite::ALL {
        let print = format!("{:?}", SessionKey::<P>::new(&SessionKeys::rtp(&key(suite))));
        assert_no_key(&print);
        assert!(print.contains(suite.name()), "{print}");
    }
}

#[test]
fn the_portable_key_prints_its_algorithm_only() {
    let names = Suite::ALL.map(|suite| {
        let keys = SessionKeys::from_raw(suite, &[OCTET; 32], &[OCTET; 20], &[OCTET; 14]);
        let print = format!("{:?}", AesGcmProvider::key(&keys));
        assert_no_key(&print);
        print
    });
    let cm = "AesGcmKey(AES-CM, HMAC-SHA1, [redacted])";
    let gcm = |bits: u32| format!("AesGcmKey(AES-{bits}-GCM, [redacted])");
    assert_eq!(names, [cm.to_owned(), cm.to_owned(), cm.to_owned(), gcm(128), gcm(256)]);
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
                format!("inline:{}|{SECRET}:4", &SECRET[..len]),
                format!("inline:{}|2^{SECRET}|1:4", &SECRET[..len]),
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
    wiped_when_dropped::<SessionKey<AesGcmProvider>>();
    wiped_when_dropped::<SessionKey<IpsecMbProvider>>();
    wiped_when_dropped::<CounterHmacKey>();

    for suite in Suite::ALL {
        let mut master = key(suite);
        let mut session = SessionKeys::rtp(&master);
        let octets = |keys: &SessionKeys| [keys.key(), &keys.auth_key()[..], &keys.salt()[..]].concat();
        assert!(octets(&session).iter().any(|&octet| octet != 0));
        master.zeroize();
        assert!(master.key().iter().chain(master.salt()).all(|&octet| octet == 0));
        session.zeroize();
        assert!(octets(&session).iter().all(|&octet| octet == 0));
    }
}
