//! A viewer program whose stream is watched as it comes out, tag by tag: what a player would get, and when.

use std::io::Read as _;
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use xp2p_proto::flv::{Demuxer, Item, Limits, TagKind};

use super::home::{command, interrupt};
use super::space::Namespace;
use crate::processes::Process;

/// A picture that has come out.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    /// When.
    pub at: Instant,
    /// Its time in the stream, in milliseconds.
    pub timestamp: u32,
    /// Whether it is a keyframe.
    pub key: bool,
}

/// `xp2p view` in a namespace.
#[derive(Debug)]
pub struct Player {
    process: Process,
    started: Instant,
    pictures: Arc<Mutex<Vec<Picture>>>,
    events: Vec<(Instant, Value)>,
}

/// Time between two pictures that came one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// How long nothing came.
    pub silence: Duration,
    /// How much of the stream was left out, in milliseconds.
    pub skipped: u32,
}

impl Player {
    /// Starts to watch.
    pub fn start(space: &Namespace, name: &str, dir: &Path, info: &str) -> Self {
        Self::start_with(space, name, dir, info, &[])
    }

    /// The same with more arguments.
    pub fn start_with(space: &Namespace, name: &str, dir: &Path, info: &str, more: &[&str]) -> Self {
        let args = ["view", info, "--json", "--out", "-"];
        let mut command = command(space, &[&args[..], more].concat());
        command.stdin(Stdio::null());
        let pictures: Arc<Mutex<Vec<Picture>>> = Arc::default();
        let seen = pictures.clone();
        let started = Instant::now();
        let process = Process::start_reading(command, name, dir, move |out| watch(out, &seen));
        Self { process, started, pictures, events: Vec::new() }
    }

    /// Takes in what the program says for so long, or until it has ended.
    pub fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.process.error_within(left) {
                // Other lines are for people.
                Some(line) => {
                    if let Ok(event) = serde_json::from_str(&line) {
                        self.events.push((Instant::now(), event));
                    }
                }
                None => {
                    // It may have ended, and then there is nothing to wait for but the time.
                    std::thread::sleep(end.saturating_duration_since(Instant::now()));
                    return;
                }
            }
        }
    }

    /// Listens until `enough`, for at most `time`. Returns whether it was enough.
    pub fn listen_until(&mut self, time: Duration, mut enough: impl FnMut(&Self) -> bool) -> bool {
        let end = Instant::now() + time;
        while !enough(self) {
            if Instant::now() >= end {
                return false;
            }
            self.listen(Duration::from_millis(50));
        }
        true
    }

    /// All pictures that have come out.
    pub fn pictures(&self) -> Vec<Picture> {
        lock(&self.pictures).clone()
    }

    /// Time from the start of the program to the first keyframe.
    pub fn first_keyframe(&self) -> Option<Duration> {
        let at = lock(&self.pictures).iter().find(|p| p.key)?.at;
        Some(at - self.started)
    }

    /// All that the program has said, in order.
    pub fn events(&self) -> &[(Instant, Value)] {
        &self.events
    }

    /// When it said that data now goes by this kind of path, for the first time from `since` on.
    pub fn path_at(&self, link: &str, since: Instant) -> Option<Instant> {
        let is = |e: &Value| e["event"] == "path" && e["link"] == link;
        self.events.iter().find(|(at, e)| *at >= since && is(e)).map(|(at, _)| *at)
    }

    /// Time from the start of the program to the first direct path.
    pub fn first_direct(&self) -> Option<Duration> {
        self.path_at("direct", self.started).map(|at| at - self.started)
    }

    /// The kind of path that it named last.
    pub fn path(&self) -> Option<&str> {
        self.events.iter().rev().find(|(_, e)| e["event"] == "path").and_then(|(_, e)| e["link"].as_str())
    }

    /// The longest silence of pictures that ended after `since`, also that which lasts still, and what was left out most.
    pub fn gap(&self, since: Instant) -> Gap {
        let mut gap = Gap::default();
        let pictures = lock(&self.pictures);
        for pair in pictures.windows(2).filter(|pair| pair[1].at >= since) {
            gap.silence = gap.silence.max(pair[1].at - pair[0].at);
            gap.skipped = gap.skipped.max(pair[1].timestamp.saturating_sub(pair[0].timestamp));
        }
        if let Some(last) = pictures.last() {
            gap.silence = gap.silence.max(last.at.elapsed());
        }
        gap
    }

    /// Ends it. Returns its summary.
    pub fn finish(mut self) -> Value {
        interrupt(&self.process);
        self.process.wait(Duration::from_secs(10));
        // All that it has said is in the pipe by now, but perhaps not read.
        self.listen_until(Duration::from_secs(5), |p| {
            p.events.last().is_some_and(|(_, e)| e["event"] == "summary")
        });
        self.events.pop().map(|(_, e)| e).unwrap_or_default()
    }
}

fn lock(pictures: &Mutex<Vec<Picture>>) -> MutexGuard<'_, Vec<Picture>> {
    pictures.lock().unwrap_or_else(|e| e.into_inner())
}

/// Notes the pictures of an FLV stream as they come.
fn watch(mut out: ChildStdout, pictures: &Mutex<Vec<Picture>>) {
    let mut demuxer = Demuxer::new(Limits::default());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = match out.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(len) => len,
        };
        let at = Instant::now();
        demuxer.push(Bytes::copy_from_slice(&buffer[..len])).expect("the program writes FLV");
        while let Some(item) = demuxer.poll().expect("the program writes FLV") {
            if let Item::Tag(tag) = item
                && tag.kind == TagKind::Video
                && !tag.is_sequence_header()
            {
                lock(pictures).push(Picture { at, timestamp: tag.timestamp, key: tag.is_keyframe() });
            }
        }
    }
}
