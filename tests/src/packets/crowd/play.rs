//! What must hold of everything that comes out at a player.

use xp2p_proto::flv::{Tag, TagKind};

use crate::media::number_of;
use crate::swarm::queue::{MS, Nanos};

/// Watches the pictures of one player.
#[derive(Debug, Default)]
pub(super) struct Play {
    /// Number of the last picture, and when it came out.
    last: Option<(u32, Nanos)>,
}

/// What the player has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// It is the first picture of all.
    pub(super) first: bool,
    /// How far behind the origin it is.
    pub(super) latency: Nanos,
    /// Playing stood still for more than 200 ms before it.
    pub(super) gap: bool,
}

impl Play {
    /// Checks the next tag that comes out at `at`. Pictures are `frame` apart.
    pub(super) fn take(&mut self, at: Nanos, tag: &Tag, frame: Nanos) -> Result<Option<Seen>, String> {
        if tag.kind != TagKind::Video || tag.is_sequence_header() {
            return Ok(None);
        }
        let number = number_of(tag).ok_or("a harmed tag is played")?;
        let made = u64::from(number) * frame;
        if at < made {
            return Err(format!("picture {number} is played before it was made"));
        }
        let mut gap = false;
        match self.last {
            None if !tag.is_keyframe() => return Err(format!("playing begins with picture {number}")),
            Some((last, _)) if number <= last => {
                return Err(format!("picture {number} is played after {last}"));
            }
            Some((last, _)) if number != last + 1 && !tag.is_keyframe() => {
                return Err(format!("picture {number} is played after {last}, and is no keyframe"));
            }
            Some((last, before)) => {
                // Slow playing takes 5 % longer, a look at the clock up to 50 ms.
                let due = if number == last + 1 { frame * 100 / 95 } else { 0 };
                // A piece comes out as a whole: the pictures of 120 ms at once.
                gap = (at - before).saturating_sub(due) > 320 * MS;
            }
            None => {}
        }
        let first = self.last.is_none();
        self.last = Some((number, at));
        Ok(Some(Seen { first, latency: at - made, gap }))
    }
}
