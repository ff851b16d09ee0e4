//! All that policy needs to know of a request, and nothing else of it.

use crate::time::Time;
use std::sync::Arc;

/// The dialect a request speaks: how it is authenticated and how errors look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// Google's own REST API.
    Gemini,
    /// The OpenAI-compatible API under `/openai/`.
    OpenAi,
    /// The Interactions API, whose errors have a shape of their own.
    Interactions,
    /// Resumable uploads.
    Upload,
    /// WebSockets.
    Live,
}

impl Surface {
    /// The name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gemini => "gemini",
            Self::OpenAi => "openai",
            Self::Interactions => "interactions",
            Self::Upload => "upload",
            Self::Live => "live",
        }
    }

    /// Every surface, each in its place.
    pub const ALL: [Self; 5] = [
        Self::Gemini,
        Self::OpenAi,
        Self::Interactions,
        Self::Upload,
        Self::Live,
    ];

    pub(crate) const COUNT: usize = Self::ALL.len();

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// What a request asks of quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Text, images or audio from a prompt.
    Generate,
    /// The same with Google Search or Maps, which have quotas of their own.
    Grounded,
    /// Batch jobs.
    Batch,
    /// Embeddings.
    Embed,
    /// Counting tokens.
    Count,
    /// Live sessions.
    Live,
    /// Image and video models asked by `predict`.
    Media,
    /// Everything else.
    Other,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Generate,
        Self::Grounded,
        Self::Batch,
        Self::Embed,
        Self::Count,
        Self::Live,
        Self::Media,
        Self::Other,
    ];

    /// The name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Grounded => "grounded",
            Self::Batch => "batch",
            Self::Embed => "embed",
            Self::Count => "count",
            Self::Live => "live",
            Self::Media => "media",
            Self::Other => "other",
        }
    }
}

/// Several kinds: what one quota covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kinds(u8);

impl Kinds {
    /// Every kind.
    pub const ALL: Self = Self(u8::MAX);
    /// What draws on a `generate_content` quota: a grounded request is a generation too.
    pub const GENERATION: Self = Self(1 << Kind::Generate as u8 | 1 << Kind::Grounded as u8);

    /// One kind alone.
    #[must_use]
    pub const fn only(kind: Kind) -> Self {
        Self(1 << kind as u8)
    }

    /// One bit each, for what is written down.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From [`bits`](Self::bits).
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The kinds that draw on the same quotas as this one.
    #[must_use]
    pub const fn beside(kind: Kind) -> Self {
        match kind {
            Kind::Generate | Kind::Grounded => Self::GENERATION,
            kind => Self::only(kind),
        }
    }

    /// Whether `kind` is among them.
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

/// Who is asking: one number a client token; [`ClientId::ANONYMOUS`] where none is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(pub u32);

impl ClientId {
    /// A client that showed no token, on a relay that asks for none.
    pub const ANONYMOUS: Self = Self(u32::MAX);
}

/// The turns of a conversation as hashes: all of them, and those before the last model turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Conversation {
    /// Of all turns in this request.
    pub whole: u64,
    /// Of the turns before the last one that the model spoke: what an earlier request consisted of.
    pub earlier: Option<u64>,
}

/// Whether a request may be sent again after its bytes were sent and nothing refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Sending it twice does no harm but cost: generating, counting, embedding, reading.
    Freely,
    /// It may create something: only when Google said that it did not take it.
    WhenRefused,
}

/// The dialect and, as a hash, the method asked for: two methods are told apart by it, and no more is known of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The dialect.
    pub surface: Surface,
    /// The method.
    pub method: u32,
}

/// What the policy knows of one request.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The dialect.
    pub surface: Surface,
    /// What it asks of quota.
    pub kind: Kind,
    /// Tells the methods of a surface apart, such as `generateContent` and `generateAnswer`.
    pub method: u32,
    /// The model asked for, without `models/`.
    pub model: Option<Arc<str>>,
    /// Whether the answer comes as a stream.
    pub streams: bool,
    /// Whether it may be repeated without having been refused.
    pub repeat: Repeat,
    /// Whether its body is at hand to be sent again.
    pub replayable: bool,
    /// Who asks.
    pub client: ClientId,
    /// Its turns, where it has any.
    pub conversation: Option<Conversation>,
    /// How many requests it is to Google: of a batch of embeddings each text is one.
    pub items: u32,
    /// How long its body is, as far as that is known.
    pub bytes: u64,
    /// When the client stops listening (`X-Server-Timeout`).
    pub deadline: Option<Time>,
}

impl Facts {
    /// What is asked, and how.
    #[must_use]
    pub const fn route(&self) -> Route {
        Route {
            surface: self.surface,
            method: self.method,
        }
    }
}
