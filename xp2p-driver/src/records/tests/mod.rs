mod files;
mod index;
mod listing;
mod playback;
mod recorder;
mod seek;

/// 2026-11-24T02:04:30Z.
const T: u64 = 1_795_485_870_000;
