//! What the camera program adds to a camera: recordings, an ear, and a program that answers commands.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xp2p_driver::camera::{Answer, CameraApp, VoiceSink};
use xp2p_driver::records::Storage;
use xp2p_proto::camera::ViewerId;
use xp2p_proto::command::{BuiltIn, MAX_REPLY, status_text};
use xp2p_proto::request::{Command, Request, Status, Voice};

use crate::voice_out::VoiceOut;

/// How long the program may take.
const TIMEOUT: Duration = Duration::from_secs(7);
/// Most of them at a time; more commands are refused.
const MAX_RUNNING: usize = 16;

/// The application of `xp2p camera`.
pub(crate) struct App {
    pub(crate) storage: Option<Arc<dyn Storage>>,
    pub(crate) voice: Option<VoiceOut>,
    pub(crate) program: Option<String>,
    /// Text for each command and talk, for the terminal.
    pub(crate) news: async_channel::Sender<(&'static str, String)>,
    pub(crate) running: Arc<std::sync::atomic::AtomicUsize>,
}

impl App {
    fn say(&self, kind: &'static str, text: String) {
        // A terminal that is behind loses the oldest lines.
        let _ = self.news.force_send((kind, text));
    }
}

impl CameraApp for App {
    fn command(&self, viewer: ViewerId, command: Command, answer: Answer) {
        use std::sync::atomic::Ordering;
        self.say("command", format!("{viewer}: {} {}", command.action.name(), command.cmd));
        let Some(program) = self.program.clone() else {
            match BuiltIn::from_command(&command) {
                // A call is a matter of people; that it was heard is all that a program can say.
                Ok(Some(BuiltIn::Call(_))) => answer.reply(status_text(0)),
                _ => answer.refuse(
                    Status::CommandUnsupported,
                    "this camera does not know the command (its owner can start it with --on-command)",
                ),
            }
            return;
        };
        let running = self.running.clone();
        if running.fetch_add(1, Ordering::Relaxed) >= MAX_RUNNING {
            running.fetch_sub(1, Ordering::Relaxed);
            answer.refuse(Status::CommandUnsupported, "too many commands at a time; try again");
            return;
        }
        let spawned = std::thread::Builder::new().name("xp2p command".to_owned()).spawn(move || {
            match ask(&program, &command) {
                Ok(reply) => answer.reply(reply),
                Err(reason) => answer.refuse(Status::CommandUnsupported, &reason),
            }
            running.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(e) = spawned {
            self.running.fetch_sub(1, Ordering::Relaxed);
            self.say("command", format!("cannot start a thread: {e}"));
        }
    }

    fn storage(&self) -> Option<Arc<dyn Storage>> {
        self.storage.clone()
    }

    fn voice(&self, viewer: ViewerId, voice: Voice) -> Option<Box<dyn VoiceSink>> {
        let out = self.voice.as_ref()?;
        self.say("voice", format!("viewer {viewer} talks ({})", voice.calltype.name()));
        Some(Box::new(out.open(voice.calltype)))
    }
}

/// Runs the program: the request line on its standard input, its output is the answer.
fn ask(program: &str, command: &Command) -> Result<Vec<u8>, String> {
    let head = Request::Command(command.clone()).to_head().map_err(|e| e.to_string())?;
    let mut child = Process::new(PathBuf::from(program))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .env("XP2P_CMD", command.cmd.replace('\0', ""))
        .env("XP2P_CHANNEL", command.channel.to_string())
        .env("XP2P_ACTION", command.action.name())
        .spawn()
        .map_err(|e| format!("the camera's program cannot be started: {e}"))?;
    let result = talk(&mut child, &head.target());
    if result.is_err() {
        // Fails only if it has ended already.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    let reply = result?;
    if status.success() { Ok(reply) } else { Err(format!("the camera's program refuses ({status})")) }
}

fn talk(child: &mut Child, line: &str) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + TIMEOUT;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not want to read is free not to.
        let _ = writeln!(stdin, "{line}");
    }
    let Some(stdout) = child.stdout.take() else { return Ok(Vec::new()) };
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("xp2p command output".to_owned())
        .spawn(move || {
            let mut reply = Vec::new();
            let read = stdout.take(MAX_REPLY as u64 + 1).read_to_end(&mut reply);
            // Fails only if it took too long.
            let _ = done.send(read.map(|_| reply));
        })
        .map_err(|e| e.to_string())?;
    match finished.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(Ok(reply)) if reply.len() <= MAX_REPLY => Ok(reply),
        Ok(Ok(_)) => Err("the camera's program prints too much".to_owned()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("the camera's program takes too long".to_owned()),
    }
}
