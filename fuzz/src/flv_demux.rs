//! The FLV demuxer and the reader of tags: any bytes in any pieces.

use bytes::Bytes;
use xp2p_proto::flv::{
    Config, Demuxer, FlvError, GopCache, GopLimits, Item, Limits, Tag, TagReader, Timeline, TimelineConfig,
};
use xp2p_proto::voice::VoiceDecoder;

use crate::cut::alike;

/// Longest tag that is taken here, so that small inputs reach the limit.
const MAX_TAG: usize = 1500;

fn limits(strict: bool) -> Limits {
    Limits { strict, max_tag_size: MAX_TAG, max_buffered: 8192, max_skip: 2048 }
}

type Read = (Vec<Item>, Option<FlvError>, u64);

fn demux(strict: bool, pieces: &[Bytes]) -> Read {
    let mut demuxer = Demuxer::new(limits(strict));
    let mut items = Vec::new();
    let end = (|| {
        for piece in pieces {
            demuxer.push(piece.clone())?;
            while let Some(item) = demuxer.poll()? {
                items.push(item);
            }
            assert!(demuxer.buffered() <= limits(strict).max_buffered);
        }
        demuxer.finish()?;
        while let Some(item) = demuxer.poll()? {
            items.push(item);
        }
        Ok(())
    })();
    (items, end.err(), demuxer.skipped())
}

fn tags(pieces: &[Bytes]) -> (Vec<Tag>, Option<FlvError>) {
    let mut reader = TagReader::new(limits(true));
    let mut tags = Vec::new();
    let end = (|| {
        for piece in pieces {
            reader.push(piece.clone())?;
            while let Some(tag) = reader.poll()? {
                tags.push(tag);
            }
        }
        reader.finish()
    })();
    (tags, end.err())
}

/// What is done with tags of a stranger.
fn use_tags(tags: impl Iterator<Item = Tag>) {
    let limits = GopLimits { max_bytes: 4096, max_tags: 16, audio_window: 100 };
    let mut cache = GopCache::new(limits);
    let mut timeline = Timeline::new(TimelineConfig::default());
    let mut config = Config::default();
    for tag in tags {
        assert!(tag.body.len() <= MAX_TAG);
        let _ = (tag.video_head(), tag.audio_head(), tag.is_keyframe(), tag.is_metadata());
        let _ = VoiceDecoder::default().decode(&tag);
        config.update(&tag);
        cache.push(&tag);
        assert!(cache.bytes() <= limits.max_bytes && cache.gop().len() <= limits.max_tags);
        timeline.apply(tag);
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let strict = alike(data, |pieces| demux(true, pieces));
    assert_eq!(strict.2, 0, "nothing is skipped in silence");
    let (items, end, skipped) = alike(data, |pieces| demux(false, pieces));
    assert!(skipped <= data.len() as u64);
    if strict.1.is_none() {
        assert_eq!((&strict.0, end), (&items, None), "what is right is read alike");
    }
    let (found, _) = alike(data, tags);
    use_tags(
        items.into_iter().filter_map(|i| if let Item::Tag(tag) = i { Some(tag) } else { None }).chain(found),
    );
}
