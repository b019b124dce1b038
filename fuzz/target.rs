//! Every fuzzer: it feeds the function that has its own name in `wharf_runtime::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wharf_runtime::fuzzing::run(env!("CARGO_BIN_NAME"), input));
