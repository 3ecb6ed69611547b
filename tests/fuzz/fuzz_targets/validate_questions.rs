#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keyward_fuzz::validate_questions::check(bytes));
