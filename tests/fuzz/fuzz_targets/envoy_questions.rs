#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keyward_fuzz::envoy_questions::check(bytes));
