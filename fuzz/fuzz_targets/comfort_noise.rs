#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| voxlane_fuzz::target("comfort_noise")(data));
