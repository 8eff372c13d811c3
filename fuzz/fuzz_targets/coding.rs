#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plugincore::fuzzed::run("coding", data));
