#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xp2p_fuzz::check("flv_demux", data));
