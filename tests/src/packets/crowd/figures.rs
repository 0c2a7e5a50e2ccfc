//! What is measured.

use super::life::Event;
use super::viewer::is_excluded;
use super::{Crowd, Model};
use crate::sim::{AnyHost, DropReason, Sim};
use crate::swarm::measure::{Shape, Startup};
use crate::swarm::queue::{MS, SECOND};

/// Bytes of IP and UDP around a datagram.
const IP_UDP: u64 = 28;

/// Bytes on the wire that a host has sent so far.
fn wire(sim: &Sim, host: impl Into<AnyHost>) -> u64 {
    let sent = sim.traffic(host).sent;
    sent.bytes + sent.packets * IP_UDP
}

/// What pieces of so many bytes cannot do without.
fn carrying(model: &Model, bytes: u64) -> u64 {
    bytes + bytes * model.packet_overhead / model.packet
}

impl Crowd {
    /// Counts what a viewer has done since the last time.
    pub(super) fn account(&mut self, i: u32) {
        let steady = self.now >= self.plan.steady;
        let viewer = &mut self.viewers[i as usize];
        let stats = self.sim.with(viewer.host, |peer, _| peer.stats());
        let (honest, counts) = (viewer.honest(), viewer.counts());
        let (new, old) = (stats.swarm, viewer.mark.swarm);
        let present = &mut self.measure.present;
        let p2p = new.p2p_bytes - old.p2p_bytes;
        let useful =
            new.played_p2p_bytes + new.played_origin_bytes - (old.played_p2p_bytes + old.played_origin_bytes);
        present.useful_bytes_all += useful;
        present.useful_bytes += if counts { useful } else { 0 };
        if honest {
            present.p2p_bytes += p2p;
            present.duplicate_bytes += new.duplicate_bytes - old.duplicate_bytes;
            present.corrupt_bytes += new.corrupt_bytes - old.corrupt_bytes;
            present.viewer_ms += (self.now - viewer.marked) / MS;
        }
        let sent = wire(&self.sim, viewer.host);
        // Pieces are counted where they arrive, the rest where it leaves: over all viewers that is the same.
        self.wire_balance += (sent - viewer.wire) as i64 - carrying(&self.config.model, p2p) as i64;
        viewer.wire = sent;
        viewer.marked = self.now;
        let mut mark = old;
        viewer.mark = stats;
        self.measure.account(&new, &mut mark, steady, honest);
        if is_excluded(&stats) && !viewer.excluded && viewer.alive {
            self.note_reason(i);
        }
    }

    /// A viewer is about to go, or the run to end.
    pub(super) fn note_end(&mut self, i: u32) {
        let viewer = &self.viewers[i as usize];
        let stats = viewer.mark;
        self.network.add_stats(&stats);
        self.network.queue_drops += self.sim.traffic(viewer.host).dropped(DropReason::Queue);
        self.network.losses += self.sim.traffic(viewer.host).dropped(DropReason::Loss);
        self.network.rearms += self.sim.rearms(viewer.host);
        if viewer.honest() {
            let took = viewer.started.map(|at| at - viewer.joined);
            let stayed = self.now - viewer.joined;
            self.measure.startups.push(Startup { joined: viewer.joined, took, stayed });
            self.stages.push(viewer.stages);
        }
    }

    pub(super) fn end_second(&mut self, second: u32) {
        for place in 0..self.alive.len() {
            self.account(self.alive[place]);
        }
        let sent = wire(&self.sim, self.server);
        self.wire_balance += (sent - self.server_wire) as i64;
        self.server_wire = sent;
        let control = self.wire_balance.max(0);
        self.wire_balance -= control;
        self.measure.present.control_bytes = control as u64;
        let viewers = self.alive.iter().filter(|i| self.viewers[**i as usize].honest()).count();
        self.measure.present.viewers = viewers as u32;
        self.measure.present.members = self.alive.len() as u32;
        self.measure.end_second(self.now);
        if second.is_multiple_of(5) {
            self.note_shape(u64::from(second));
        }
        self.at(self.now + SECOND, Event::Second(second + 1));
    }

    /// The run is over.
    pub(super) fn end(&mut self) {
        for i in self.alive.clone() {
            self.account(i);
            self.note_end(i);
        }
        self.network.set_stages(&self.stages);
        let hosts = self.viewers.iter().map(|v| self.sim.traffic(v.host).sent);
        for sent in hosts.chain([self.sim.traffic(self.server).sent]) {
            self.network.packets += sent.packets;
            self.network.wire_bytes += sent.bytes + sent.packets * IP_UDP;
        }
        let server = self.sim.machine(self.server).stats();
        self.network.relayed_bytes = server.relayed_bytes;
        self.network.filled_bytes = server.filled_bytes;
        self.network.rearms += self.sim.rearms(self.server);
    }

    fn note_shape(&mut self, second: u64) {
        let mut shape = Shape { second, ..Shape::default() };
        let mut backlogs = Vec::new();
        let now = self.sim.now();
        for i in &self.alive {
            let viewer = &self.viewers[*i as usize];
            if viewer.honest() {
                shape.uplink += viewer.traits.uplink as f64;
            }
            if !viewer.honest() || viewer.started.is_none() {
                continue;
            }
            shape.add(&self.sim.machine(viewer.host).snapshot(now));
            backlogs.push(self.sim.up_backlog(viewer.host).as_secs_f64() * 1000.0);
        }
        shape.finish(backlogs);
        shape.uplink /= (self.alive.len().max(1) as u64 * self.config.model.rate) as f64;
        self.measure.shapes.push(shape);
    }
}
