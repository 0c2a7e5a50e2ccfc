//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Watch and share your own cameras, peer to peer.
///
/// Video goes straight from the camera to whoever watches, encrypted end to end, through NATs where that is possible
/// and over your own server where it is not.
#[derive(Debug, Parser)]
#[command(name = "xp2p", version, max_term_width = 100)]
#[command(after_help = "Start here: `xp2p demo` shows a server, a camera and a viewer on this machine.\n\n\
    Secrets (XP2PINFO, ID:SECRET) are best given as @FILE or - (standard input), so that they show neither in the \
    process list nor in the shell's history.\n\n\
    Exit codes: 0 success, 1 failure (of `view`: no video arrived), 64 wrong usage.")]
pub(crate) struct Cli {
    /// Log more: -v what happens, -vv every connection, -vvv every packet. XP2P_LOG sets a filter.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    Server(Server),
    Keygen(Keygen),
    Camera(Box<Camera>),
    View(View),
    Info(Info),
    Share(Share),
    Revoke(Revoke),
    Probe(Probe),
}

/// Show it all on this machine: a server, a camera with a test clip, and viewers.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many viewers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) viewers: u16,
    /// Stop after this many seconds. Without it the demo runs until Ctrl-C.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,
    /// Print one JSON object per event, a summary last.
    #[arg(long)]
    pub(crate) json: bool,
    /// An FLV file to show instead of the built-in clip.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
}

/// Run a server: cameras register at it, viewers find them through it.
///
/// Prints `HOST:PORT#KEY`, which cameras are started with. Without --app-key it listens on loopback only, unless
/// --open allows everybody to register cameras and to use it as a relay.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// UDP address to listen on.
    #[arg(long, default_value = "127.0.0.1:20002", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// A second address of another IP of this machine, which lets `xp2p probe` tell how NATs filter.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen_alt: Option<SocketAddr>,
    /// Where to serve health and metrics over HTTP. Loopback is best: there is no password.
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Admit cameras that know this secret. May be given several times. @FILE reads one ID:SECRET per line.
    #[arg(long = "app-key", value_name = "ID:SECRET", env = "XP2P_APP_KEY", hide_env_values = true)]
    pub(crate) app_keys: Vec<String>,
    /// Admit everybody. Anyone on the network can then use this server as a relay.
    #[arg(long)]
    pub(crate) open: bool,
    /// The server's identity; made if it does not exist. Keep it: cameras and viewers know the server by it.
    #[arg(long, value_name = "FILE", default_value = "xp2p-server.key")]
    pub(crate) key: PathBuf,
    /// Host name or IP to print, if it is not the one that is listened on.
    #[arg(long, value_name = "HOST")]
    pub(crate) public_host: Option<String>,
    /// Most bytes per second that are relayed for one camera, both ways together. `off`: no limit.
    #[arg(long, value_name = "BYTES|off", default_value = "2000000")]
    pub(crate) relay_rate: String,
    /// Print one JSON object per event.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make a key file, the identity of a camera or server (mode 0600).
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Where to write it. An existing file is never overwritten.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Run a camera. Prints its xp2pInfo on a line of standard output.
#[derive(Debug, Args)]
pub(crate) struct Camera {
    /// The camera's identity (see keygen).
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Where to register: HOST:PORT#KEY as the server printed it. Up to three. Without #KEY the first key that the
    /// server shows is remembered.
    #[arg(long = "server", value_name = "HOST:PORT[#KEY]", required = true)]
    pub(crate) servers: Vec<String>,
    /// Product id.
    #[arg(long, default_value = "xp2p", value_name = "P")]
    pub(crate) product: String,
    /// Device name.
    #[arg(long, default_value = "camera", value_name = "D")]
    pub(crate) name: String,
    /// What to show: an FLV file (looped), - (FLV on standard input), or anything that an ffmpeg on PATH can read:
    /// rtsp://..., /dev/video0, lavfi:testsrc2
    #[arg(long, value_name = "SOURCE")]
    pub(crate) input: String,
    /// Most viewers at a time.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) max_viewers: u16,
    /// The server's admission secret. @FILE reads it from a file.
    #[arg(long, value_name = "ID:SECRET", env = "XP2P_APP_KEY", hide_env_values = true)]
    pub(crate) app_key: Option<String>,
    /// UDP address to use.
    #[arg(long, default_value = "[::]:0", value_name = "ADDR")]
    pub(crate) bind: SocketAddr,
    /// What the printed xp2pInfo allows: live, playback, command, voice, download, all.
    #[arg(long, default_value = "all", value_name = "RIGHTS")]
    pub(crate) rights: String,
    /// When the printed xp2pInfo expires, for example 24h or 30d. Without it never.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// Print one JSON object per event on standard error.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Watch a camera. Prints a local URL that ffplay, mpv, VLC or a browser page opens.
#[derive(Debug, Args)]
pub(crate) struct View {
    /// The camera's xp2pInfo, better as @FILE or - (standard input).
    #[arg(value_name = "XP2PINFO", env = "XP2P_INFO", hide_env_values = true)]
    pub(crate) info: String,
    /// Channel of a recorder with several cameras.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) channel: u32,
    /// standard, high or super.
    #[arg(long, default_value = "high", value_name = "QUALITY")]
    pub(crate) quality: String,
    /// Where players connect to.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// How much delay to bear before pictures are skipped, in milliseconds.
    #[arg(long, default_value_t = 2000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=10_000))]
    pub(crate) latency: u64,
    /// Record to a file, or - for standard output.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) out: Option<PathBuf>,
    /// Stop after this many seconds of video.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,
    /// Let web pages of this origin play the stream. May be given several times.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(crate) allow_origins: Vec<String>,
    /// Print one JSON object per event on standard output, a summary last.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what an xp2pInfo says.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// The xp2pInfo, better as @FILE or - (standard input).
    #[arg(value_name = "XP2PINFO", env = "XP2P_INFO", hide_env_values = true)]
    pub(crate) info: String,
    /// Print a JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make an xp2pInfo that allows less, to give to somebody else. Needs the camera's key.
#[derive(Debug, Args)]
pub(crate) struct Share {
    /// The camera's key file.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The xp2pInfo to narrow, better as @FILE or - (standard input).
    #[arg(value_name = "XP2PINFO", env = "XP2P_INFO", hide_env_values = true)]
    pub(crate) info: String,
    /// What to allow: live, playback, command, voice, download.
    #[arg(long, value_name = "RIGHTS")]
    pub(crate) rights: Option<String>,
    /// When it expires, for example 30m, 24h or 30d.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
}

/// Make every xp2pInfo of a camera void that was given out so far.
///
/// Raises the epoch in the key file. A running camera notices within seconds, ends the sessions of old ones and
/// prints a new xp2pInfo.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The camera's key file.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
}

/// Find out what the network does to UDP: addresses, NAT behaviour, round-trip time.
#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// A server: HOST:PORT or HOST:PORT#KEY.
    #[arg(long, value_name = "HOST:PORT[#KEY]")]
    pub(crate) server: String,
    /// Print a JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
