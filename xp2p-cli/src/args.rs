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
    Exit codes: 0 success, 1 failure (of `view` and `watch`: no video arrived), 64 wrong usage. Of `command` and its shortcuts: \
    1 the camera refuses, 2 it cannot be asked, 3 it does not answer in time.")]
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
    Server(Box<Server>),
    Keygen(Keygen),
    Camera(Box<Camera>),
    View(View),
    Watch(Box<Watch>),
    Playback(Playback),
    Download(Download),
    Talk(Talk),
    #[command(name = "command")]
    Send(SendCommand),
    Status(Ask),
    Records(Records),
    Files(Files),
    Ptz(Ptz),
    Message(Message),
    Info(Info),
    Share(Share),
    Revoke(Revoke),
    Probe(Probe),
}

/// Show it all on this machine: a server, a camera with a test clip, and viewers.
///
/// With --swarm: an origin, a tracker, and viewers who pass one live stream on to each other.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Many viewers share one stream, instead of each watching the camera.
    #[arg(long)]
    pub(crate) swarm: bool,
    /// How many viewers. Default: 1, with --swarm 12.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) viewers: Option<u16>,
    /// Stop after this many seconds. Without it the demo runs until Ctrl-C.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,
    /// Print one JSON object per event, a summary last.
    #[arg(long)]
    pub(crate) json: bool,
    /// Where players and browsers connect to.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Open the page in the browser.
    #[arg(long)]
    pub(crate) open: bool,
    /// An FLV file to show instead of the built-in clip.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
}

/// Run a server: cameras register at it, viewers find them through it.
///
/// Prints `HOST:PORT#KEY`, which cameras are started with. Without --app-key it listens on loopback only, unless
/// --open allows everybody to register cameras and to use it as a relay.
///
/// It also tracks who watches which live stream (`xp2p watch`), so that viewers find each other. A stream is shared only if
/// somebody vouches for what it holds: the server itself for what it publishes (--publish), or as a witness of other origins
/// (--origin-allow), or two viewers in different networks who read the same (--quorum).
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// UDP address to listen on.
    #[arg(long, default_value = "127.0.0.1:20002", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// A second address of another IP of this machine, which lets `xp2p probe` tell how NATs filter.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen_alt: Option<SocketAddr>,
    /// Ask the system for socket buffers of this size. The default, 2048, holds a burst of video; less suits small machines.
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(crate) socket_buffer: Option<u32>,
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
    /// Where to take the relay's TCP connections, for clients whom UDP does not reach: an address, or `off`. Default: the TCP port
    /// of the same number as --listen, where clients look for it. Another port goes into the printed address
    /// (HOST:PORT/TCPPORT#KEY) and every xp2pInfo. 443 gets through most firewalls.
    #[arg(long, value_name = "ADDR|off")]
    pub(crate) relay_tcp: Option<String>,
    /// Ask the router in front of the server to let cameras and viewers in (PCP, NAT-PMP, UPnP), at the server's own port numbers
    /// if they are free. Off unless given: what is let in should be the operator's decision.
    #[arg(long)]
    pub(crate) port_mapping: bool,
    /// Share streams that nobody vouches for, too, as far as two viewers in different networks have read the same. One viewer
    /// that lies is found out; two that lie together in two networks are not.
    #[arg(long)]
    pub(crate) quorum: bool,
    /// Print one JSON object per event.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) media: crate::media::MediaArgs,
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
    /// Let the servers show the live stream to more viewers than the camera can serve, on a place of their own besides
    /// --max-viewers. The servers can see it then.
    #[arg(long)]
    pub(crate) allow_transit: bool,
    /// The server's admission secret. @FILE reads it from a file.
    #[arg(long, value_name = "ID:SECRET", env = "XP2P_APP_KEY", hide_env_values = true)]
    pub(crate) app_key: Option<String>,
    /// UDP address to use.
    #[arg(long, default_value = "[::]:0", value_name = "ADDR")]
    pub(crate) bind: SocketAddr,
    /// Ask the system for socket buffers of this size. The default, 2048, holds a burst of video; less suits small machines.
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(crate) socket_buffer: Option<u32>,
    /// Do not tell the network that the camera is in where it is. Otherwise viewers in the same network find it even without the
    /// server and the internet. With a port of its own in --bind, the xp2pInfo names its private addresses, too.
    #[arg(long)]
    pub(crate) no_lan: bool,
    /// Do not ask the router to let viewers in (PCP, NAT-PMP, UPnP). Otherwise they often reach the camera directly even if it
    /// and they are behind NATs that keep others apart.
    #[arg(long)]
    pub(crate) no_port_mapping: bool,
    /// What the printed xp2pInfo allows: live, playback, command, voice, download, all.
    #[arg(long, default_value = "all", value_name = "RIGHTS")]
    pub(crate) rights: String,
    /// When the printed xp2pInfo expires, for example 24h or 30d. Without it never.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// Offer the recordings in this directory: FLV files named by their start, like 2026-11-24T02-04-30Z.flv; those of
    /// channel 1 in `ch1`, and so on.
    #[arg(long, value_name = "DIR")]
    pub(crate) records: Option<PathBuf>,
    /// Also record there what is shown.
    #[arg(long, requires = "records")]
    pub(crate) record: bool,
    /// Most bytes of recordings, like 500M or 4G; the oldest go first.
    #[arg(long, value_name = "SIZE", default_value = "4G", requires = "record")]
    pub(crate) record_cap: String,
    /// Let viewers talk, and store what they say: one WAV or FLV file per talk, numbered from the second on. `-`: raw
    /// 16-bit sound (or FLV, if it is AAC) on standard output; the xp2pInfo is then printed on standard error.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) voice_out: Option<PathBuf>,
    /// Run this for each command that the camera does not know itself: it gets the request line on standard input,
    /// and what it prints is the answer. Exit code other than 0: the command is refused.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) on_command: Option<String>,
    /// Send each line of standard input to all who watch, as a message.
    #[arg(long)]
    pub(crate) messages: bool,
    /// Lower the encoder's bit rate while viewers cannot take it. Only for inputs that are encoded here: lavfi: and
    /// /dev/video devices.
    #[arg(long)]
    pub(crate) adaptive: bool,
    /// Most apps that use the camera in any way at a time.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) max_apps: u16,
    /// Print one JSON object per event on standard error.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whether a camera is looked for in this network.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Lan {
    /// Do not look for the camera in this network, which finds it even without its server and the internet.
    #[arg(long)]
    pub(crate) no_lan: bool,
}

/// Whether the router is asked for a port.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Router {
    /// Do not ask the router to let others in (PCP, NAT-PMP, UPnP). Otherwise they often reach this program directly even if they
    /// and it are behind NATs that keep others apart.
    #[arg(long)]
    pub(crate) no_port_mapping: bool,
}

/// Which camera, and how long to wait for it.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The camera's xp2pInfo, better as @FILE or - (standard input).
    #[arg(value_name = "XP2PINFO", env = "XP2P_INFO", hide_env_values = true)]
    pub(crate) info: String,
    /// Channel of a recorder with several cameras.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) channel: u32,
    /// How long to wait for the answer, in milliseconds.
    #[arg(long, default_value_t = 7500, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) lan: Lan,
    /// Print the camera's JSON reply instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Send a command and print the camera's reply.
///
/// Example: xp2p command @camera.info 'action=inner_define&channel=0&cmd=get_device_st&type=live'
#[derive(Debug, Args)]
pub(crate) struct SendCommand {
    /// The camera's xp2pInfo, better as @FILE or - (standard input).
    #[arg(value_name = "XP2PINFO", env = "XP2P_INFO", hide_env_values = true)]
    pub(crate) info: String,
    /// action=inner_define|user_define&channel=N&cmd=..., values percent-encoded.
    #[arg(value_name = "COMMAND")]
    pub(crate) command: String,
    /// How long to wait for the answer, in milliseconds.
    #[arg(long, default_value_t = 7500, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) lan: Lan,
}

/// Show what the camera has recorded.
#[derive(Debug, Args)]
pub(crate) struct Records {
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// From then: unix seconds, or like 2026-11-24T02:04:30Z or 2026-11-24T02:04 (local time). Default: a day ago.
    #[arg(long, value_name = "T")]
    pub(crate) start: Option<String>,
    /// Until then. Default: now.
    #[arg(long, value_name = "T")]
    pub(crate) end: Option<String>,
    /// Show the days of this month that have recordings instead, like 202611.
    #[arg(long, value_name = "YYYYMM", conflicts_with_all = ["start", "end"])]
    pub(crate) month: Option<String>,
}

/// List the camera's files, to download them.
#[derive(Debug, Args)]
pub(crate) struct Files {
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// From then: unix seconds, or like 2026-11-24T02:04:30Z or 2026-11-24T02:04 (local time). Default: a day ago.
    #[arg(long, value_name = "T")]
    pub(crate) start: Option<String>,
    /// Until then. Default: now.
    #[arg(long, value_name = "T")]
    pub(crate) end: Option<String>,
    /// Pictures instead of recordings.
    #[arg(long)]
    pub(crate) pictures: bool,
}

/// Turn the camera. It turns until `release`.
#[derive(Debug, Args)]
pub(crate) struct Ptz {
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// Where to.
    #[arg(value_name = "up|down|left|right|release")]
    pub(crate) direction: String,
}

/// Send a text of your own to the camera (a user-defined command) and print its reply.
#[derive(Debug, Args)]
pub(crate) struct Message {
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// The text.
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,
}

/// Watch a recording. Prints a local URL that a player opens.
#[derive(Debug, Args)]
pub(crate) struct Playback {
    /// The camera's xp2pInfo, better as @FILE or - (standard input).
    #[arg(value_name = "XP2PINFO", env = "XP2P_INFO", hide_env_values = true)]
    pub(crate) info: String,
    /// Channel of a recorder with several cameras.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) channel: u32,
    /// From then: unix seconds, or like 2026-11-24T02:04:30Z or 2026-11-24T02:04 (local time).
    #[arg(long, value_name = "T")]
    pub(crate) start: String,
    /// Until then, at least 5 seconds later.
    #[arg(long, value_name = "T")]
    pub(crate) end: String,
    /// Begin so many milliseconds after the start.
    #[arg(long, value_name = "MS")]
    pub(crate) seek: Option<u64>,
    /// Where players connect to.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) lan: Lan,
    #[command(flatten)]
    pub(crate) router: Router,
    /// Record to a file, or - for standard output.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON object per event on standard output, a summary last.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Download a file of the camera (see `files`), checked against the camera's own digest.
///
/// It goes on by itself when the connection is lost, the camera restarts or the network changes.
#[derive(Debug, Args)]
pub(crate) struct Download {
    /// The camera's xp2pInfo, better as @FILE or - (standard input).
    #[arg(value_name = "XP2PINFO", env = "XP2P_INFO", hide_env_values = true)]
    pub(crate) info: String,
    /// Its name, as `files` shows it.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Channel of a recorder with several cameras.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) channel: u32,
    /// Where to write it. Default: the last part of its name, here. Until it is whole it is FILE.part.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Keep what an earlier attempt has left in FILE.part.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Give up when the camera was not reached for so many seconds.
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) patience: u64,
    #[command(flatten)]
    pub(crate) lan: Lan,
    #[command(flatten)]
    pub(crate) router: Router,
    /// Print one JSON object per event on standard output, a summary last.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Talk to the camera.
#[derive(Debug, Args)]
pub(crate) struct Talk {
    /// The camera's xp2pInfo, better as @FILE or - (standard input).
    #[arg(value_name = "XP2PINFO", env = "XP2P_INFO", hide_env_values = true)]
    pub(crate) info: String,
    /// What to say: a WAV file (16 bit), an FLV file (AAC and others go as they are), or raw 16-bit sound; - for
    /// standard input.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) input: PathBuf,
    /// Channel of a recorder with several cameras.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) channel: u32,
    /// What the call carries: audio or video.
    #[arg(long, default_value = "audio", value_name = "TYPE")]
    pub(crate) calltype: String,
    /// How sound that is not FLV travels: pcm, alaw or mulaw (these two only at 8000 Hz, one channel).
    #[arg(long, default_value = "pcm", value_name = "CODEC")]
    pub(crate) codec: String,
    /// Samples per second of raw sound.
    #[arg(long, default_value_t = 8000, value_name = "HZ")]
    pub(crate) rate: u32,
    #[command(flatten)]
    pub(crate) lan: Lan,
    #[command(flatten)]
    pub(crate) router: Router,
    /// Print one JSON object per event on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Watch a camera. Prints a local URL that ffplay, mpv or VLC opens, and that of a page for the browser.
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
    /// Where the camera's stream can be had when it has no room (`liveStreamDomain`), together with others who watch it there.
    /// The camera has to allow that (--allow-transit).
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) live_stream_domain: Option<String>,
    /// Certificates (PEM) of a private authority that may vouch for that domain.
    #[arg(long, value_name = "FILE", requires = "live_stream_domain")]
    pub(crate) ca: Option<PathBuf>,
    /// Open the page in the browser.
    #[arg(long)]
    pub(crate) open: bool,
    /// Ask the system for socket buffers of this size. The default, 2048, holds a burst of video; less suits small machines.
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(crate) socket_buffer: Option<u32>,
    #[command(flatten)]
    pub(crate) lan: Lan,
    #[command(flatten)]
    pub(crate) router: Router,
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

/// Watch a live stream together with others, who pass it on to each other. Prints a local URL that a player opens, and that of a
/// page for the browser.
///
/// Any HTTP-FLV stream works, unchanged: a media server's, a CDN's, or one of `xp2p server`. The more people watch, the less
/// of it comes from there. Nothing that comes from other viewers is shown unless the signer of the stream has vouched for it;
/// who that is, the tracker says. Without a tracker that can be reached, or without a signer, the stream comes from its origin
/// alone.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  xp2p watch https://cdn.example/live/room.flv --tracker my.server.example:20002\n\n\
    When little is shared, the summary says why: `puller` this viewer read the origin for the others; `no_peers` nobody \
    else watched; `nat` others could not be reached; `uplink` others had none left; `late` pieces came too late; \
    `policy` sharing was off.\n\n\
    Exit codes: 0 video arrived, 1 none did, 64 wrong usage."
)]
pub(crate) struct Watch {
    /// Where the stream is: http:// or https://, FLV. Signatures in its query stay on this machine.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// The server where the viewers meet, as `xp2p server` printed it. Without #KEY the first key that it shows is remembered.
    #[arg(long, value_name = "HOST:PORT[#KEY]", required_unless_present = "no_peers")]
    pub(crate) tracker: Option<String>,
    /// The server's admission secret, if it wants one. @FILE reads it from a file.
    #[arg(long, value_name = "ID:SECRET", env = "XP2P_APP_KEY", hide_env_values = true)]
    pub(crate) app_key: Option<String>,
    /// Where players connect to.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Serve no player; for --out.
    #[arg(long)]
    pub(crate) no_player: bool,
    /// Open the page in the browser.
    #[arg(long, conflicts_with = "no_player")]
    pub(crate) open: bool,
    /// Let web pages of this origin play the stream. May be given several times.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(crate) allow_origins: Vec<String>,
    /// Record to a file, or - for standard output.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) out: Option<PathBuf>,
    /// Stop after this many seconds of the stream.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,
    /// Most kbit/s to upload to other viewers. `off`: no limit.
    #[arg(long, value_name = "KBIT|off", default_value = "off")]
    pub(crate) upload_limit: String,
    /// Share nothing: everything comes from the origin, as in any player.
    #[arg(long)]
    pub(crate) no_peers: bool,
    /// Name of the stream, if its viewers have different URLs for it. All of them must give the same.
    #[arg(long, value_name = "NAME")]
    pub(crate) stream: Option<String>,
    /// Key of who signs the stream, instead of those that the tracker names. Up to four.
    #[arg(long = "signer", value_name = "KEY")]
    pub(crate) signers: Vec<String>,
    /// Certificates (PEM) of a private authority that may vouch for an https origin.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// UDP address to use.
    #[arg(long, default_value = "[::]:0", value_name = "ADDR")]
    pub(crate) bind: SocketAddr,
    #[command(flatten)]
    pub(crate) router: Router,
    /// Print one JSON object per event on standard output, a summary last.
    #[arg(long)]
    pub(crate) json: bool,
    /// With --json: print the numbers every so many seconds too.
    #[arg(long, value_name = "S", requires = "json", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) interval: Option<u64>,
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
