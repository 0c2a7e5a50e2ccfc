//! The world: members, tracker and origin, and what happens between them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xp2p_proto::swarm::constants::LANES;
use xp2p_proto::swarm::{
    Action, Batch, FromTracker, Member, Message, NatClass, PeerId, PieceHead, PieceNo, Stats, ToTracker,
    Tracker, TrackerConfig, Trust,
};

use super::measure::{Measure, Seen, Startup};
use super::model::{Config, Model, Plan, Scenario, millis};
use super::net::{Connection, Downlink, Uplink, Waiting, travel};
use super::population::{Character, Population, Traits};
use super::queue::{MS, Nanos, Queue, SECOND, Slab};
use super::random::Random;
use super::report::Outcome;
use super::stream::{SimPayload, Stream};
use super::watch::{LimitWatch, LoopWatch, NOBODY, PlayWatch};
use super::wire;

/// A source that signs itself gives a new reader so many of its latest batches: the longest group of pictures.
const RECENT_BATCHES: u32 = 12;

/// What happens, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A member's time has come.
    Timer(u32),
    /// Something under way arrives.
    Deliver(u32),
    /// A piece has left a member's uplink.
    Sent(u32),
    /// The next piece comes from the origin, if the connection is still this one.
    Origin(u32, u32),
    /// The origin could not be opened.
    OriginRefused(u32, u32),
    /// The signer gives a batch away.
    Batch(u32),
    TrackerTimer,
    /// An attempt to connect has come to its end.
    Connected(u32),
    ConnectFailed(u32),
    Join,
    Leave(u32),
    /// The transport notices that a member is gone.
    Gone(u32),
    TrackerLost(u32),
    TrackerBack(u32),
    Lie(u32),
    /// The scenario's event of this number.
    Scenario(u32),
    Second(u32),
}

/// What is under way.
#[derive(Debug)]
enum Flight {
    Message {
        connection: u32,
        side: usize,
        message: Message,
    },
    Piece {
        connection: u32,
        side: usize,
        head: PieceHead,
        payload: SimPayload,
        queued: bool,
    },
    Close {
        connection: u32,
        side: usize,
    },
    OriginPiece {
        to: u32,
        epoch: u32,
        no: u32,
    },
    /// A batch that comes with the origin's stream, which signs itself.
    OriginBatch {
        to: u32,
        epoch: u32,
        number: u32,
    },
    /// A piece that the server, which signs the stream, has kept.
    Filled {
        to: u32,
        no: u32,
    },
    ToTracker {
        from: u32,
        message: ToTracker,
    },
    LeftTracker {
        from: u32,
    },
    FromTracker {
        to: u32,
        message: FromTracker,
    },
}

/// A viewer.
pub(crate) struct Peer {
    pub(crate) traits: Traits,
    pub(crate) member: Option<Box<Member<SimPayload>>>,
    pub(crate) joined: Nanos,
    /// When the member wants to be woken, and for when the earliest event stands.
    wake: Nanos,
    armed: Nanos,
    busy: u32,
    pub(crate) uplink: Uplink,
    downlink: Downlink,
    /// Connections by the number of the other end, ordered.
    neighbours: Vec<(u32, u32)>,
    connecting: Vec<(u32, u32)>,
    pub(crate) origin_open: bool,
    origin_epoch: u32,
    origin_next: u32,
    /// When the last message to the tracker and from it arrives.
    tracker_last: [Nanos; 2],
    tracked: bool,
    seen: Seen,
    play: PlayWatch,
    pub(crate) started: Option<Nanos>,
    limit: LimitWatch,
    /// What was accounted of its figures, and when.
    mark: Stats,
    marked: Nanos,
    parents: [u32; LANES],
    /// When the parent of each substream last pushed something new.
    pushed: [Nanos; LANES],
    excluded: bool,
}

impl Peer {
    pub(crate) fn honest(&self) -> bool {
        matches!(self.traits.character, Character::Honest | Character::Liar)
    }

    /// Whether its bytes count: those whom the tracker has excluded watch from the origin on their own account.
    pub(crate) fn counts(&self) -> bool {
        self.honest() || !self.excluded
    }
}

/// The world.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) plan: Plan,
    base: Instant,
    pub(crate) now: Nanos,
    pub(crate) queue: Queue<Event>,
    flights: Slab<Flight>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) alive: Vec<u32>,
    connections: Vec<Connection>,
    pub(crate) tracker: Tracker,
    tracker_wake: Nanos,
    tracker_armed: Nanos,
    /// The tracker cannot be reached until then.
    tracker_away: Nanos,
    origin_away: Nanos,
    pub(crate) stream: Stream,
    batches: Vec<(Nanos, Arc<Batch>)>,
    population: Population,
    pub(crate) random: Random,
    /// Luck of the network, apart so that it does not move the rest.
    luck: Random,
    pub(crate) measure: Measure,
    loops: LoopWatch,
    pub(crate) witness_lag: Nanos,
    pub(crate) witness_bytes: u64,
    pub(crate) anomalies: BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<String>,
    pub(crate) broken: u64,
    pub(crate) events: u64,
    pub(crate) depth_of_loops: u64,
    returned: Vec<(PeerId, PieceNo)>,
}

impl World {
    pub(crate) fn new(config: &Config) -> Self {
        let plan = config.plan();
        let model = &config.model;
        let mut random = Random::new(config.seed, 1);
        let drawn = random.range(model.witness_lag);
        let own = if config.source_signs() { 0 } else { millis(drawn) };
        let witness_lag = config.witness_lag.map_or(own, |ms| ms * MS);
        let away = plan.origin_away(config);
        let stream = Stream::new(model, plan.end, away, &mut Random::new(config.seed, 2));
        let batches = stream.batches(model, witness_lag, config.seed, plan.end);
        let base = Instant::now();
        let tracker = Tracker::new(TrackerConfig::new(random.seed(), Trust::Witness), base);
        let measure = Measure::new(super::scenario::windows(config, &plan));
        let population = Population::new(model, config.seed);
        let mut world = Self {
            config: config.clone(),
            plan,
            base,
            now: 0,
            queue: Queue::new(),
            flights: Slab::new(),
            peers: Vec::new(),
            alive: Vec::new(),
            connections: Vec::new(),
            tracker,
            tracker_wake: Nanos::MAX,
            tracker_armed: Nanos::MAX,
            tracker_away: 0,
            origin_away: 0,
            stream,
            batches,
            population,
            random,
            luck: Random::new(config.seed, 4),
            measure,
            loops: LoopWatch::default(),
            witness_lag,
            witness_bytes: 0,
            anomalies: BTreeMap::new(),
            violations: Vec::new(),
            broken: 0,
            events: 0,
            depth_of_loops: 0,
            returned: Vec::new(),
        };
        if let Some((at, _)) = world.batches.first() {
            world.queue.push(*at, Event::Batch(0));
        }
        world.queue.push(SECOND, Event::Second(1));
        world.settle_tracker();
        for (at, what) in super::scenario::agenda(config, &world.plan) {
            let event = what.map_or(Event::Join, Event::Scenario);
            world.queue.push(at, event);
        }
        world
    }

    /// Runs to the end. `progress` hears of every second.
    pub(crate) fn run(&mut self, mut progress: impl FnMut(u64)) {
        while let Some((at, event)) = self.queue.pop() {
            if at > self.plan.end {
                break;
            }
            self.now = at;
            self.events += 1;
            if let Event::Second(second) = event {
                progress(u64::from(second));
            }
            self.handle(event);
        }
        self.now = self.plan.end;
        for i in std::mem::take(&mut self.alive) {
            self.account(i);
            self.note_startup(i);
        }
    }

    /// What is to be reported.
    pub(crate) fn outcome(self) -> Outcome {
        Outcome {
            steady: self.plan.steady,
            measure: self.measure,
            witness_lag: self.witness_lag,
            witness_bytes: self.witness_bytes,
            members: self.peers.len(),
            circle_seconds: self.depth_of_loops,
            anomalies: self.anomalies,
            broken: self.broken,
            violations: self.violations,
            events: self.events,
            network: None,
            config: self.config,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Timer(i) => self.handle_timer(i),
            Event::Deliver(place) => {
                let flight = self.flights.take(place);
                self.deliver(flight);
            }
            Event::Sent(i) => self.handle_sent(i),
            Event::Origin(i, epoch) => self.handle_origin(i, epoch),
            Event::OriginRefused(i, epoch) => {
                let peer = &mut self.peers[i as usize];
                if peer.origin_open && peer.origin_epoch == epoch {
                    self.origin_ends(i);
                    self.with(i, |m, now| m.origin_closed(now));
                }
            }
            Event::Batch(number) => self.handle_batch(number),
            Event::TrackerTimer => self.handle_tracker_timer(),
            Event::Connected(connection) => self.handle_connected(connection),
            Event::ConnectFailed(connection) => self.handle_connect_failed(connection),
            Event::Join => self.join(),
            Event::Leave(i) => self.leave(i),
            Event::Gone(i) => self.handle_gone(i),
            Event::TrackerLost(i) => {
                if self.tracker_away > self.now && self.peers[i as usize].tracked {
                    self.peers[i as usize].tracked = false;
                    let (id, now) = (self.peers[i as usize].traits.id, self.instant());
                    self.tracker.lost(now, id);
                    self.settle_tracker();
                    self.with(i, |m, now| m.tracker_lost(now));
                }
            }
            Event::TrackerBack(i) => {
                if !self.peers[i as usize].tracked {
                    self.peers[i as usize].tracked = true;
                    self.with(i, |m, now| m.tracker_back(now));
                }
            }
            Event::Lie(i) => self.lie(i),
            Event::Scenario(_) => self.happen(),
            Event::Second(second) => self.handle_second(second),
        }
    }

    /// The scenario's event happens.
    fn happen(&mut self) {
        let now = self.now;
        match self.config.scenario {
            Scenario::Region => {
                let here = self.alive.iter().map(|i| (*i, self.peers[*i as usize].traits.region)).collect();
                let victims = super::scenario::region_victims(&self.config.model, here, &mut self.random);
                victims.into_iter().for_each(|i| self.crash(i, false));
            }
            Scenario::Pullers => {
                let mut victims = self.alive.clone();
                victims.retain(|i| self.peers[*i as usize].origin_open);
                victims.sort_unstable();
                victims.into_iter().for_each(|i| self.crash(i, true));
            }
            Scenario::Origin => self.origin_outage(now + self.config.model.origin_outage * MS),
            Scenario::Tracker => self.tracker_outage(now + self.config.model.tracker_outage * MS),
            Scenario::Calm | Scenario::Churn | Scenario::Flash | Scenario::Abuse | Scenario::Tight => {}
        }
    }

    fn model(&self) -> &Model {
        &self.config.model
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    fn nanos(&self, at: Instant) -> Nanos {
        at.saturating_duration_since(self.base).as_nanos() as Nanos
    }

    fn fly(&mut self, at: Nanos, flight: Flight) {
        let place = self.flights.insert(flight);
        self.queue.push(at, Event::Deliver(place));
    }

    pub(crate) fn steady(&self) -> bool {
        self.now >= self.plan.steady
    }

    fn odd(&mut self, what: &'static str) {
        *self.anomalies.entry(what).or_default() += 1;
    }

    fn violation(&mut self, text: &str) {
        let text = format!("seed {} at {:.3} s: {text}", self.config.seed, self.now as f64 / SECOND as f64);
        assert!(!self.config.strict, "{text}");
        self.broken += 1;
        if self.violations.len() < 20 {
            self.violations.push(text);
        }
    }

    // ----- Members.

    /// Lets a member take something in, and does what it wants then.
    fn with(&mut self, i: u32, input: impl FnOnce(&mut Member<SimPayload>, Instant)) {
        let Some(mut member) = self.peers[i as usize].member.take() else { return };
        let now = self.instant();
        input(&mut member, now);
        self.drain(i, &mut member, now);
        let wake = member.poll_timeout().map_or(Nanos::MAX, |at| self.nanos(at));
        let peer = &mut self.peers[i as usize];
        peer.member = Some(member);
        peer.wake = wake;
        if wake < peer.armed {
            peer.armed = wake.max(self.now);
            self.queue.push(peer.armed, Event::Timer(i));
        }
    }

    /// Returns whether the member wanted anything.
    fn drain(&mut self, i: u32, member: &mut Member<SimPayload>, now: Instant) -> bool {
        let mut any = false;
        loop {
            while let Some(action) = member.poll_action() {
                any = true;
                self.act(i, action);
            }
            if self.returned.is_empty() {
                break;
            }
            let mut returned = std::mem::take(&mut self.returned);
            for (to, no) in returned.drain(..) {
                member.piece_sent(now, to, no);
            }
            self.returned = returned;
        }
        while let Some(played) = member.poll_played() {
            any = true;
            let peer = &mut self.peers[i as usize];
            match peer.play.take(self.now, &self.stream, &played) {
                Ok(None) => {}
                Ok(Some(seen)) => {
                    if seen.first {
                        peer.started = Some(self.now);
                    }
                    if peer.honest() {
                        self.measure.latency.add(seen.latency);
                        self.measure.present.gaps += u32::from(seen.gap);
                    }
                }
                Err(text) => self.violation(&format!("member {i}: {text}")),
            }
        }
        any
    }

    fn handle_timer(&mut self, i: u32) {
        let now = self.now;
        let peer = &mut self.peers[i as usize];
        if peer.armed != now {
            return;
        }
        peer.armed = Nanos::MAX;
        if peer.wake > now {
            if peer.wake != Nanos::MAX && peer.member.is_some() {
                peer.armed = peer.wake;
                self.queue.push(peer.wake, Event::Timer(i));
            }
            return;
        }
        let Some(mut member) = peer.member.take() else { return };
        let instant = self.instant();
        member.handle_timeout(instant);
        let any = self.drain(i, &mut member, instant);
        let mut wake = member.poll_timeout().map_or(Nanos::MAX, |at| self.nanos(at));
        let mut idle = false;
        let peer = &mut self.peers[i as usize];
        peer.member = Some(member);
        if wake <= now && !any {
            peer.busy += 1;
            idle = peer.busy >= 2;
            if idle {
                wake = now + MS;
            }
        } else {
            peer.busy = 0;
        }
        peer.wake = wake;
        if wake < peer.armed {
            peer.armed = wake.max(now);
            self.queue.push(peer.armed, Event::Timer(i));
        }
        if idle {
            self.violation(&format!("member {i} wants to be woken at once and then does nothing"));
        }
    }

    fn act(&mut self, i: u32, action: Action<SimPayload>) {
        match action {
            Action::Send { to, message } => self.send(i, to.0 as u32, message),
            Action::SendPiece { to, head, payload } => self.send_piece(i, to, head, payload),
            Action::CancelPiece { to, no } => {
                if self.peers[i as usize].uplink.cancel(to.0 as u32, no).is_some() {
                    self.returned.push((to, no));
                }
            }
            Action::Tracker(message) => self.send_tracker(i, message),
            Action::Connect(candidate) => self.connect(i, candidate.peer.0 as u32),
            Action::Disconnect { peer } => self.disconnect(i, peer.0 as u32),
            Action::OpenOrigin => self.open_origin(i),
            Action::CloseOrigin => {
                if self.peers[i as usize].origin_open {
                    self.origin_ends(i);
                } else {
                    self.odd("closed an origin connection that was not open");
                }
            }
        }
    }

    fn connection(&self, i: u32, other: u32) -> Option<(u32, usize)> {
        let neighbours = &self.peers[i as usize].neighbours;
        let place = neighbours.binary_search_by_key(&other, |n| n.0).ok()?;
        let connection = neighbours[place].1;
        let side = usize::from(self.connections[connection as usize].ends[1] == i);
        Some((connection, side))
    }

    fn send(&mut self, i: u32, to: u32, message: Message) {
        let Some((number, side)) = self.connection(i, to) else {
            self.odd(match message {
                Message::Status(_) => "status to a stranger",
                Message::Cancel { .. } => "cancel to a stranger",
                Message::Unsubscribe { .. } => "unsubscribe to a stranger",
                _ => "message to a stranger",
            });
            return;
        };
        let connection = &mut self.connections[number as usize];
        match &message {
            Message::Subscribe { lane, .. } => {
                let bit = 1_u8.checked_shl(u32::from(*lane)).unwrap_or(0);
                let (again, asked) = (connection.fed[side] & bit != 0, connection.asked[side] & bit != 0);
                connection.asked[side] |= bit;
                if again {
                    self.violation(&format!("member {i} subscribes to {to} in substream {lane} twice"));
                } else if asked {
                    self.odd("subscribed again before the answer");
                }
            }
            Message::Unsubscribe { lane } => {
                let bit = 1_u8.checked_shl(u32::from(*lane)).unwrap_or(0);
                connection.asked[side] &= !bit;
                connection.fed[side] &= !bit;
                self.no_parent(i, to, *lane);
            }
            _ => {}
        }
        let bytes = self.model().on_wire(wire::message_len(&message));
        self.measure.present.control_bytes += bytes;
        if matches!(message, Message::Batch(_)) {
            self.measure.present.batch_bytes += bytes;
        }
        let left = self.peers[i as usize].uplink.message(self.now, bytes);
        let connection = &mut self.connections[number as usize];
        let one_way = connection.rtt.as_nanos() as Nanos / 2;
        let takes = travel(&self.config.model, one_way, self.config.model.packets(bytes), &mut self.luck);
        let at = (left + takes).max(connection.last[side]);
        connection.last[side] = at;
        self.fly(at, Flight::Message { connection: number, side, message });
    }

    fn no_parent(&mut self, i: u32, of: u32, lane: u8) {
        if let Some(parent) = self.peers[i as usize].parents.get_mut(usize::from(lane))
            && *parent == of
        {
            *parent = NOBODY;
        }
    }

    fn send_piece(&mut self, i: u32, to: PeerId, head: PieceHead, mut payload: SimPayload) {
        let other = to.0 as u32;
        let Some((connection, _)) = self.connection(i, other) else {
            self.odd("piece to a stranger");
            self.returned.push((to, head.no));
            return;
        };
        let now = self.now;
        let peer = &mut self.peers[i as usize];
        match peer.traits.character {
            Character::Freeloader => {
                self.returned.push((to, head.no));
                return;
            }
            Character::Poisoner if self.luck.chance(self.config.model.poison) => payload.genuine = false,
            _ => {}
        }
        let broken =
            peer.traits.limit.and_then(|limit| peer.limit.take(now, u64::from(payload.len), limit).err());
        peer.uplink.push(Waiting { to: other, connection, head, payload });
        if let Some(at) = peer.uplink.start(now, &self.config.model) {
            self.queue.push(at, Event::Sent(i));
        }
        if let Some(text) = broken {
            self.violation(&format!("member {i}: {text}"));
        }
    }

    fn handle_sent(&mut self, i: u32) {
        let now = self.now;
        let peer = &mut self.peers[i as usize];
        let Some(piece) = peer.uplink.sending.take() else { return };
        if peer.member.is_none() {
            peer.uplink.waiting.clear();
            return;
        }
        if let Some(at) = peer.uplink.start(now, &self.config.model) {
            self.queue.push(at, Event::Sent(i));
        }
        let connection = &self.connections[piece.connection as usize];
        let side = usize::from(connection.ends[1] == i);
        if connection.open[side] {
            let model = &self.config.model;
            let bytes = model.on_wire(u64::from(piece.payload.len));
            let one_way = connection.rtt.as_nanos() as Nanos / 2;
            let takes = travel(model, one_way, model.packets(bytes), &mut self.luck)
                + super::model::transmission(bytes, model.downlink);
            let (head, payload, connection) = (piece.head, piece.payload, piece.connection);
            self.fly(now + takes, Flight::Piece { connection, side, head, payload, queued: false });
        }
        let to = self.peers[piece.to as usize].traits.id;
        self.with(i, |m, now| m.piece_sent(now, to, piece.head.no));
    }

    fn deliver(&mut self, flight: Flight) {
        match flight {
            Flight::Message { connection, side, message } => {
                self.deliver_message(connection, side, message);
            }
            Flight::Piece { connection, side, head, payload, queued } => {
                self.deliver_piece(connection, side, head, payload, queued);
            }
            Flight::Close { connection, side } => self.deliver_close(connection, side),
            Flight::OriginPiece { to, epoch, no } => self.deliver_origin(to, epoch, no),
            Flight::OriginBatch { to, epoch, number } => {
                let peer = &self.peers[to as usize];
                if peer.origin_open && peer.origin_epoch == epoch {
                    let batch = self.batches[number as usize].1.clone();
                    self.with(to, |m, now| m.handle_batch(now, batch));
                }
            }
            Flight::Filled { to, no } => {
                let cut = self.stream.pieces[no as usize];
                self.with(to, |m, now| m.handle_filled_piece(now, cut.info.no, cut.payload()));
            }
            Flight::ToTracker { from, message } => {
                let peer = &self.peers[from as usize];
                if self.tracker_away <= self.now && peer.tracked {
                    let (id, region, now) = (peer.traits.id, u32::from(peer.traits.region), self.instant());
                    let rtt = matches!(message, ToTracker::Join { .. })
                        .then_some(Duration::from_nanos(2 * peer.traits.to_tracker));
                    self.tracker.handle(now, id, region, message);
                    if let Some(rtt) = rtt {
                        self.tracker.set_rtt(id, rtt);
                    }
                    self.settle_tracker();
                }
            }
            Flight::LeftTracker { from } => {
                let (id, now) = (self.peers[from as usize].traits.id, self.instant());
                self.tracker.lost(now, id);
                self.settle_tracker();
            }
            Flight::FromTracker { to, message } => {
                let peer = &mut self.peers[to as usize];
                if self.tracker_away > self.now || !peer.tracked || peer.member.is_none() {
                    return;
                }
                if message == FromTracker::Elect {
                    if peer.honest() {
                        self.measure.honest_elected += 1;
                    } else {
                        self.measure.others_elected += 1;
                    }
                }
                if message == FromTracker::Excluded && !peer.excluded {
                    if peer.honest() {
                        self.measure.honest_excluded += 1;
                    } else {
                        self.measure.others_excluded += 1;
                        if peer.origin_open {
                            self.measure.origin(self.now, false, true);
                            self.measure.origin_all += 1;
                        }
                    }
                    peer.excluded = true;
                }
                self.with(to, |m, now| m.handle_tracker(now, message));
            }
        }
    }

    fn deliver_message(&mut self, number: u32, side: usize, message: Message) {
        let connection = &mut self.connections[number as usize];
        let (from, to) = (connection.ends[side], connection.ends[1 - side]);
        let side = 1 - side;
        if !connection.open[side] || self.peers[to as usize].member.is_none() {
            return;
        }
        match &message {
            Message::Accept { lane, .. } => {
                let bit = 1_u8.checked_shl(u32::from(*lane)).unwrap_or(0);
                if connection.asked[side] & bit != 0 {
                    connection.asked[side] &= !bit;
                    connection.fed[side] |= bit;
                    if let Some(parent) = self.peers[to as usize].parents.get_mut(usize::from(*lane)) {
                        *parent = from;
                    }
                }
            }
            Message::Reject { lane } | Message::Evict { lane, .. } => {
                let bit = 1_u8.checked_shl(u32::from(*lane)).unwrap_or(0);
                connection.asked[side] &= !bit;
                connection.fed[side] &= !bit;
                self.no_parent(to, from, *lane);
            }
            _ => {}
        }
        let from = self.peers[from as usize].traits.id;
        self.with(to, |m, now| m.handle_message(now, from, message));
    }

    fn deliver_piece(
        &mut self,
        number: u32,
        side: usize,
        head: PieceHead,
        payload: SimPayload,
        queued: bool,
    ) {
        let connection = &self.connections[number as usize];
        let (from, to) = (connection.ends[side], connection.ends[1 - side]);
        let peer = &mut self.peers[to as usize];
        if !connection.open[1 - side] || peer.member.is_none() {
            return;
        }
        if !queued {
            let model = &self.config.model;
            let done = peer.downlink.arrive(self.now, model.on_wire(u64::from(payload.len)), model.downlink);
            if done > self.now {
                self.fly(done, Flight::Piece { connection: number, side, head, payload, queued: true });
                return;
            }
        }
        let (honest, counts) = (peer.honest(), peer.counts());
        let len = u64::from(payload.len);
        let new = payload.genuine && peer.seen.insert(head.no);
        if new && head.pushed {
            let lane = self.stream.pieces[head.no as usize].info.lane();
            if peer.parents[lane] == from {
                peer.pushed[lane] = self.now;
            }
        }
        let present = &mut self.measure.present;
        if new {
            present.useful_bytes_all += len;
            present.useful_bytes += if counts { len } else { 0 };
        }
        if honest {
            present.p2p_bytes += len;
            match (payload.genuine, new) {
                (false, _) => present.corrupt_bytes += len,
                (true, false) => present.duplicate_bytes += len,
                (true, true) => {}
            }
        }
        let from = self.peers[from as usize].traits.id;
        self.with(to, |m, now| m.handle_piece(now, from, head, payload));
    }

    // ----- Connections.

    fn connect(&mut self, i: u32, other: u32) {
        if self.connection(i, other).is_some() {
            self.odd("connects to a neighbour");
            return;
        }
        if other as usize >= self.peers.len() || other == i {
            self.violation(&format!("member {i} connects to itself or to nobody"));
            return;
        }
        let (a, b) = (&self.peers[i as usize], &self.peers[other as usize]);
        if a.connecting.iter().any(|c| c.0 == other) {
            return;
        }
        let place = |t: &Traits| (t.id.0 as u32, t.region);
        let rtt = self.population.rtt(&self.config.model, place(&a.traits), place(&b.traits));
        // Both learn of each other over the tracker, which those whom anyone reaches do not need.
        let relay = a.traits.to_tracker + b.traits.to_tracker;
        let relayed = self.tracker_away <= self.now || b.traits.nat == NatClass::Public;
        let reaches = a.traits.nat.reaches(b.traits.nat);
        let failure = self.random.chance(self.config.model.connect_failure);
        let takes = (rtt.as_nanos() as f64 * self.random.range(self.config.model.connect_rtts)) as Nanos;
        let timeout = self.config.model.connect_timeout * MS;
        let dead = b.member.is_none();
        let number = self.connections.len() as u32;
        self.connections.push(Connection {
            ends: [i, other],
            rtt,
            open: [false; 2],
            last: [0; 2],
            asked: [0; 2],
            fed: [0; 2],
        });
        self.peers[i as usize].connecting.push((other, number));
        self.peers[other as usize].connecting.push((i, number));
        if !reaches {
            self.odd("tries to connect where the networks do not allow it");
        }
        if reaches && relayed && !failure && !dead {
            self.queue.push(self.now + takes + relay, Event::Connected(number));
        } else {
            self.queue.push(self.now + timeout, Event::ConnectFailed(number));
        }
    }

    fn end_attempt(&mut self, number: u32) -> [u32; 2] {
        let ends = self.connections[number as usize].ends;
        for i in ends {
            self.peers[i as usize].connecting.retain(|c| c.1 != number);
        }
        ends
    }

    fn handle_connected(&mut self, number: u32) {
        let [a, b] = self.connections[number as usize].ends;
        if self.peers[a as usize].member.is_none() || self.peers[b as usize].member.is_none() {
            let at = self.now + self.config.model.connect_timeout * MS;
            self.queue.push(at, Event::ConnectFailed(number));
            return;
        }
        self.end_attempt(number);
        self.connections[number as usize].open = [true; 2];
        for (i, other) in [(a, b), (b, a)] {
            let neighbours = &mut self.peers[i as usize].neighbours;
            match neighbours.binary_search_by_key(&other, |n| n.0) {
                Ok(place) => neighbours[place].1 = number,
                Err(place) => neighbours.insert(place, (other, number)),
            }
        }
        let rtt = self.connections[number as usize].rtt;
        for (i, other) in [(b, a), (a, b)] {
            // The first may have hung up at once; the second hears of that later.
            let (id, nat) = {
                let traits = &self.peers[other as usize].traits;
                (traits.id, traits.nat)
            };
            self.with(i, |m, now| m.peer_connected(now, id, nat, rtt));
        }
    }

    fn handle_connect_failed(&mut self, number: u32) {
        let [a, b] = self.end_attempt(number);
        for (i, other) in [(a, b), (b, a)] {
            let id = self.peers[other as usize].traits.id;
            self.with(i, |m, now| m.connect_failed(now, id));
        }
    }

    /// One side forgets a connection, with what waits for it.
    fn close_side(&mut self, number: u32, side: usize) {
        let connection = &mut self.connections[number as usize];
        let (i, other) = (connection.ends[side], connection.ends[1 - side]);
        connection.open[side] = false;
        (connection.asked[side], connection.fed[side]) = (0, 0);
        let (id, peer) = (self.peers[other as usize].traits.id, &mut self.peers[i as usize]);
        peer.neighbours.retain(|n| n.1 != number);
        for parent in &mut peer.parents {
            if *parent == other {
                *parent = NOBODY;
            }
        }
        while let Some(piece) = peer.uplink.waiting.iter().find(|w| w.connection == number).copied() {
            peer.uplink.cancel(other, piece.head.no);
            self.returned.push((id, piece.head.no));
        }
    }

    fn disconnect(&mut self, i: u32, other: u32) {
        let Some((number, side)) = self.connection(i, other) else {
            self.odd("disconnects from a stranger");
            return;
        };
        self.close_side(number, side);
        let left = self.peers[i as usize].uplink.message(self.now, self.config.model.on_wire(10));
        let connection = &mut self.connections[number as usize];
        let at = (left + connection.rtt.as_nanos() as Nanos / 2).max(connection.last[side]);
        connection.last[side] = at;
        self.fly(at, Flight::Close { connection: number, side });
    }

    /// The other side of `side` learns that the connection is closed.
    fn deliver_close(&mut self, number: u32, side: usize) {
        let connection = &self.connections[number as usize];
        let (from, to) = (connection.ends[side], connection.ends[1 - side]);
        if !connection.open[1 - side] {
            return;
        }
        let id = self.peers[from as usize].traits.id;
        let Some(mut member) = self.peers[to as usize].member.take() else { return };
        self.close_side(number, 1 - side);
        // What waited for the lost one has not left, and never will.
        let now = self.instant();
        member.peer_lost(now, id);
        self.peers[to as usize].member = Some(member);
        self.with(to, |_, _| {});
    }

    // ----- The origin.

    fn open_origin(&mut self, i: u32) {
        let setup = millis(self.random.range(self.config.model.origin_setup));
        let (now, away) = (self.now, self.origin_away > self.now);
        let peer = &mut self.peers[i as usize];
        if peer.origin_open {
            self.odd("opened the origin twice");
            return;
        }
        peer.origin_open = true;
        peer.origin_epoch += 1;
        peer.origin_next = u32::MAX;
        let (epoch, counts) = (peer.origin_epoch, peer.counts());
        let at = now + setup + if away { 0 } else { peer.traits.origin_delay };
        self.queue.push(at, if away { Event::OriginRefused(i, epoch) } else { Event::Origin(i, epoch) });
        if self.config.source_signs() && !away {
            // What the source signed for the group of pictures that it begins with.
            let newest = self.batches.partition_point(|(t, _)| *t <= at) as u32;
            for number in newest.saturating_sub(RECENT_BATCHES)..newest {
                self.fly(at, Flight::OriginBatch { to: i, epoch, number });
            }
        }
        self.measure.origin(now, true, counts);
    }

    fn origin_ends(&mut self, i: u32) {
        let peer = &mut self.peers[i as usize];
        peer.origin_open = false;
        peer.origin_epoch += 1;
        let counts = peer.counts();
        self.measure.origin(self.now, false, counts);
    }

    fn handle_origin(&mut self, i: u32, epoch: u32) {
        let now = self.now;
        let peer = &mut self.peers[i as usize];
        if !peer.origin_open || peer.origin_epoch != epoch {
            return;
        }
        let delay = peer.traits.origin_delay;
        if peer.origin_next == u32::MAX {
            peer.origin_next = self.stream.current(now - delay);
        }
        let Some(cut) = self.stream.pieces.get(peer.origin_next as usize).copied() else { return };
        let len = u64::from(cut.info.len);
        let model = &self.config.model;
        let done = peer.downlink.arrive(now, model.on_wire(len), model.downlink);
        self.measure.present.origin_bytes_all += len;
        if peer.counts() {
            self.measure.present.origin_bytes += len;
        }
        let no = peer.origin_next;
        peer.origin_next += 1;
        if let Some(next) = self.stream.pieces.get(no as usize + 1) {
            self.queue.push((next.known + delay).max(done), Event::Origin(i, epoch));
        }
        if done > now {
            self.fly(done, Flight::OriginPiece { to: i, epoch, no });
        } else {
            self.deliver_origin(i, epoch, no);
        }
    }

    fn deliver_origin(&mut self, i: u32, epoch: u32, no: u32) {
        let peer = &mut self.peers[i as usize];
        if !peer.origin_open || peer.origin_epoch != epoch {
            return;
        }
        let cut = self.stream.pieces[no as usize];
        if peer.seen.insert(u64::from(no)) {
            self.measure.present.useful_bytes_all += u64::from(cut.info.len);
            if peer.counts() {
                self.measure.present.useful_bytes += u64::from(cut.info.len);
            }
        }
        self.with(i, |m, now| m.handle_origin_piece(now, cut.info, cut.payload()));
    }

    /// The origin goes away for a while: every connection breaks.
    pub(crate) fn origin_outage(&mut self, until: Nanos) {
        self.origin_away = until;
        for i in self.alive.clone() {
            if self.peers[i as usize].origin_open {
                self.origin_ends(i);
                self.with(i, |m, now| m.origin_closed(now));
            }
        }
    }

    // ----- The tracker.

    fn handle_batch(&mut self, number: u32) {
        let batch = self.batches[number as usize].1.clone();
        self.witness_bytes += batch.pieces.iter().map(|p| u64::from(p.len)).sum::<u64>();
        let now = self.instant();
        if self.config.source_signs() {
            for i in self.alive.clone() {
                let peer = &self.peers[i as usize];
                if peer.origin_open {
                    let (epoch, at) = (peer.origin_epoch, self.now + peer.traits.origin_delay);
                    self.fly(at, Flight::OriginBatch { to: i, epoch, number });
                }
            }
        }
        self.tracker.handle_batch(now, batch);
        self.settle_tracker();
        if let Some((at, _)) = self.batches.get(number as usize + 1) {
            self.queue.push(*at, Event::Batch(number + 1));
        }
    }

    fn handle_tracker_timer(&mut self) {
        if self.tracker_armed != self.now {
            return;
        }
        self.tracker_armed = Nanos::MAX;
        if self.tracker_wake <= self.now {
            let now = self.instant();
            self.tracker.handle_timeout(now);
            let any = self.settle_tracker();
            if self.tracker_wake <= self.now && !any {
                self.odd("the tracker wants to be woken at once and then does nothing");
                self.tracker_armed = self.now + MS;
                self.queue.push(self.tracker_armed, Event::TrackerTimer);
            }
        } else {
            self.arm_tracker();
        }
    }

    fn arm_tracker(&mut self) {
        let at = self.tracker_wake;
        if at < self.tracker_armed {
            // A little later when it is due: other things of this instant come first.
            self.tracker_armed = at.max(self.now + 1);
            self.queue.push(self.tracker_armed, Event::TrackerTimer);
        }
    }

    fn settle_tracker(&mut self) -> bool {
        let mut any = false;
        while let Some((to, message)) = self.tracker.poll_action() {
            any = true;
            let i = to.0 as u32;
            let Some(peer) = self.peers.get_mut(i as usize) else {
                self.odd("the tracker speaks to nobody");
                continue;
            };
            let bytes = self.config.model.on_wire(wire::from_tracker_len(&message));
            self.measure.present.control_bytes += bytes;
            if matches!(message, FromTracker::Batch(_)) {
                self.measure.present.batch_bytes += bytes;
            }
            if self.tracker_away > self.now || !peer.tracked || peer.member.is_none() {
                continue;
            }
            let takes = travel(&self.config.model, peer.traits.to_tracker, 1, &mut self.luck);
            let at = (self.now + takes).max(peer.tracker_last[1]);
            peer.tracker_last[1] = at;
            if let FromTracker::Fill { from, to } = &message {
                // As fast as the downlink takes them.
                let (from, to) = (*from as u32, (*to as u32).min(self.stream.pieces.len() as u32));
                let mut sent = at;
                for no in from..to {
                    let len = u64::from(self.stream.pieces[no as usize].info.len);
                    self.measure.present.origin_bytes += len;
                    self.measure.present.origin_bytes_all += len;
                    sent += super::model::transmission(
                        self.config.model.on_wire(len),
                        self.config.model.downlink,
                    );
                    // Not before it is signed.
                    let signed =
                        self.batches.partition_point(|(_, b)| b.end().is_none_or(|end| end <= u64::from(no)));
                    let at_signed = self.batches.get(signed).map_or(0, |(at, _)| *at);
                    self.fly(sent.max(at_signed + takes), Flight::Filled { to: i, no });
                }
            }
            self.fly(at, Flight::FromTracker { to: i, message });
        }
        self.tracker_wake = self.tracker.poll_timeout().map_or(Nanos::MAX, |at| self.nanos(at));
        self.arm_tracker();
        any
    }

    fn send_tracker(&mut self, i: u32, message: ToTracker) {
        let model = &self.config.model;
        let bytes = model.on_wire(wire::to_tracker_len(&message));
        self.measure.present.control_bytes += bytes;
        let peer = &mut self.peers[i as usize];
        let left = peer.uplink.message(self.now, bytes);
        if self.tracker_away > self.now || !peer.tracked {
            return;
        }
        let takes = travel(model, peer.traits.to_tracker, 1, &mut self.luck);
        let at = (left + takes).max(peer.tracker_last[0]);
        peer.tracker_last[0] = at;
        self.fly(at, Flight::ToTracker { from: i, message });
    }

    /// The tracker cannot be reached for a while.
    pub(crate) fn tracker_outage(&mut self, until: Nanos) {
        self.tracker_away = until;
        for i in self.alive.clone() {
            self.plan_tracker(i, self.config.model.idle_timeout * MS);
        }
    }

    /// When a member learns that the tracker is away, and that it is back.
    fn plan_tracker(&mut self, i: u32, notices: Nanos) {
        let spread = self.random.below(SECOND as usize) as Nanos;
        self.queue.push(self.now + notices + spread, Event::TrackerLost(i));
        let back = self.random.below(2 * SECOND as usize) as Nanos;
        self.queue.push(self.tracker_away + back, Event::TrackerBack(i));
    }

    // ----- Coming and going.

    fn join(&mut self) {
        let i = self.peers.len() as u32;
        let traits = self.population.draw(&self.config.model, i);
        let mut config = xp2p_proto::swarm::MemberConfig::new(traits.id, traits.seed);
        config.nat = traits.nat;
        config.uplink = traits.belief;
        config.upload_limit = traits.limit;
        config.rate = self.config.model.rate;
        let now = self.instant();
        let stay = (self.random.exponential(self.config.model.stay) * SECOND as f64) as Nanos;
        self.queue.push(self.now + stay, Event::Leave(i));
        if traits.character == Character::Liar {
            self.queue.push(self.now + 5 * SECOND, Event::Lie(i));
        }
        let member = Member::new(config, now);
        let mark = member.stats();
        self.peers.push(Peer {
            uplink: Uplink::new(traits.uplink),
            traits,
            member: Some(Box::new(member)),
            joined: self.now,
            wake: Nanos::MAX,
            armed: Nanos::MAX,
            busy: 0,
            downlink: Downlink::default(),
            neighbours: Vec::new(),
            connecting: Vec::new(),
            origin_open: false,
            origin_epoch: 0,
            origin_next: u32::MAX,
            tracker_last: [0; 2],
            tracked: true,
            seen: Seen::default(),
            play: PlayWatch::default(),
            started: None,
            limit: LimitWatch::default(),
            mark,
            marked: self.now,
            parents: [NOBODY; LANES],
            pushed: [0; LANES],
            excluded: false,
        });
        self.alive.push(i);
        if self.tracker_away > self.now {
            // No answer to the first packets: known soon.
            self.plan_tracker(i, 1500 * MS);
        }
        self.with(i, |_, _| {});
    }

    /// A viewer has seen enough.
    fn leave(&mut self, i: u32) {
        if self.peers[i as usize].member.is_none() {
            return;
        }
        if self.random.chance(self.config.model.crash) {
            self.crash(i, true);
            return;
        }
        self.with(i, |m, now| m.leave(now));
        // What it says after that is of no interest: it hears of pieces that will not leave any more.
        let left: Vec<u32> = self.peers[i as usize].neighbours.iter().map(|n| n.0).collect();
        if !left.is_empty() {
            self.odd("left without closing a connection");
        }
        for other in left {
            self.disconnect(i, other);
        }
        let peer = &self.peers[i as usize];
        self.fly(peer.tracker_last[0].max(self.now) + 1, Flight::LeftTracker { from: i });
        self.remove(i, true);
    }

    /// A viewer falls silent. Whether another one comes in its place is told.
    pub(crate) fn crash(&mut self, i: u32, replace: bool) {
        let timeout = self.config.model.idle_timeout * MS;
        self.queue.push(self.now + timeout, Event::Gone(i));
        self.remove(i, replace);
    }

    fn remove(&mut self, i: u32, replace: bool) {
        self.account(i);
        self.note_startup(i);
        if self.peers[i as usize].origin_open {
            self.origin_ends(i);
        }
        let peer = &mut self.peers[i as usize];
        peer.member = None;
        peer.uplink.waiting = VecDeque::new();
        peer.limit = LimitWatch::default();
        self.returned.clear();
        if let Some(place) = self.alive.iter().position(|a| *a == i) {
            self.alive.swap_remove(place);
        }
        if replace {
            let after = (self.random.exponential(self.config.model.replace) * SECOND as f64) as Nanos;
            self.queue.push(self.now + after, Event::Join);
        }
    }

    /// The transports of others notice that a member has fallen silent.
    fn handle_gone(&mut self, i: u32) {
        for (_, number) in std::mem::take(&mut self.peers[i as usize].neighbours) {
            let side = usize::from(self.connections[number as usize].ends[1] == i);
            self.deliver_close(number, side);
        }
        let (id, now) = (self.peers[i as usize].traits.id, self.instant());
        self.tracker.lost(now, id);
        self.settle_tracker();
    }

    /// A liar reports somebody who did nothing.
    fn lie(&mut self, i: u32) {
        let peer = &self.peers[i as usize];
        if peer.member.is_none() {
            return;
        }
        if !peer.neighbours.is_empty() {
            let other = peer.neighbours[self.random.below(peer.neighbours.len())].0;
            let victim = self.peers[other as usize].traits.id;
            let misdeed = [
                xp2p_proto::swarm::Misdeed::Silent,
                xp2p_proto::swarm::Misdeed::Withholds,
                xp2p_proto::swarm::Misdeed::Corrupt,
            ][self.random.below(3)];
            let piece = (misdeed == xp2p_proto::swarm::Misdeed::Corrupt)
                .then(|| u64::from(self.stream.current(self.now)));
            self.send_tracker(i, ToTracker::Bad { peer: victim, misdeed, piece });
        }
        let every = self.config.model.lie_every * MS;
        self.queue.push(self.now + every, Event::Lie(i));
    }

    // ----- Figures.

    fn account(&mut self, i: u32) {
        let steady = self.steady();
        let peer = &mut self.peers[i as usize];
        let Some(member) = &peer.member else { return };
        let honest = matches!(peer.traits.character, Character::Honest | Character::Liar);
        self.measure.account(&member.stats(), &mut peer.mark, steady, honest);
        if honest {
            self.measure.present.viewer_ms += (self.now - peer.marked) / MS;
        }
        peer.marked = self.now;
    }

    fn note_startup(&mut self, i: u32) {
        let peer = &self.peers[i as usize];
        if peer.honest() {
            let took = peer.started.map(|at| at - peer.joined);
            let stayed = self.now - peer.joined;
            self.measure.startups.push(Startup { joined: peer.joined, took, stayed });
        }
    }

    fn handle_second(&mut self, second: u32) {
        for place in 0..self.alive.len() {
            self.account(self.alive[place]);
        }
        let viewers = self.alive.iter().filter(|i| self.peers[**i as usize].honest()).count();
        self.measure.present.viewers = viewers as u32;
        self.measure.present.members = self.alive.len() as u32;
        self.measure.end_second(self.now);
        self.find_loops();
        if second.is_multiple_of(5) {
            self.note_shape(u64::from(second));
        }
        self.queue.push(self.now + SECOND, Event::Second(second + 1));
    }

    fn find_loops(&mut self) {
        let peers = &self.peers;
        let parent = |i: u32, lane: usize| {
            let peer = &peers[i as usize];
            if peer.member.is_none() || peer.origin_open { NOBODY } else { peer.parents[lane] }
        };
        let (inside, found) = self.loops.look(peers.len(), parent);
        self.depth_of_loops += inside as u64;
        if let Some((i, lane)) = found {
            let (mut circle, mut at) = (String::new(), i);
            loop {
                let peer = &self.peers[at as usize];
                let quiet = (self.now - peer.pushed[lane]) as f64 / SECOND as f64;
                let _ = write!(circle, " {at} (last push {quiet:.1} s ago)");
                at = peer.parents[lane];
                if at == i || at == NOBODY {
                    break;
                }
            }
            self.violation(&format!("parents in a circle for 5 s in substream {lane}:{circle}"));
        }
    }

    fn note_shape(&mut self, second: u64) {
        let mut shape = super::measure::Shape { second, ..Default::default() };
        let mut backlogs = Vec::new();
        let now = self.instant();
        for i in &self.alive {
            let peer = &self.peers[*i as usize];
            let Some(member) = &peer.member else { continue };
            if peer.honest() {
                shape.uplink += peer.traits.uplink as f64;
            }
            if !peer.honest() || peer.started.is_none() {
                continue;
            }
            shape.add(&member.snapshot(now));
            backlogs.push(peer.uplink.backlog_ms(self.now));
            let (mut once, mut twice) = (0_u8, 0_u8);
            for (_, number) in &peer.neighbours {
                let connection = &self.connections[*number as usize];
                let fed = connection.fed[usize::from(connection.ends[1] == *i)];
                twice |= once & fed;
                once |= fed;
            }
            shape.double_fed += f64::from(twice.count_ones());
        }
        shape.finish(backlogs);
        shape.uplink /= (self.alive.len().max(1) as u64 * self.config.model.rate) as f64;
        self.measure.shapes.push(shape);
    }
}
