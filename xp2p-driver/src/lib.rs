//! `xp2p-driver`: what an asynchronous program needs around the state machines of `xp2p-proto`, written once for all
//! runtimes.
//!
//! * [`runtime`]: the little that differs between runtimes.
//! * [`event_loop`]: one task that owns a machine and its sockets.
//! * [`socket`]: the UDP sockets that it may be given.
//! * [`handle`]: how the rest of a program talks to that task.
//! * [`camera`], [`viewer`], [`server`]: the three roles as an application uses them.
//! * [`module`]: all of it under the names of the plug-ins.
//! * [`pusher`]: FLV in pieces, as programs that push have it.
//! * [`player`]: fan-out of a stream to players, recorders and programs, and the local HTTP server.
//! * [`portmap`]: asks the router to let others in.
//! * [`page`]: the web page of a local server, for anyone with a browser.
//! * [`watch`]: one of many viewers of a live stream, which they pass on to each other.
//! * [`origin`]: where a swarm's streams come from: a client of any HTTP-FLV server, and a server of our own.
//! * [`signing`]: a stream's pieces and digest batches, for the tracker of a server.
//! * [`source`]: where a camera's pictures come from.
//! * [`publish`], [`witness`]: streams of our own, and of other origins, signed for a server's tracker.
//! * [`transit`]: streams of cameras that let a server show them to many viewers.
//! * [`records`]: what a camera has recorded.

pub mod camera;
pub mod event_loop;
pub mod handle;
mod lan;
pub mod module;
pub mod origin;
mod outbox;
pub mod page;
pub mod player;
pub mod portmap;
pub mod probe;
pub mod publish;
pub mod pusher;
pub mod records;
pub mod runtime;
pub mod server;
pub mod signing;
pub mod socket;
pub mod source;
pub mod status;
mod streams;
pub mod transit;

mod udp;
pub mod viewer;
pub mod watch;
pub mod witness;

pub use xp2p_proto as proto;
