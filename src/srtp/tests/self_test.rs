//! The start-up self-test passes for every provider and fails for every kind of broken one.

use super::{Provider, Suite, for_each_provider};
use crate::srtp::{AesGcmProvider, AuthFailed, Batch, CounterHmac, SelfTestError, SessionKeys, TAG_LEN};

for_each_provider!(passes);

fn passes<P: Provider>() {
    assert_eq!(P::self_test(), Ok(()));
}

/// Which result a broken provider spoils.
mod fault {
    pub(super) const TAG: u8 = 0;
    pub(super) const CIPHERTEXT: u8 = 1;
    pub(super) const REFUSES: u8 = 2;
    pub(super) const PLAINTEXT: u8 = 3;
    pub(super) const ACCEPTS: u8 = 4;
    pub(super) const ACCEPTS_LAST_OCTET: u8 = 5;
}

/// Spoils one result of the AEAD suites, or (`AEAD` is false) of the others.
struct Broken<const FAULT: u8, const AEAD: bool>;

type Key = <AesGcmProvider as Provider>::Key;

impl<const FAULT: u8, const AEAD: bool> Provider for Broken<FAULT, AEAD> {
    type Key = Key;
    type Batch = BrokenBatch<FAULT, AEAD>;
    const NAME: &'static str = "broken";

    fn key(keys: &SessionKeys) -> Key {
        AesGcmProvider::key(keys)
    }

    fn lines(_: *const Key, _: Suite, _: usize, _: impl Fn(*const u8)) {}

    fn aead_open(
        key: &Key,
        suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthFailed> {
        let sealed = in_out.to_vec();
        let result = AesGcmProvider::aead_open(key, suite, nonce, aad, in_out, tag);
        match FAULT {
            _ if !AEAD => result,
            fault::REFUSES => Err(AuthFailed),
            fault::ACCEPTS => Ok(()),
            fault::ACCEPTS_LAST_OCTET => (0..=u8::MAX)
                .find_map(|last| {
                    let mut tag = *tag;
                    tag[15] = last;
                    in_out.copy_from_slice(&sealed);
                    AesGcmProvider::aead_open(key, suite, nonce, aad, in_out, &tag).ok()
                })
                .ok_or(AuthFailed),
            fault::PLAINTEXT => {
                in_out[37] ^= 1;
                result
            }
            _ => result,
        }
    }

    fn aead_seal(key: &Key, suite: Suite, nonce: &[u8; 12], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG_LEN] {
        let mut tag = AesGcmProvider::aead_seal(key, suite, nonce, aad, in_out);
        match FAULT {
            fault::TAG if AEAD => tag[15] ^= 0x80,
            fault::CIPHERTEXT if AEAD => in_out[37] ^= 1,
            _ => {}
        }
        tag
    }
}

struct BrokenBatch<const FAULT: u8, const AEAD: bool>(<AesGcmProvider as Provider>::Batch);

impl<const FAULT: u8, const AEAD: bool> Batch<Broken<FAULT, AEAD>> for BrokenBatch<FAULT, AEAD> {
    fn new() -> Self {
        BrokenBatch(Batch::new())
    }

    fn open(&mut self, packets: &mut [CounterHmac<'_, Key>]) {
        if AEAD {
            return self.0.open(packets);
        }
        for packet in packets {
            let sealed = packet.packet.to_vec();
            self.0.open(std::slice::from_mut(packet));
            match FAULT {
                fault::REFUSES => packet.verified = false,
                fault::ACCEPTS => packet.verified = true,
                fault::ACCEPTS_LAST_OCTET => {
                    for last in 0..=u8::MAX {
                        if !packet.verified {
                            packet.packet.copy_from_slice(&sealed);
                            packet.tag[packet.tag_len - 1] = last;
                            self.0.open(std::slice::from_mut(packet));
                        }
                    }
                }
                fault::PLAINTEXT => *packet.packet.last_mut().expect("not empty") ^= 1,
                _ => {}
            }
        }
    }

    fn seal(&mut self, packets: &mut [CounterHmac<'_, Key>]) {
        self.0.seal(packets);
        for packet in packets.iter_mut().filter(|_| !AEAD) {
            match FAULT {
                fault::TAG => packet.tag[9] ^= 0x80,
                fault::CIPHERTEXT => *packet.packet.last_mut().expect("not empty") ^= 1,
                _ => {}
            }
        }
    }
}

#[test]
fn every_kind_of_fault_is_found_and_named() {
    every_kind::<true>();
    every_kind::<false>();
}

fn every_kind<const AEAD: bool>() {
    let step = |result: Result<(), SelfTestError>| {
        let error = result.expect_err("a broken provider");
        assert!(error.to_string().contains("broken") && error.to_string().contains(error.step), "{error}");
        assert_eq!(error.suite.is_aead(), AEAD, "{error}");
        error.step
    };
    assert_eq!(step(Broken::<{ fault::TAG }, AEAD>::self_test()), "the tag of a sealed packet is wrong");
    assert_eq!(
        step(Broken::<{ fault::CIPHERTEXT }, AEAD>::self_test()),
        "the ciphertext of a sealed packet is wrong"
    );
    assert_eq!(step(Broken::<{ fault::REFUSES }, AEAD>::self_test()), "an authentic packet is refused");
    assert_eq!(
        step(Broken::<{ fault::PLAINTEXT }, AEAD>::self_test()),
        "the plaintext of an opened packet is wrong"
    );
    assert_eq!(step(Broken::<{ fault::ACCEPTS }, AEAD>::self_test()), "a forged tag is accepted");
    assert_eq!(step(Broken::<{ fault::ACCEPTS_LAST_OCTET }, AEAD>::self_test()), "a forged tag is accepted");
}
