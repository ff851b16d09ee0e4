//! What is said of what a client said.

use super::Pool;
use crate::google_error::Violation;
use crate::recognise::decode_bytes;
use std::borrow::Cow;

/// Letters of a model's name that are said; Google's longest name has a third.
const MAX_MODEL: usize = 128;

/// How often a name is decoded in the search for a key: whoever encoded it more often meant to.
const MAX_DECODED: usize = 3;

impl Pool {
    /// A model's name as a line of the log or a refusal may say it: no more of it than there is room for,
    /// since the client chose it, and nothing where a key of the pool stands in it, percent-encoded or not.
    #[must_use]
    pub fn said_model<'a>(&self, name: &'a str) -> Cow<'a, str> {
        // Nearly every model's name is shorter than every key.
        if self.known.texts.fit_in(name) && self.quotes_key(name) {
            return Cow::Borrowed("[key]");
        }
        let end = (name.len() > MAX_MODEL).then(|| name.char_indices().nth(MAX_MODEL));
        match end.flatten().and_then(|(at, _)| name.get(..at)) {
            Some(beginning) => Cow::Owned(format!("{beginning}…")),
            None => Cow::Borrowed(name),
        }
    }

    /// Covers what quotes a key in a violation, which is shown to whoever nobody can serve.
    pub(crate) fn cover(&self, violation: &mut Violation) {
        let Violation {
            metric,
            quota_id,
            model,
            ..
        } = violation;
        for text in [Some(metric), Some(quota_id), model.as_mut()]
            .into_iter()
            .flatten()
        {
            if self.known.texts.fit_in(text) && self.quotes_key(text) {
                "[key]".clone_into(text);
            }
        }
    }

    /// Whether a key's text begins in what may be said of a name.
    fn quotes_key(&self, name: &str) -> bool {
        let mut bytes = Cow::Borrowed(name.as_bytes());
        for _ in 0..MAX_DECODED {
            if self.known.texts.are_in(&bytes, 4 * MAX_MODEL) {
                return true;
            }
            match decode_bytes(&bytes) {
                Cow::Owned(plain) => bytes = Cow::Owned(plain),
                Cow::Borrowed(_) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeySpec, KeyText};
    use crate::settings::Strategy;

    const KEY: &str = "made-up-key-of-a-test-0001";

    fn pool() -> Pool {
        let keys = [KEY, "AQ.made+up/and_longer-than_the-other-0002"];
        let specs = keys.map(|key| KeySpec::bare(KeyText::new(key).unwrap()));
        Pool::new(&specs, Strategy::RoundRobin)
    }

    #[test]
    fn a_models_name_takes_no_more_than_its_room() {
        let pool = pool();
        assert_eq!(pool.said_model("gemini-flash"), "gemini-flash");
        let exact = "é".repeat(MAX_MODEL);
        assert_eq!(pool.said_model(&exact), exact);
        assert_eq!(pool.said_model(&"é".repeat(4000)), format!("{exact}…"));
        let other = "made-up-key-of-a-test-0003-that-is-none";
        assert_eq!(pool.said_model(other), other);
    }

    #[test]
    fn a_name_with_a_key_in_it_is_not_said() {
        let pool = pool();
        let far = format!("{}{KEY}", "é".repeat(MAX_MODEL - 3));
        for name in [
            KEY,
            "models/made-up-key-of-a-test-0001",
            "gemini-made-up-key-of-a-test-0001-latest",
            "é/made-up-key-of-a-test-0001",
            "AQ.made+up/and_longer-than_the-other-0002",
            "AQ.made%2Bup%2fand_longer-than_the-other-0002",
            "%6Dade-up-key-of-a-test-0001",
            "%256dade-up-key-of-a-test-0001",
            &far,
        ] {
            assert_eq!(pool.said_model(name), "[key]", "{name}");
        }
    }
}
