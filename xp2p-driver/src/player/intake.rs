//! FLV tags on their way into a hub.

use std::sync::Arc;

use xp2p_proto::flv::{Config, FileHeader, Tag, TagKind};

use super::hub::Hub;

/// Tells a hub apart what decoders need and what they show. The hub sends the former by itself, to each receiver when it
/// needs it.
#[derive(Debug)]
pub(crate) struct Intake {
    hub: Hub,
    config: Config,
    /// Whether a picture or sound has come. Before it the configuration may still be incomplete.
    begun: bool,
}

impl Intake {
    pub(crate) fn new(hub: Hub) -> Self {
        Self { hub, config: Config::default(), begun: false }
    }

    /// A file header: it may announce tracks that have not come yet.
    pub(crate) fn header(&mut self, header: FileHeader) {
        self.config.header.has_audio |= header.has_audio;
        self.config.header.has_video |= header.has_video;
    }

    /// Whether there are pictures, as far as is known.
    pub(crate) fn has_video(&self) -> bool {
        self.config.header.has_video
    }

    /// The next tag.
    pub(crate) fn tag(&mut self, tag: &Tag) {
        let changed = self.config.update(tag);
        let sequence = tag.is_sequence_header();
        let first = !self.begun && !sequence && tag.kind != TagKind::Script;
        if first || (changed && self.begun) {
            self.begun = true;
            self.hub.configure(&Arc::new(self.config.clone()));
        }
        // That of side tracks the hub does not know.
        let known = || self.config.tags().any(|t| t.body == tag.body);
        if !(tag.is_metadata() || (sequence && known())) {
            self.hub.push(tag);
        }
    }
}
