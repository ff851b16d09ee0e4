//! What must not be used, why, and until when.

use crate::facts::{Kind, Kinds};
use crate::google_error::Violation;
use crate::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// Why a key or project is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A quota a minute.
    QuotaMinute,
    /// A quota a day.
    QuotaDay,
    /// A quota of which nothing else is known.
    Quota,
    /// Perhaps not a quota of this project at all.
    Capacity,
    /// The project has none of this model.
    Tier,
    /// Google said 404 to this project and served another.
    ModelMissing,
    /// Refused without a reason while another was served.
    Denied,
    /// No money.
    Billing,
    /// Google knows no such key.
    Invalid,
    /// The key has expired.
    Expired,
    /// The key was reported as leaked.
    Leaked,
    /// The key is not allowed to use this API, or not from here.
    Restricted,
    /// No way of showing the key is accepted.
    CredentialType,
    /// The project is suspended.
    Suspended,
    /// The API is switched off in the project.
    ServiceDisabled,
    /// The project is denied access.
    ProjectDenied,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::QuotaMinute,
        Self::QuotaDay,
        Self::Quota,
        Self::Capacity,
        Self::Tier,
        Self::ModelMissing,
        Self::Denied,
        Self::Billing,
        Self::Invalid,
        Self::Expired,
        Self::Leaked,
        Self::Restricted,
        Self::CredentialType,
        Self::Suspended,
        Self::ServiceDisabled,
        Self::ProjectDenied,
    ];

    /// The name in logs, metrics and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QuotaMinute => "quota_minute",
            Self::QuotaDay => "quota_day",
            Self::Quota => "quota",
            Self::Capacity => "capacity",
            Self::Tier => "tier",
            Self::ModelMissing => "model_missing",
            Self::Denied => "denied",
            Self::Billing => "billing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Leaked => "leaked",
            Self::Restricted => "restricted",
            Self::CredentialType => "credential_type",
            Self::Suspended => "suspended",
            Self::ServiceDisabled => "service_disabled",
            Self::ProjectDenied => "project_denied",
        }
    }

    /// What a person reads in the answer when every key is out.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::QuotaMinute | Self::QuotaDay | Self::Quota | Self::Capacity => "out of quota",
            Self::Tier => "without any quota for this model",
            Self::ModelMissing => "without this model",
            Self::Denied => "refused",
            Self::Billing => "out of credit",
            Self::Invalid => "not valid",
            Self::Expired => "expired",
            Self::Leaked => "reported as leaked",
            Self::Restricted => "restricted from this API",
            Self::CredentialType => {
                "refused with 401 (what was asked may take another type of key, or none)"
            }
            Self::Suspended => "suspended",
            Self::ServiceDisabled => "with the Gemini API switched off",
            Self::ProjectDenied => "denied access",
        }
    }
}

/// One thing known against a key or a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The model as Google counts it, or all.
    pub model: Option<Arc<str>>,
    /// The kinds it covers.
    pub kinds: Kinds,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Time,
    /// Until when; where nobody knows, when it will be tried again.
    pub until: Time,
    /// Where nobody knows the end: how often it was tried again in vain.
    pub strikes: Option<u8>,
    /// The quota that was exceeded.
    pub violation: Option<Arc<Violation>>,
}

/// What requests are about that take turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About<'a> {
    /// The model asked for, and the one under which Google counts it.
    pub models: [Option<&'a str>; 2],
    /// The kind.
    pub kind: Kind,
}

impl Block {
    /// Whether it concerns such requests.
    #[must_use]
    pub fn covers(&self, about: About<'_>) -> bool {
        self.kinds.contains(about.kind)
            && self
                .model
                .as_deref()
                .is_none_or(|model| about.models.iter().flatten().any(|asked| *asked == model))
    }

    /// Whether it and `other` say the same of the same: the later one replaces the earlier.
    #[must_use]
    pub fn same_subject(&self, other: &Self) -> bool {
        self.reason == other.reason && self.kinds == other.kinds && self.model == other.model
    }
}

/// How long until something without a known end is tried for the `strikes`-th time.
#[must_use]
pub const fn next_trial(strikes: u8) -> Duration {
    Duration::from_secs(match strikes {
        0 => 15 * 60,
        1 => 3600,
        2 => 6 * 3600,
        _ => 24 * 3600,
    })
}
