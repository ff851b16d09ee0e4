//! The skin towards JavaScript: numbers, texts and bytes in, one text out.

#![expect(
    unreachable_pub,
    reason = "what wasm-bindgen exports must be public, whatever module it is in"
)]

use crate::engine::{End, Engine, Failure, Shown};
use crate::object::PoolObject;
use gemini_relay_core::Time;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn log(line: &str);
}

/// The engine of an isolate.
#[wasm_bindgen]
pub struct Isolate(Engine);

/// The engine of the pool object.
#[wasm_bindgen]
pub struct Pool(PoolObject);

#[wasm_bindgen]
impl Isolate {
    /// See [`Engine::new`].
    #[wasm_bindgen(constructor)]
    pub fn new(variables: &str, high: u32, low: u32, now: f64) -> Self {
        let entropy = u64::from(high) << 32 | u64::from(low);
        let mut isolate = Self(Engine::new(variables, entropy, at(now)));
        isolate.say();
        isolate
    }

    /// See [`Engine::keys`].
    pub fn keys(&mut self, found: &str, now: f64) {
        self.0.keys(found, at(now));
        self.say();
    }

    /// See [`Engine::begin`].
    pub fn begin(&mut self, head: &str, now: f64) -> String {
        let said = self.0.begin(head, at(now)).encode();
        self.say();
        said
    }

    /// See [`Engine::room`].
    pub fn room(&mut self, handle: u32, bytes: usize) -> bool {
        self.0.room(handle, bytes)
    }

    /// See [`Engine::stalled`].
    pub fn stalled(&mut self, handle: u32, now: f64) -> String {
        let said = self.0.stalled(handle, at(now)).encode();
        self.say();
        said
    }

    /// See [`Engine::body`].
    pub fn body(
        &mut self,
        handle: u32,
        shown: &[u8],
        kept: usize,
        whole: bool,
        now: f64,
    ) -> String {
        self.0.body(handle, shown, kept, whole, at(now)).encode()
    }

    /// See [`Engine::taken`].
    pub fn taken(&mut self, handle: u32, bytes: usize) {
        self.0.taken(handle, bytes);
    }

    /// See [`Engine::planned`].
    pub fn planned(&mut self, handle: u32, reply: &str, now: f64) -> String {
        let said = self.0.planned(handle, reply, at(now)).encode();
        self.say();
        said
    }

    /// See [`Engine::turn`].
    pub fn turn(&mut self, handle: u32, now: f64) -> String {
        let said = self.0.turn(handle, at(now)).encode();
        self.say();
        said
    }

    /// See [`Engine::answered`].
    pub fn answered(&mut self, handle: u32, status: u16, headers: &str, now: f64) -> String {
        let said = self.0.answered(handle, status, headers, at(now)).encode();
        self.say();
        said
    }

    /// See [`Engine::error`].
    pub fn error(&mut self, handle: u32, body: Vec<u8>, whole: bool, now: f64) -> String {
        let said = self.0.error(handle, body, whole, at(now)).encode();
        self.say();
        said
    }

    /// See [`Engine::whole`].
    pub fn whole(&mut self, handle: u32, body: Vec<u8>, now: f64) -> String {
        let said = self.0.whole(handle, body, at(now)).encode();
        self.say();
        said
    }

    /// See [`Engine::piece`].
    pub fn piece(
        &mut self,
        handle: u32,
        piece: &[u8],
        ended: bool,
        broken: bool,
        now: f64,
    ) -> String {
        let said = self.0.piece(handle, piece, ended, broken, at(now)).encode();
        self.say();
        said
    }

    /// See [`Engine::failed`].
    pub fn failed(&mut self, handle: u32, silent: bool, now: f64) -> String {
        let failure = if silent {
            Failure::Silent
        } else {
            Failure::Broken
        };
        let said = self.0.failed(handle, failure, at(now)).encode();
        self.say();
        said
    }

    /// Nothing, if the piece is to be passed on as it is. See [`Engine::see`].
    pub fn see(&mut self, handle: u32, piece: &[u8], now: f64) -> Option<Vec<u8>> {
        match self.0.see(handle, piece, at(now)) {
            Shown::AsItIs => None,
            Shown::Instead(bytes) => Some(bytes),
        }
    }

    /// Nothing, if the answer is to be cut. See [`Engine::ended`].
    pub fn ended(&mut self, handle: u32, broken: bool, now: f64) -> Option<Vec<u8>> {
        let end = self.0.ended(handle, broken, at(now));
        self.say();
        match end {
            End::Whole(rest) => Some(rest),
            End::Cut => None,
        }
    }

    /// See [`Engine::gone`].
    pub fn gone(&mut self, handle: u32, now: f64) {
        self.0.gone(handle, at(now));
        self.say();
    }

    /// See [`Engine::waiting`].
    pub fn waiting(&self, now: f64) -> usize {
        self.0.waiting(at(now))
    }

    /// See [`Engine::report`].
    pub fn report(&mut self, now: f64) -> String {
        self.0.report(at(now))
    }

    /// See [`Engine::unreported`].
    pub fn unreported(&mut self, report: &str, now: f64) {
        self.0.unreported(report, at(now));
    }

    fn say(&mut self) {
        for line in self.0.take_lines() {
            log(&line);
        }
    }
}

#[wasm_bindgen]
impl Pool {
    /// See [`PoolObject::new`].
    #[wasm_bindgen(constructor)]
    pub fn new(variables: &str, high: u32, low: u32, now: f64) -> Self {
        let entropy = u64::from(high) << 32 | u64::from(low);
        Self(PoolObject::new(variables, entropy, at(now)))
    }

    /// See [`PoolObject::load`].
    pub fn load(&mut self, rows: &str, now: f64) {
        self.0.load(rows, at(now));
    }

    /// See [`PoolObject::keys`].
    pub fn keys(&mut self, found: &str, now: f64) {
        self.0.keys(found, at(now));
    }

    /// See [`PoolObject::plan`].
    pub fn plan(&mut self, ask: &str, now: f64) -> String {
        self.0.plan(ask, at(now))
    }

    /// See [`PoolObject::report`].
    pub fn report(&mut self, report: &str, now: f64) {
        self.0.report(report, at(now));
    }

    /// See [`PoolObject::is_dirty`].
    pub fn dirty(&self) -> bool {
        self.0.is_dirty()
    }

    /// See [`PoolObject::save`].
    pub fn save(&mut self, now: f64) -> String {
        self.0.save(at(now))
    }

    /// See [`PoolObject::unsaved`].
    pub fn unsaved(&mut self, rows: &str) {
        self.0.unsaved(rows);
    }
}

/// The text of a list of keys, whichever way it was saved.
#[wasm_bindgen]
pub fn as_text(list: &[u8]) -> String {
    gemini_relay_core::keylist::text(list)
}

/// See [`crate::kept`].
#[wasm_bindgen]
pub fn kept(name: &str, text: &str) -> Option<String> {
    crate::kept(name, text)
}

/// What is wrong with a list of keys, without a word of it; nothing if it is right. For `update-keys`.
#[wasm_bindgen]
pub fn wrong_with(list: &[u8]) -> Option<String> {
    match gemini_relay_core::keylist::parse(list) {
        Ok(list) if list.entries.is_empty() => Some("it has no keys".to_owned()),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "JavaScript's clock, milliseconds since 1970 as a double"
)]
fn at(now: f64) -> Time {
    Time::from_millis(now as u64)
}
