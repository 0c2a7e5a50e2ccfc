//! What each crate brings with it, as cargo sees it: decision 27, that whoever takes smol gets no second runtime, and that
//! whoever takes tokio does not get smol.

use std::process::Command;

/// Name and features of everything in the tree of a package, as users build it: `tokio feature "rt"`.
fn tree(package: &str) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--edges", "normal,features", "--prefix", "none", "-p", package])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// Features of `name` in a tree; `None` if it is not in it.
fn features(tree: &[String], name: &str) -> Option<Vec<String>> {
    let there = tree.iter().any(|line| line.split(' ').next() == Some(name));
    let features = tree.iter().filter_map(|line| {
        let feature = line.strip_prefix(name)?.strip_prefix(" feature \"")?;
        Some(feature.split('"').next().unwrap_or_default().to_owned())
    });
    there.then(|| features.collect())
}

/// What only a runtime needs.
const RUNTIME: [&str; 4] = ["rt", "net", "time", "fs"];

#[test]
fn whoever_takes_smol_gets_no_tokio_runtime() {
    for package in ["xp2p-proto", "xp2p-driver", "xp2p-smol", "xp2p-cli"] {
        // hyper has parts of tokio that are only about memory.
        let tokio = features(&tree(package), "tokio").unwrap_or_default();
        let runtime: Vec<&String> =
            tokio.iter().filter(|f| f.starts_with("rt") || RUNTIME.contains(&f.as_str())).collect();
        assert!(runtime.is_empty(), "{package} has tokio with {runtime:?}");
    }
    assert_eq!(features(&tree("xp2p-proto"), "tokio"), None);
}

#[test]
fn whoever_takes_tokio_gets_no_smol_and_no_more_of_tokio_than_is_used() {
    let tree = tree("xp2p-tokio");
    for package in
        ["smol", "async-io", "async-executor", "async-global-executor", "async-std", "blocking", "polling"]
    {
        assert_eq!(features(&tree, package), None, "{package}");
    }
    let tokio = features(&tree, "tokio").expect("there");
    for feature in ["rt", "net", "time"] {
        assert!(tokio.iter().any(|f| f == feature), "{feature} of {tokio:?}");
    }
    for feature in ["fs", "full", "macros", "process", "rt-multi-thread", "signal", "test-util"] {
        assert!(!tokio.iter().any(|f| f == feature), "{feature} of {tokio:?}");
    }
}

#[test]
fn neither_the_core_nor_the_driver_knows_a_runtime() {
    for package in ["xp2p-proto", "xp2p-driver"] {
        let tree = tree(package);
        for runtime in ["smol", "async-io", "async-global-executor", "async-std", "xp2p-smol", "xp2p-tokio"] {
            assert_eq!(features(&tree, runtime), None, "{runtime} in {package}");
        }
    }
    assert_eq!(features(&tree("xp2p-smol"), "xp2p-tokio"), None);
    assert_eq!(features(&tree("xp2p-tokio"), "xp2p-smol"), None);
}
