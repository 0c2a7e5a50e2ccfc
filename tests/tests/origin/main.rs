//! The origin client and the origin server over real sockets, against each other and against servers that misbehave.

mod client;
mod ffmpeg;
mod hostile;
mod policy;
mod redirects;
mod server;
mod support;
mod tls;
