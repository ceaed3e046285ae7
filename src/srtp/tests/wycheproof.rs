//! Project Wycheproof's AES-GCM cases: edge cases of the counter, of GHASH and of the tag, and modified
//! tags, all of the sizes that SRTP uses.

use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use super::{Provider, Suite, for_each_provider};
use crate::srtp::AuthFailed;
use crate::srtp::kdf::SessionKeys;

for_each_provider!(wycheproof_aes_gcm);

fn wycheproof_aes_gcm<P: Provider>() {
    let set = TestSet::load(TestName::AesGcm).expect("the vectors are in the crate");
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups {
        let suite = match (group.nonce_size, group.tag_size, group.key_size) {
            (96, 128, 128) => Suite::AeadAes128Gcm,
            (96, 128, 256) => Suite::AeadAes256Gcm,
            _ => continue,
        };
        for case in group.tests {
            let what = format!("{suite} case {}: {}", case.tc_id, case.comment);
            let key = P::key(&SessionKeys::from_raw(suite, &case.key, &[], &[0; 12]));
            let nonce = case.nonce.to_vec().try_into().expect("96 bits");
            let tag = case.tag.to_vec().try_into().expect("128 bits");

            let mut opened = case.ct.to_vec();
            let mut sealed = case.pt.to_vec();
            let sealed_tag = P::aead_seal(&key, suite, &nonce, &case.aad, &mut sealed);
            match case.result {
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(
                        P::aead_open(&key, suite, &nonce, &case.aad, &mut opened, &tag),
                        Ok(()),
                        "{what}"
                    );
                    assert_eq!(opened, case.pt.to_vec(), "{what}");
                    assert_eq!((sealed, sealed_tag), (case.ct.to_vec(), tag), "{what}");
                    valid += 1;
                }
                TestResult::Invalid => {
                    let result = P::aead_open(&key, suite, &nonce, &case.aad, &mut opened, &tag);
                    assert_eq!(result, Err(AuthFailed), "{what}");
                    assert_ne!((sealed, sealed_tag), (case.ct.to_vec(), tag), "{what}");
                    invalid += 1;
                }
            }
        }
    }
    assert_eq!((valid, invalid), (79, 54), "applicable cases in wycheproof 0.7, valid and invalid");
}
