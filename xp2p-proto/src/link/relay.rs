//! The peers that are reached through a server: relay flows and the virtual addresses that stand for them.
//!
//! To QUIC a relayed peer is an address of `100::/64`. Behind it stand one or more *legs*, each a server address
//! and, once the server has answered, the flow id that names the flow there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::ConnId;
use super::addr::virtual_addr;
use crate::keys::Ticket;
use crate::wire::{FlowId, forward_header, open_header};

/// Most server addresses that are tried for one peer.
pub(super) const MAX_LEGS: usize = 6;
/// Most connections of one flow.
const MAX_OWNERS: usize = 4;

#[derive(Debug)]
struct Leg {
    server: SocketAddr,
    flow: Option<FlowId>,
}

#[derive(Debug)]
struct Flow {
    /// The ticket to open with; `None` for flows that a viewer opened towards us.
    ticket: Option<Ticket>,
    legs: Vec<Leg>,
    /// The leg that the peer's last packet came by. Until there is one, packets go out on all legs: the peer
    /// chooses by answering on one.
    current: Option<usize>,
    /// The connections that use it: usually one, for a moment two when one replaces the other.
    owners: Vec<ConnId>,
    last_used: Instant,
}

/// Where to send a packet for a virtual address, and what to put in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) server: SocketAddr,
    pub(super) header: Header,
}

/// A frame header of either length, without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    Open([u8; 17]),
    Forward([u8; 9]),
}

impl Header {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Open(bytes) => bytes,
            Self::Forward(bytes) => bytes,
        }
    }
}

/// All relay flows of one link.
#[derive(Debug)]
pub(super) struct RelayTable {
    flows: BTreeMap<u64, Flow>,
    by_leg: BTreeMap<(SocketAddr, FlowId), u64>,
    next_index: u64,
    limit: usize,
}

impl RelayTable {
    pub(super) fn new(limit: usize) -> Self {
        Self { flows: BTreeMap::new(), by_leg: BTreeMap::new(), next_index: 1, limit }
    }

    /// Starts a flow to the holder of `ticket` over any of `servers`. `None`: too many flows, or no server.
    pub(super) fn open(
        &mut self,
        now: Instant,
        ticket: Ticket,
        servers: &[SocketAddr],
    ) -> Option<SocketAddr> {
        if servers.is_empty() || self.flows.len() >= self.limit {
            return None;
        }
        let legs = servers.iter().take(MAX_LEGS).map(|&server| Leg { server, flow: None }).collect();
        Some(self.insert(Flow {
            ticket: Some(ticket),
            legs,
            current: None,
            owners: Vec::new(),
            last_used: now,
        }))
    }

    fn insert(&mut self, flow: Flow) -> SocketAddr {
        let index = self.next_index;
        self.next_index += 1;
        self.flows.insert(index, flow);
        virtual_addr(index)
    }

    /// A forwarded packet came from `server`. Returns the virtual address it belongs to. An unknown flow is taken
    /// in only if `accept` says that this server may bring us new peers.
    pub(super) fn received(
        &mut self,
        now: Instant,
        server: SocketAddr,
        id: FlowId,
        accept: bool,
    ) -> Option<SocketAddr> {
        if let Some(&index) = self.by_leg.get(&(server, id)) {
            let flow = self.flows.get_mut(&index)?;
            flow.last_used = now;
            flow.current = flow.legs.iter().position(|leg| leg.server == server && leg.flow == Some(id));
            return Some(virtual_addr(index));
        }
        if !accept {
            return None;
        }
        if self.flows.len() >= self.limit {
            self.evict_unowned()?;
        }
        let addr = self.insert(Flow {
            ticket: None,
            legs: vec![Leg { server, flow: Some(id) }],
            current: Some(0),
            owners: Vec::new(),
            last_used: now,
        });
        self.by_leg.insert((server, id), self.next_index - 1);
        Some(addr)
    }

    /// Makes room by forgetting the flow without a connection that was silent longest. `None`: every flow has one.
    fn evict_unowned(&mut self) -> Option<()> {
        let (&index, _) =
            self.flows.iter().filter(|(_, f)| f.owners.is_empty()).min_by_key(|(_, f)| f.last_used)?;
        self.remove(index);
        Some(())
    }

    /// The server has opened `ticket` for us as flow `id`. Returns the flow's connection, if the answer fits.
    pub(super) fn opened(
        &mut self,
        server: SocketAddr,
        ticket: Ticket,
        id: FlowId,
    ) -> Option<Option<ConnId>> {
        // The newest first: it is the one that waits for this.
        let (&index, flow) = self
            .flows
            .iter_mut()
            .rev()
            .find(|(_, f)| f.ticket == Some(ticket) && f.legs.iter().any(|l| l.server == server))?;
        let leg = flow.legs.iter_mut().find(|l| l.server == server)?;
        if let Some(old) = leg.flow.replace(id)
            && self.by_leg.get(&(server, old)) == Some(&index)
        {
            self.by_leg.remove(&(server, old));
        }
        self.by_leg.insert((server, id), index);
        Some(flow.owners.last().copied())
    }

    /// The server refuses `ticket`. Returns the flow's connection if no other leg is left that could still work.
    pub(super) fn refused(&self, server: SocketAddr, ticket: Ticket) -> Option<ConnId> {
        let flow = self
            .flows
            .values()
            .find(|f| f.ticket == Some(ticket) && f.legs.iter().any(|l| l.server == server))?;
        // A leg that is open already is not harmed by a late or forged refusal.
        if flow.legs.iter().any(|l| l.flow.is_some()) { None } else { flow.owners.last().copied() }
    }

    /// The server does not know flow `id` (any more). An outgoing flow opens anew with its next packet, an
    /// incoming one waits for its viewer to do so. Returns whether we knew it.
    pub(super) fn unknown(&mut self, server: SocketAddr, id: FlowId) -> bool {
        let Some(index) = self.by_leg.remove(&(server, id)) else { return false };
        let Some(flow) = self.flows.get_mut(&index) else { return false };
        for leg in flow.legs.iter_mut().filter(|l| l.server == server) {
            leg.flow = None;
        }
        if flow.ticket.is_none() {
            flow.legs.retain(|l| l.flow.is_some());
            flow.current = (!flow.legs.is_empty()).then_some(0);
        }
        true
    }

    /// Whether flow `id` at `server` is one of ours.
    pub(super) fn knows(&self, server: SocketAddr, id: FlowId) -> bool {
        self.by_leg.contains_key(&(server, id))
    }

    /// Notes that `conn` talks over flow `index`.
    pub(super) fn set_owner(&mut self, index: u64, conn: ConnId) {
        if let Some(flow) = self.flows.get_mut(&index) {
            if flow.owners.len() >= MAX_OWNERS && !flow.owners.contains(&conn) {
                flow.owners.remove(0);
            }
            if !flow.owners.contains(&conn) {
                flow.owners.push(conn);
            }
        }
    }

    /// Whether the first server of flow `index` is on this very machine.
    pub(super) fn is_loopback(&self, index: u64) -> bool {
        self.flows
            .get(&index)
            .is_some_and(|f| f.legs.first().is_some_and(|l| l.server.ip().to_canonical().is_loopback()))
    }

    /// The server that flow `index` goes through at present.
    pub(super) fn server(&self, index: u64) -> Option<SocketAddr> {
        let flow = self.flows.get(&index)?;
        flow.current.and_then(|i| flow.legs.get(i)).or(flow.legs.first()).map(|leg| leg.server)
    }

    /// Whether packets of a connection go to `server` at present.
    pub(super) fn uses(&self, server: SocketAddr) -> bool {
        self.flows.values().filter(|f| !f.owners.is_empty()).any(|flow| {
            match flow.current.and_then(|i| flow.legs.get(i)) {
                Some(leg) => leg.server == server,
                None => flow.legs.iter().any(|leg| leg.server == server),
            }
        })
    }

    /// Where a packet of `conn` for flow `index` goes. More than one hop only until the peer has answered; none if
    /// the flow is not that connection's, or waits to be opened again by the other side.
    pub(super) fn hops(&mut self, now: Instant, index: u64, conn: ConnId, out: &mut Vec<Hop>) {
        out.clear();
        let Some(flow) = self.flows.get_mut(&index) else { return };
        // A peer that names a virtual address as its own gets nobody else's flow by it.
        if !flow.owners.contains(&conn) {
            return;
        }
        flow.last_used = now;
        let ticket = flow.ticket;
        let hop = |leg: &Leg| match (leg.flow, ticket) {
            (Some(id), _) => Some(Hop { server: leg.server, header: Header::Forward(forward_header(id)) }),
            (None, Some(t)) => Some(Hop { server: leg.server, header: Header::Open(open_header(&t)) }),
            (None, None) => None,
        };
        match flow.current.and_then(|i| flow.legs.get(i)) {
            Some(leg) => out.extend(hop(leg)),
            None => out.extend(flow.legs.iter().filter_map(hop)),
        }
    }

    /// Where an answer that belongs to no connection goes: back by the leg that the question came by.
    pub(super) fn answer_hop(&self, index: u64) -> Option<Hop> {
        let flow = self.flows.get(&index)?;
        let leg = flow.current.and_then(|i| flow.legs.get(i))?;
        let id = leg.flow?;
        Some(Hop { server: leg.server, header: Header::Forward(forward_header(id)) })
    }

    /// Forgets all flows of a connection that has ended.
    pub(super) fn remove_owned(&mut self, conn: ConnId) {
        let mut gone = Vec::new();
        for (&index, flow) in &mut self.flows {
            if flow.owners.contains(&conn) {
                flow.owners.retain(|owner| *owner != conn);
                if flow.owners.is_empty() {
                    gone.push(index);
                }
            }
        }
        gone.into_iter().for_each(|index| self.remove(index));
    }

    fn remove(&mut self, index: u64) {
        if let Some(flow) = self.flows.remove(&index) {
            for leg in flow.legs {
                if let Some(id) = leg.flow
                    && self.by_leg.get(&(leg.server, id)) == Some(&index)
                {
                    self.by_leg.remove(&(leg.server, id));
                }
            }
        }
    }
}
