//! The record of one request, open until somebody says how it ended.
//!
//! A ticket goes with its request through the handler into the answer's body. Whoever drops it
//! without a word was dropped himself, by hyper, because the client went away.

use std::sync::Arc;

use crate::emulator::Shared;
use crate::journal::{Outcome, Received};

pub(crate) struct Ticket {
    shared: Arc<Shared>,
    pub(crate) seq: u64,
    key: Option<String>,
    closed: bool,
}

impl Ticket {
    pub(crate) fn open(shared: &Arc<Shared>, request: Received) -> Ticket {
        let key = request.credentials.first().map(|one| one.value.clone());
        let seq = shared.world().journal.open(request);
        Ticket {
            shared: Arc::clone(shared),
            seq,
            key,
            closed: false,
        }
    }

    /// Says with which status the answer began.
    pub(crate) fn answered(&self, status: u16) {
        if let Some(request) = self.shared.world().journal.find(self.seq) {
            request.status = Some(status);
        }
    }

    pub(crate) fn close(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if !self.closed {
            self.closed = true;
            self.shared
                .world()
                .journal
                .close(self.seq, self.key.as_deref(), outcome);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}
