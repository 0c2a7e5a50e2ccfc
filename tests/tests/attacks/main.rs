//! Attacks on a camera, a server, a viewer and a swarm, each while somebody honest watches: what is asked for is refused, what it
//! costs is bounded, somebody is told, and the honest one has every picture at its time.
//!
//! docs/SECURITY.md lists all attacks and the tests that show what becomes of them; many are elsewhere, beside what they test.
//!
//! * `honest`, `stranger`: who watches, and who attacks.
//! * `sources`, `replays`, `flows`, `handshakes`: datagrams. `third_parties`: addresses. `tickets`: whose camera it is.
//! * `requests`, `files`, `words`: what is asked for, and what is said.
//! * `swarms`: many identities, and forged digests. `cameras`: what the one says that is watched.
//! * `documented`: the list is right.

mod cameras;
mod documented;
mod files;
mod flows;
mod handshakes;
mod honest;
mod replays;
mod requests;
mod sources;
mod stranger;
mod swarms;
mod third_parties;
mod tickets;
mod words;
