//! Every input that a fuzzer has found worth keeping, and every one that has shown a fault, is run again with each target.
//!
//! The corpus is in `fuzz/corpus/TARGET`; `fuzz/README.md` tells how it grows. `XP2P_INPUT=FILE` runs that one alone:
//! `XP2P_INPUT=crash-1 cargo test -p xp2p-tests --test corpus session`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use xp2p_fuzz::{TARGETS, Target};

/// Memory is counted for the whole process, so one input at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name)
}

fn replay(name: &str) {
    let target = Target::named(name).expect("a target");
    let files = match std::env::var_os("XP2P_INPUT") {
        Some(file) => vec![PathBuf::from(file)],
        None => {
            let dir = corpus(name);
            let dir =
                std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("no corpus in {}: {e}", dir.display()));
            dir.map(|entry| entry.expect("a readable directory").path()).collect()
        }
    };
    assert!(!files.is_empty(), "the corpus of {name} is empty");
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for file in files {
        let input = std::fs::read(&file).expect("a readable file");
        let result = catch_unwind(AssertUnwindSafe(|| target.check(&input)));
        assert!(result.is_ok(), "{name} fails with {}", file.display());
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_replayed_and_has_a_corpus_and_a_binary() {
            let names: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            let manifest = include_str!("../../fuzz/Cargo.toml");
            for name in names {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} has no binary");
            }
            let dirs = std::fs::read_dir(corpus("")).expect("the corpus").map(|d| d.expect("a directory").file_name());
            let unknown: Vec<_> = dirs.filter(|d| Target::named(&d.to_string_lossy()).is_none()).collect();
            assert!(unknown.is_empty(), "a corpus of no target: {unknown:?}");
        }
    };
}

targets! {
    info capability frame head command reply flv_demux flv_mux mp4 live voice register swarm_peer swarm_tracker swarm_content
    stun scheduler endpoint session swarm
}

/// The vectors of docs/PROTOCOL.md and what our encoders make, each for every target. `XP2P_WRITE_SEEDS=1` writes them to
/// `fuzz/work`, where fuzzing begins.
#[test]
fn every_target_withstands_every_seed() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let write = std::env::var_os("XP2P_WRITE_SEEDS").is_some();
    for target in TARGETS {
        for seed in xp2p_fuzz::seeds() {
            if write {
                let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/work").join(target.name);
                std::fs::create_dir_all(&dir).expect("a directory to write to");
                let name = blake3::hash(&seed).to_hex();
                std::fs::write(dir.join(&name[..16]), &seed).expect("room for a seed");
            }
            // Whole worlds are replayed from the corpus; here they would only take long.
            if !matches!(target.name, "session" | "swarm") {
                target.check(&seed);
            }
        }
    }
}

/// The oracle of memory works in this process, too.
#[test]
fn a_target_that_takes_too_much_memory_fails() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let greedy = Target {
        name: "greedy",
        run: |data| assert!(!std::hint::black_box(vec![1_u8; data.len() * 1000]).is_empty()),
        memory: 50_000,
    };
    greedy.check(&[0; 10]);
    assert!(catch_unwind(|| greedy.check(&[0; 100])).is_err());
}
