//! HTTP-FLV origins of 1vN: where a swarm's streams come from.
//!
//! * [`client`]: opens a stream of any HTTP(S)-FLV server and gives its tags.
//! * [`server`]: our own HTTP-FLV server, for cameras without one and for experiments.
//!
//! HTTP is hyper's and TLS is rustls'; both run on the connections of a [`Runtime`](crate::runtime::Runtime).

pub mod client;
pub mod server;

pub(crate) mod stream;
