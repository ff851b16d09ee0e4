//! The emulator over real sockets: what it refuses, what it counts, how it streams, how it breaks.

#![cfg(test)]

mod connections;
mod control;
mod faults;
mod program;
mod quotas;
mod refusals;
mod streams;
mod support;
