//! What is logged, and where to: standard error, so that standard output stays for results.

use tracing_subscriber::EnvFilter;

pub(crate) fn init(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,xp2p_driver=debug",
        2 => "debug,noq_proto=info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("XP2P_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
