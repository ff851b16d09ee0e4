//! Quotas as they are configured; `crate::ledger` counts by them.

use serde::{Deserialize, Serialize};

use crate::kind::{self, Kind};

/// One limit of a project.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// The model, or `*`: every model, counted one by one.
    #[serde(default = "any")]
    pub model: String,
    /// The kind of request; `None` (written `*`): all kinds, counted together.
    #[serde(default, with = "kind::or_any")]
    pub kind: Option<Kind>,
    /// What is counted, over which time.
    pub metric: Metric,
    /// How much; 0: this tier has none of this model.
    pub limit: u64,
    /// How use is forgotten.
    #[serde(default)]
    pub window: Window,
    /// How far into a fixed window the clock is when counting begins.
    #[serde(default)]
    pub phase_ms: u64,
    /// Whose wording the refusal has.
    #[serde(default)]
    pub tier: Tier,
    /// How honest the refusal is about when to come back.
    #[serde(default)]
    pub retry_info: RetryStyle,
}

impl Quota {
    /// A fixed free-tier quota on every kind of request to `model`.
    pub fn new(model: &str, metric: Metric, limit: u64) -> Quota {
        Quota {
            model: model.to_owned(),
            kind: None,
            metric,
            limit,
            window: Window::Fixed,
            phase_ms: 0,
            tier: Tier::Free,
            retry_info: RetryStyle::Truth,
        }
    }

    pub(crate) fn covers(&self, model: &str, asked: Kind) -> bool {
        (self.model == "*" || self.model == model)
            && self.kind.is_none_or(|kind| kind.counts(asked))
    }
}

/// What is counted, over which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Metric {
    RequestsPerMinute,
    TokensPerMinute,
    RequestsPerDay,
    TokensPerDay,
}

impl Metric {
    pub(crate) fn per_day(self) -> bool {
        matches!(self, Metric::RequestsPerDay | Metric::TokensPerDay)
    }

    pub(crate) fn tokens(self) -> bool {
        matches!(self, Metric::TokensPerMinute | Metric::TokensPerDay)
    }
}

/// How use is forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// All at once, when the window ends.
    #[default]
    Fixed,
    /// Each request by itself, one window after it.
    Sliding,
    /// Little by little, at `limit` a window.
    Bucket,
}

/// Whose wording a refusal has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Tier {
    #[default]
    Free,
    Paid,
}

/// How honest a refusal is about when to come back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryStyle {
    /// `RetryInfo` and the message say when the quota is back.
    #[default]
    Truth,
    /// They say 51 seconds, as Google does for day quotas too.
    Short,
    /// No details at all.
    None,
}

fn any() -> String {
    "*".to_owned()
}
