//! The start-up self-test passes for every provider and fails for every kind of broken one.

use super::{Provider, Suite, for_each_provider};
use crate::srtp::{AeadKey, AesGcmKey, AesGcmProvider, AuthFailed, TAG_LEN};

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

struct Broken<const FAULT: u8>;

struct BrokenKey<const FAULT: u8>(AesGcmKey);

impl<const FAULT: u8> Provider for Broken<FAULT> {
    type Key = BrokenKey<FAULT>;
    const NAME: &'static str = "broken";

    fn key(suite: Suite, key: &[u8]) -> Self::Key {
        BrokenKey(AesGcmProvider::key(suite, key))
    }
}

impl<const FAULT: u8> AeadKey for BrokenKey<FAULT> {
    fn open_in_place(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthFailed> {
        let sealed = in_out.to_vec();
        let result = self.0.open_in_place(nonce, aad, in_out, tag);
        match FAULT {
            fault::REFUSES => Err(AuthFailed),
            fault::ACCEPTS => Ok(()),
            fault::ACCEPTS_LAST_OCTET => (0..=u8::MAX)
                .find_map(|last| {
                    let mut tag = *tag;
                    tag[15] = last;
                    in_out.copy_from_slice(&sealed);
                    self.0.open_in_place(nonce, aad, in_out, &tag).ok()
                })
                .ok_or(AuthFailed),
            fault::PLAINTEXT => {
                in_out[37] ^= 1;
                result
            }
            _ => result,
        }
    }

    fn seal_in_place(&self, nonce: &[u8; 12], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG_LEN] {
        let mut tag = self.0.seal_in_place(nonce, aad, in_out);
        match FAULT {
            fault::TAG => tag[15] ^= 0x80,
            fault::CIPHERTEXT => in_out[37] ^= 1,
            _ => {}
        }
        tag
    }
}

#[test]
fn every_kind_of_fault_is_found_and_named() {
    let step = |result: Result<(), crate::srtp::SelfTestError>| {
        let error = result.expect_err("a broken provider");
        assert!(error.to_string().contains("broken") && error.to_string().contains(error.step), "{error}");
        error.step
    };
    assert_eq!(step(Broken::<{ fault::TAG }>::self_test()), "the tag of a sealed packet is wrong");
    assert_eq!(
        step(Broken::<{ fault::CIPHERTEXT }>::self_test()),
        "the ciphertext of a sealed packet is wrong"
    );
    assert_eq!(step(Broken::<{ fault::REFUSES }>::self_test()), "an authentic packet is refused");
    assert_eq!(
        step(Broken::<{ fault::PLAINTEXT }>::self_test()),
        "the plaintext of an opened packet is wrong"
    );
    assert_eq!(step(Broken::<{ fault::ACCEPTS }>::self_test()), "a forged tag is accepted");
    assert_eq!(step(Broken::<{ fault::ACCEPTS_LAST_OCTET }>::self_test()), "a forged tag is accepted");
}
