//! Anything that ffmpeg reads: network cameras, devices, generated pictures. The child is started again when it ends.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::pipe::{live_timeline, read};
use super::{MAX_PAUSE, Sink, SourceError, SourceEvent, Stop};

/// First pause before the child is started again; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A child that ran for this long was not in trouble: the next pause is short again.
const GOOD_RUN: Duration = Duration::from_secs(10);
/// Lines of the child's complaints that are kept.
const MAX_LINES: usize = 5;
/// Longest line that is kept.
const MAX_LINE: usize = 300;

/// The running child, to be killed from another thread.
#[derive(Debug, Clone, Default)]
pub(super) struct ChildSlot(Arc<Mutex<Option<Child>>>);

impl ChildSlot {
    pub(super) fn kill(&self) {
        if let Some(child) = self.0.lock().unwrap_or_else(|e| e.into_inner()).as_mut() {
            // Fails only if it has ended already.
            let _ = child.kill();
        }
    }
}

/// Whether there is an ffmpeg to start.
pub(super) fn check() -> Result<(), SourceError> {
    Command::new("ffmpeg")
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map(|_| ())
        .map_err(SourceError::NoFfmpeg)
}

/// Whether we encode the pictures of this input, so that their bit rate is ours to choose.
pub(super) fn is_encoded(input: &str) -> bool {
    input.starts_with("lavfi:") || input.starts_with("/dev/video")
}

/// What to tell ffmpeg about an input. `kbit`: the bit rate of the pictures, where we encode them.
pub(super) fn arguments(input: &str, kbit: Option<u32>) -> Vec<String> {
    let mut args: Vec<&str> = vec!["-hide_banner", "-loglevel", "error", "-nostdin"];
    let mut encode = false;
    let rate;
    let mut name = input;
    if let Some(graph) = input.strip_prefix("lavfi:") {
        args.extend(["-re", "-f", "lavfi"]);
        name = graph;
        encode = true;
    } else if input.starts_with("rtsp://") || input.starts_with("rtsps://") {
        // Over UDP, packets that the network loses are holes in the picture that nobody repairs.
        args.extend(["-rtsp_transport", "tcp"]);
    } else if input.starts_with("/dev/video") {
        args.extend(["-f", "v4l2"]);
        encode = true;
    } else if !input.contains("://") {
        // A file is live only if it is read at its own speed.
        args.extend(["-re", "-stream_loop", "-1"]);
    }
    args.extend(["-i", name]);
    if encode {
        args.extend([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-tune",
            "zerolatency",
            "-pix_fmt",
            "yuv420p",
            "-g",
            "50",
            "-force_key_frames",
            "expr:gte(t,n_forced*2)",
            "-c:a",
            "aac",
        ]);
        if let Some(kbit) = kbit {
            rate = format!("{kbit}k");
            args.extend(["-b:v", &rate, "-maxrate", &rate, "-bufsize", &rate]);
        }
    } else {
        // Cameras send H.264 and AAC, which go on as they are; sound of other kinds is made AAC.
        args.extend(["-c:v", "copy", "-c:a", "aac"]);
    }
    args.extend(["-flvflags", "no_duration_filesize", "-f", "flv", "pipe:1"]);
    args.into_iter().map(str::to_owned).collect()
}

/// Runs children until told to stop.
pub(super) fn run(input: &str, kbit: Option<u32>, stop: &Stop, slot: &ChildSlot, sink: &mut Sink) {
    let mut timeline = live_timeline();
    let mut pause = FIRST_PAUSE;
    while !stop.is_set() {
        let started = Instant::now();
        let (wanted, result) = one_child(&arguments(input, kbit), &mut timeline, stop, slot, sink);
        if stop.is_set() || !wanted {
            break;
        }
        if started.elapsed() >= GOOD_RUN {
            pause = FIRST_PAUSE;
        }
        let reason = result.err().unwrap_or_else(|| "the source has ended".to_owned());
        let text = format!("{reason}; trying again in {:.1} s", pause.as_secs_f64());
        if !sink(SourceEvent::Trouble(text)) || stop.wait_until(Instant::now() + pause) {
            break;
        }
        timeline.restart();
        pause = (pause * 2).min(MAX_PAUSE);
    }
    sink(SourceEvent::Ended(None));
}

/// Runs one child to its end. Returns whether more is wanted, and what the child complained about.
fn one_child(
    arguments: &[String],
    timeline: &mut xp2p_proto::flv::Timeline,
    stop: &Stop,
    slot: &ChildSlot,
    sink: &mut Sink,
) -> (bool, Result<(), String>) {
    let spawned = Command::new("ffmpeg")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) => return (true, Err(format!("cannot start ffmpeg: {e}"))),
    };
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        // Both were asked for above.
        return (true, Err("ffmpeg has no output".to_owned()));
    };
    *slot.0.lock().unwrap_or_else(|e| e.into_inner()) = Some(child);
    if stop.is_set() {
        slot.kill();
    }
    // Somebody has to read the complaints, or the child stands still once the pipe is full.
    let complaints = std::thread::Builder::new().name("xp2p ffmpeg log".to_owned()).spawn(move || {
        let mut lines = VecDeque::new();
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let text: String = String::from_utf8_lossy(&line)
                .chars()
                .take(MAX_LINE)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            lines.push_back(text);
            if lines.len() > MAX_LINES {
                lines.pop_front();
            }
        }
        lines
    });
    let mut wanted = true;
    let read_result = read(stdout, timeline, stop, sink, &mut wanted);
    slot.kill();
    if let Some(mut child) = slot.0.lock().unwrap_or_else(|e| e.into_inner()).take()
        && let Err(e) = child.wait()
    {
        tracing::debug!("ffmpeg cannot be waited for: {e}");
    }
    let lines = complaints.ok().and_then(|t| t.join().ok()).unwrap_or_default();
    let said = lines.iter().map(|l| l.trim()).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ");
    let result = match (read_result, said.is_empty()) {
        (Ok(()), true) => Ok(()),
        (Err(e), true) => Err(e),
        (_, false) => Err(format!("ffmpeg says: {said}")),
    };
    (wanted, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_read_as_their_kind_needs() {
        let has = |input: &str, args: &[&str]| {
            let all = arguments(input, None);
            all.windows(args.len()).any(|w| w == args)
        };
        assert!(has("rtsp://cam/1", &["-rtsp_transport", "tcp", "-i", "rtsp://cam/1"]));
        assert!(has("rtsp://cam/1", &["-c:v", "copy"]));
        assert!(has("lavfi:testsrc2", &["-re", "-f", "lavfi", "-i", "testsrc2"]));
        assert!(has("lavfi:testsrc2", &["-c:v", "libx264"]));
        assert!(has("/dev/video0", &["-f", "v4l2", "-i", "/dev/video0"]));
        assert!(has("clip.mp4", &["-stream_loop", "-1", "-i", "clip.mp4"]));
        assert!(!has("http://host/a.m3u8", &["-re"]));
    }
}
