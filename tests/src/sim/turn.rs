//! The turn of a machine, and the contract that it has to keep in it.

use super::host::MAX_EVENTS;
use super::time::MILLISECOND;
use super::world::Sim;

impl Sim {
    /// Calls `handle_timeout` and stops a machine that keeps waking itself.
    pub(crate) fn fire(&mut self, index: u32) {
        let millisecond = self.clock.now() / MILLISECOND;
        let limit = self.turn_limit;
        let now = self.clock.instant();
        let host = &mut self.hosts[index as usize];
        if host.turns_at != millisecond {
            host.turns_at = millisecond;
            host.turns = 0;
        }
        host.turns += 1;
        assert!(
            host.turns <= limit,
            "busy timer: host `{}` asked to be woken more than {limit} times in one millisecond; its \
             `poll_timeout` is not later than the `now` of its last turn",
            host.name
        );
        if let Some(guest) = &mut host.guest {
            guest.handle_timeout(now);
        }
    }

    /// Finishes a turn: sends and collects until there is nothing left, fires a timer that is due, and notes
    /// when the next one is.
    pub(crate) fn settle(&mut self, index: u32, mut fired: bool) {
        loop {
            self.drain(index);
            let guest = self.hosts[index as usize].guest.as_ref();
            let Some(due) = guest.and_then(|guest| guest.poll_timeout()) else {
                self.timers.set(index, None);
                return;
            };
            let due = self.clock.to_nanos(due);
            if due > self.clock.now() {
                self.timers.set(index, Some(due));
                return;
            }
            self.hosts[index as usize].rearms += u64::from(fired);
            self.fire(index);
            fired = true;
        }
    }

    fn drain(&mut self, index: u32) {
        let Some(mut guest) = self.hosts[index as usize].guest.take() else { return };
        let at = self.clock.now();
        let mut scratch = std::mem::take(&mut self.scratch);
        loop {
            self.drain_transmits(index, guest.as_mut(), &mut scratch);
            self.drain_streams(index, guest.as_mut());
            let (new, waiting) = guest.collect_events(at);
            assert!(
                waiting <= MAX_EVENTS,
                "host `{}` has more than {MAX_EVENTS} events waiting; take them with `Sim::events`",
                self.hosts[index as usize].name
            );
            // Telling an event can free room for more to send, never the other way round.
            if new == 0 {
                break;
            }
        }
        self.scratch = scratch;
        self.hosts[index as usize].guest = Some(guest);
    }
}
