//! What is asked of the camera besides the live picture, and what must come of it: every command ends once, and a file comes in order,
//! each byte once, with the camera's digest.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use xp2p_proto::request::{Action, Command, Download, Params};
use xp2p_proto::viewer::{CommandKey, Resume, ServiceId, StreamKey, ViewerEvent};

use super::dice::Dice;
use crate::world::World;

const FILE: &str = "sweep.mp4";
/// Most of each at a time: a viewer refuses more than it has room for.
const MOST: usize = 4;
/// For what four files of 2 MB take on the slowest line beside the live picture, several times.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
struct Fetched {
    bytes: usize,
    /// `Ok`: whole.
    end: Option<Result<(), String>>,
}

/// What was asked for.
pub(super) struct Load {
    service: ServiceId,
    file: Bytes,
    downloads: BTreeMap<StreamKey, Fetched>,
    commands: BTreeMap<CommandKey, usize>,
    /// Events that were looked at.
    seen: usize,
}

impl Load {
    pub(super) fn new(world: &mut World, service: ServiceId, dice: &mut Dice) -> Self {
        let mut file = vec![0; 1 + dice.below(2_000_000) as usize];
        dice.fill(&mut file);
        let file = Bytes::from(file);
        world.app.files.insert(FILE.to_owned(), file.clone());
        Self { service, file, downloads: BTreeMap::new(), commands: BTreeMap::new(), seen: 0 }
    }

    /// Asks for something, or for nothing.
    pub(super) fn ask(&mut self, world: &mut World, dice: &mut Dice) {
        match dice.below(3) {
            0 if self.downloads.values().filter(|f| f.end.is_none()).count() < MOST => self.fetch(world),
            1 if self.commands.values().filter(|ends| **ends == 0).count() < MOST => self.command(world),
            _ => {}
        }
    }

    fn fetch(&mut self, world: &mut World) {
        let (service, request) =
            (self.service, Download { channel: 0, file_name: FILE.to_owned(), offset: 0 });
        let key =
            world.sim.with(world.viewer, |v, now| v.start_download(now, service, request, Resume::default()));
        self.downloads.insert(key.expect("room for a download"), Fetched::default());
    }

    fn command(&mut self, world: &mut World) {
        let (service, action) = (self.service, Action::UserDefine);
        let command = Command { action, channel: 0, cmd: "sweep".to_owned(), rest: Params::default() };
        let key = world.sim.with(world.viewer, |v, now| v.send_command(now, service, command, None));
        self.commands.insert(key.expect("room for a command"), 0);
    }

    /// Takes in what has come.
    pub(super) fn follow(&mut self, world: &mut World) {
        let mut stored = Vec::new();
        for (at, event) in world.events.iter().skip(self.seen) {
            match event {
                ViewerEvent::CommandDone { command, .. } => {
                    *self.commands.get_mut(command).expect("a command that was sent") += 1;
                }
                ViewerEvent::DownloadData { stream, offset, data } => {
                    let fetched = self.downloads.get_mut(stream).expect("a download that was begun");
                    assert!(fetched.end.is_none(), "at {at:?}: bytes after the end");
                    assert_eq!(*offset, fetched.bytes as u64, "at {at:?}: bytes lost or doubled");
                    let place = fetched.bytes..fetched.bytes + data.len();
                    assert_eq!(
                        self.file.get(place),
                        Some(data.as_ref()),
                        "at {at:?}: bytes of no file of ours"
                    );
                    fetched.bytes += data.len();
                    stored.push((*stream, data.len()));
                }
                ViewerEvent::Downloaded { stream, size, digest } => {
                    let fetched = self.downloads.get_mut(stream).expect("a download that was begun");
                    assert_eq!(
                        (*size, fetched.bytes),
                        (self.file.len() as u64, self.file.len()),
                        "at {at:?}"
                    );
                    assert_eq!(digest, blake3::hash(&self.file).as_bytes(), "at {at:?}");
                    assert_eq!(fetched.end.replace(Ok(())), None, "at {at:?}: two ends");
                }
                ViewerEvent::Close { stream, reason } => {
                    if let Some(fetched) = self.downloads.get_mut(stream) {
                        let before = fetched.end.replace(Err(reason.clone()));
                        assert_eq!(before, None, "at {at:?}: two ends");
                    }
                }
                _ => {}
            }
        }
        self.seen = world.events.len();
        for (stream, bytes) in stored {
            world.sim.with(world.viewer, |v, now| v.release(now, stream, bytes));
        }
    }

    /// When all is quiet: everything has ended or ends, and works.
    pub(super) fn settle(&mut self, world: &mut World) {
        self.follow(world);
        assert!(
            self.commands.values().all(|ends| *ends == 1),
            "commands and their ends: {:?}",
            self.commands
        );
        self.wait(world);
        assert!(self.downloads.values().all(|f| f.end.is_some()), "downloads: {:?}", self.downloads);
        self.fetch(world);
        self.wait(world);
        // The keys of one service are in the order of its requests.
        let last = self.downloads.values().next_back().and_then(|f| f.end.as_ref());
        assert_eq!(last, Some(&Ok(())), "a download in peace: {:?}", self.downloads);
    }

    fn wait(&mut self, world: &mut World) {
        let end = world.sim.elapsed() + PATIENCE;
        while world.sim.elapsed() < end && self.downloads.values().any(|f| f.end.is_none()) {
            world.run(Duration::from_millis(200));
            self.follow(world);
        }
    }
}
