//! The relay from end to end: real sockets on both sides, all in one process, no port fixed.
//!
//! Google is played twice. By the emulator, which refuses what Google refuses, wherever it can; and by
//! [`scripted`], a bare socket that a test moves byte by byte, for what no well-behaved server does.
//! What any relay must do, whatever it runs on, is in [`conformance`]; the other modules look at what
//! is this one's own: its memory of bodies, its listeners, its connections, its pages.
//!
//! Every key in these tests begins with the same words, and [`client`] fails a test whenever an answer
//! holds them, in whatever it is about.

mod circle;
mod client;
mod compressed;
mod conformance;
mod limits;
mod network;
mod origin;
mod pages;
mod protocols;
mod proxies;
mod quoted;
mod reload;
mod replay;
mod scripted;
mod stand;
mod streaming;
mod tunnel;
