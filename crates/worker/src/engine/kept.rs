//! What is held of clients' bodies, so that they can be sent again.
//!
//! Memory is little, and whoever says much and sends nothing must take none of it from others: so what counts is what
//! came, and not what was said or may come. What is large leaves the last of the room to what is small, and where there
//! are several clients, each leaves as much as it has.

use gemini_relay_core::ClientId;
use std::collections::HashMap;

/// Bytes held, in all and for each client that has any.
#[derive(Debug)]
pub(super) struct Kept {
    limit: usize,
    /// Whether there are several clients.
    shared: bool,
    all: usize,
    of: HashMap<ClientId, usize>,
}

impl Kept {
    pub(super) fn new(limit: usize, shared: bool) -> Self {
        Self {
            limit,
            shared,
            all: 0,
            of: HashMap::new(),
        }
    }

    /// How much more may be held of one of this client's bodies.
    pub(super) fn room(&self, client: ClientId, is_small: bool) -> usize {
        let mut left = self.limit.saturating_sub(self.all);
        if !is_small {
            left = left.saturating_sub(self.limit / 8);
        }
        if self.shared {
            let own = self.of.get(&client).copied().unwrap_or_default();
            left = left.saturating_sub(own) / 2;
        }
        left
    }

    /// Of one of this client's bodies `now` is held, where it was `before`.
    pub(super) fn change(&mut self, client: ClientId, before: usize, now: usize) {
        self.all = self.all.saturating_sub(before) + now;
        let own = self.of.entry(client).or_default();
        *own = own.saturating_sub(before) + now;
        if *own == 0 {
            self.of.remove(&client);
        }
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> usize {
        self.all
    }
}

/// A conversation of many turns without pictures. Of the default's last eighth there are ninety of them.
pub(super) const SMALL_BODY: usize = 64 * 1024;

/// What is held of a body before it is asked whether there is room; the glue's, too.
pub(super) const FIRST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_clients_leaves_as_much_as_it_has() {
        let (one, other) = (ClientId(0), ClientId(1));
        let mut kept = Kept::new(1000, true);
        let mut taken = 0;
        while kept.room(one, true) > 10 {
            kept.change(one, 0, 10);
            taken += 10;
        }
        assert!((450..=500).contains(&taken), "{taken}");
        assert!(kept.room(other, true) >= 250);
        assert!(kept.room(other, false) >= 180);
        kept.change(one, taken, 0);
        assert_eq!(kept.room(one, true), 500);
        assert_eq!(Kept::new(1000, false).room(one, true), 1000);
    }
}
