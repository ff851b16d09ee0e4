//! What a request asks of quota.
//!
//! Google counts quota by model and by what is done with it; the kinds here are the same words
//! that the relay uses, so that a test can say "this project lacks `grounded`" to both.

use serde::{Deserialize, Serialize};

/// What a request asks of quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Generating content.
    Generate,
    /// Generating content with a search or maps tool.
    Grounded,
    /// Creating a batch job.
    Batch,
    /// Embedding; every item of a batch counts.
    Embed,
    /// Counting tokens.
    Count,
    /// A live session.
    Live,
    /// Images and videos by `predict`.
    Media,
    /// Everything else: listing models and what has no model at all.
    Other,
}

impl Kind {
    /// The word used in configuration, records and matches.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Generate => "generate",
            Kind::Grounded => "grounded",
            Kind::Batch => "batch",
            Kind::Embed => "embed",
            Kind::Count => "count",
            Kind::Live => "live",
            Kind::Media => "media",
            Kind::Other => "other",
        }
    }

    /// Whether a quota on `self` counts a request of kind `asked`. A grounded request is a
    /// generating one too, and uses up both.
    pub(crate) fn counts(self, asked: Kind) -> bool {
        self == asked || (self == Kind::Generate && asked == Kind::Grounded)
    }
}

/// Serde's view of "one kind, or `*` for all of them together".
pub(crate) mod or_any {
    use super::Kind;
    use serde::de::{Error, IntoDeserializer};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(kind: &Option<Kind>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(kind.map_or("*", Kind::name))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Kind>, D::Error> {
        let text = String::deserialize(from)?;
        if text == "*" {
            return Ok(None);
        }
        let inner: serde::de::value::StringDeserializer<D::Error> = text.into_deserializer();
        Kind::deserialize(inner)
            .map(Some)
            .map_err(|error| D::Error::custom(format!("{error}, or `*` for every kind")))
    }
}
