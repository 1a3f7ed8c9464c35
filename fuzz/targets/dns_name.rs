#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::dns_name::check(input));
