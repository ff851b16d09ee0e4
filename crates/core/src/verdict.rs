//! What an upstream answer means: a table, as a pure function.
//!
//! [`judge`] looks at one answer alone. What needs more than one (two projects that agree, a retry
//! that is served) is decided by the request's state machine, which asks for the verdict first. Rules
//! look at `status`, reasons and violations, and at the message only where a body carries nothing
//! else; they are written against what Google's words mean, not against the bodies seen so far.

use crate::block::Reason;
use crate::facts::{Facts, Kind, Kinds};
use crate::google_error::{GoogleError, Violation};
use crate::time::Time;
use std::time::Duration;

/// What happened to an attempt.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The answer is good; of a stream, its beginning.
    Served,
    /// An error, as an answer or at the beginning of a stream.
    Refused {
        /// The HTTP status, or the error's own code where it came inside a stream.
        status: u16,
        /// The body, read.
        error: GoogleError,
    },
    /// Status 200, and then nothing at all.
    Empty,
    /// No connection came about: nothing was sent.
    Unreachable,
    /// The connection broke after bytes of the request were sent and before an answer.
    Broken,
    /// No answer within the first-byte limit.
    Silent,
}

impl Outcome {
    /// Whether the answer is good.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        matches!(self, Self::Served)
    }
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// Served.
    Served,
    /// A quota is used up, or the project has none: see the block's [`Reason`].
    Quota,
    /// "Resource has been exhausted" and no more: perhaps everybody's capacity.
    Capacity,
    /// The billing account is out of money.
    Billing,
    /// The key, or its project, is refused.
    KeyDead,
    /// The way the key was shown is refused.
    Carrier,
    /// The model is not there, perhaps only for this project.
    ModelMissing,
    /// A resource belongs to another project, or to none.
    NotOwner,
    /// A refusal that does not say whose fault it is.
    Denied,
    /// Google refuses this address.
    EgressBan,
    /// A thought signature of another project.
    Signature,
    /// Google does not serve this place.
    Location,
    /// The request itself is at fault.
    Client,
    /// Google is at fault.
    Server,
    /// The network is.
    Network,
    /// An answer with nothing in it.
    Empty,
    /// No answer in time.
    Silent,
}

impl Meaning {
    /// Whether another project may know better, so that what came is kept while one is asked.
    #[must_use]
    pub const fn may_be_gainsaid(self) -> bool {
        matches!(self, Self::ModelMissing | Self::Denied)
    }

    /// The name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Quota => "quota",
            Self::Capacity => "capacity",
            Self::Billing => "billing",
            Self::KeyDead => "key_dead",
            Self::Carrier => "carrier",
            Self::ModelMissing => "model_missing",
            Self::NotOwner => "not_owner",
            Self::Denied => "denied",
            Self::EgressBan => "egress_ban",
            Self::Signature => "signature",
            Self::Location => "location",
            Self::Client => "client",
            Self::Server => "server",
            Self::Network => "network",
            Self::Empty => "empty",
            Self::Silent => "silent",
        }
    }
}

/// Whom a block concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whose {
    /// The key that was used.
    Key,
    /// Its project.
    Project,
}

/// How long a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until this instant.
    At(Time),
    /// Nobody said: it is tried again by and by.
    TriedAgain,
}

/// A key or project that must not be used for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Whom it concerns.
    pub whose: Whose,
    /// The model, or all.
    pub model: Option<String>,
    /// The kinds that draw on the same quota.
    pub kinds: Kinds,
    /// Why.
    pub reason: Reason,
    /// How long.
    pub until: Until,
    /// The quota that was exceeded, for the answer to a client that nobody can serve.
    pub violation: Option<Violation>,
}

/// A verdict: what the answer means and what it does to the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it means.
    pub meaning: Meaning,
    /// What is out from now on; nothing, if the key only is not for this client. For [`Meaning::ModelMissing`] and [`Meaning::Denied`] only what *would*
    /// be out if another project serves the request.
    pub effect: Option<Effect>,
}

/// Judges one outcome of a request.
#[must_use]
pub fn judge(facts: &Facts, outcome: &Outcome, now: Time) -> Verdict {
    let meaning = match outcome {
        Outcome::Served => Meaning::Served,
        Outcome::Empty => Meaning::Empty,
        Outcome::Unreachable | Outcome::Broken => Meaning::Network,
        Outcome::Silent => Meaning::Silent,
        Outcome::Refused { status, error } => return refused(facts, *status, error, now),
    };
    Verdict {
        meaning,
        effect: None,
    }
}

fn refused(facts: &Facts, status: u16, error: &GoogleError, now: Time) -> Verdict {
    let nothing = |meaning| Verdict {
        meaning,
        effect: None,
    };
    if is_egress_ban(status, error) {
        return nothing(Meaning::EgressBan);
    }
    if status == 402 || matches!(status, 400 | 403 | 429) && is_billing(status, error) {
        return out(Meaning::Billing, Whose::Project, Reason::Billing);
    }
    if matches!(status, 400 | 401 | 403 | WEBSOCKET_INVALID)
        && let Some((whose, reason)) = dead(error)
    {
        return out(Meaning::KeyDead, whose, reason);
    }
    if status == 403 && wants_other_client(error) {
        return nothing(Meaning::KeyDead);
    }
    match status {
        429 => quota(facts, error, now),
        401 => nothing(Meaning::Carrier),
        400 | 403 if is_carrier(error) => nothing(Meaning::Carrier),
        400 if error.begins("User location is not supported") => nothing(Meaning::Location),
        400 if error.says("thought signature") && !error.says("missing") => {
            nothing(Meaning::Signature)
        }
        403 | 404 if is_resource(error) => nothing(Meaning::NotOwner),
        404 if is_model(error) => Verdict {
            meaning: Meaning::ModelMissing,
            effect: facts.model.is_some().then(|| Effect {
                whose: Whose::Project,
                model: facts.model.as_deref().map(str::to_owned),
                kinds: Kinds::ALL,
                reason: Reason::ModelMissing,
                until: Until::TriedAgain,
                violation: None,
            }),
        },
        403 => Verdict {
            meaning: Meaning::Denied,
            effect: Some(Effect {
                whose: Whose::Key,
                model: facts.model.as_deref().map(str::to_owned),
                // What one kind wanted of another service, the others do not; and what has no model is about a
                // thing of the client's.
                kinds: if error.elsewhere || facts.model.is_none() {
                    Kinds::only(facts.kind)
                } else {
                    Kinds::ALL
                },
                reason: Reason::Denied,
                until: Until::At(now + DENIED),
                violation: None,
            }),
        },
        500 | 502 | 503 | 504 => nothing(Meaning::Server),
        _ => nothing(Meaning::Client),
    }
}

fn quota(facts: &Facts, error: &GoogleError, now: Time) -> Verdict {
    let tier = error.says("free quota tier") || says_limit_zero(&error.message);
    let zero = error
        .violations
        .iter()
        .find(|violation| violation.is_zero());
    let named = error
        .violations
        .iter()
        .find_map(|violation| violation.model.clone());
    let effect = |reason, until, kinds, violation: Option<&Violation>| {
        let model = named
            .clone()
            .or_else(|| facts.model.as_deref().map(str::to_owned));
        Verdict {
            meaning: Meaning::Quota,
            effect: Some(Effect {
                whose: Whose::Project,
                model,
                kinds,
                reason,
                until,
                violation: violation.cloned(),
            }),
        }
    };
    if tier || zero.is_some() {
        let violation = zero.or(error.violations.first());
        return effect(
            Reason::Tier,
            Until::TriedAgain,
            covered(facts.kind, violation),
            violation,
        );
    }
    if let Some((reason, until, violation)) = error
        .violations
        .iter()
        .map(|violation| window(violation, error, now))
        .max_by_key(|(_, until, _)| *until)
    {
        return effect(
            reason,
            Until::At(until),
            covered(facts.kind, Some(violation)),
            Some(violation),
        );
    }
    let only = Kinds::only(facts.kind);
    // The Interactions API says which window it was by its code, and no more.
    if let reason @ (Reason::QuotaMinute | Reason::QuotaDay) = match error.status.as_str() {
        "rate_limit_exceeded" => Reason::QuotaMinute,
        "quota_exceeded" => Reason::QuotaDay,
        _ => Reason::Quota,
    } {
        return effect(
            reason,
            Until::At(ends(reason, error.retry_delay, now)),
            only,
            None,
        );
    }
    if error.says("Resource has been exhausted") && error.retry_delay.is_none() {
        let mut verdict = effect(Reason::Capacity, Until::At(now + CAPACITY), only, None);
        verdict.meaning = Meaning::Capacity;
        return verdict;
    }
    effect(
        Reason::Quota,
        Until::At(ends(Reason::Quota, error.retry_delay, now)),
        only,
        None,
    )
}

/// Which window a violation is of, and when it ends.
fn window<'a>(
    violation: &'a Violation,
    error: &GoogleError,
    now: Time,
) -> (Reason, Time, &'a Violation) {
    let says = |text: &str| {
        [&violation.quota_id, &violation.metric]
            .iter()
            .any(|name| name.replace('_', "").to_ascii_lowercase().contains(text))
    };
    let reason = if says("perday") || says("daily") {
        Reason::QuotaDay
    } else if says("perminute") {
        Reason::QuotaMinute
    } else {
        Reason::Quota
    };
    (reason, ends(reason, error.retry_delay, now), violation)
}

/// When a quota comes back: a day at midnight in Los Angeles however short the delay Google gives with
/// it (it says "51s" to a day that is used up), unless that delay is over an hour, which is then true. Just after
/// midnight it is yesterday that is used up, by a clock that is a little behind.
fn ends(reason: Reason, delay: Option<Duration>, now: Time) -> Time {
    let delay = delay.map(|delay| delay.clamp(SHORTEST, LONGEST));
    match (reason, delay) {
        (_, Some(delay)) if delay > BELIEVED => now + delay,
        (Reason::QuotaDay, _) => {
            let behind = Time::from_millis(now.as_millis().saturating_sub(BEHIND));
            if behind.next_pacific_midnight() <= now {
                behind.next_pacific_midnight() + Duration::from_millis(BEHIND)
            } else {
                now.next_pacific_midnight()
            }
        }
        (_, Some(delay)) => now + delay,
        (_, None) => now + MINUTE,
    }
}

/// The kinds that a violated quota covers, seen from the kind that ran into it.
///
/// Quotas of generating count every generation, grounded ones included; a quota that only search uses,
/// or that another kind ran into, says nothing about generating.
///
/// A body that does not name the quota says nothing of other kinds at all.
fn covered(kind: Kind, violation: Option<&Violation>) -> Kinds {
    let Some(violation) = violation.filter(|violation| !violation.quota_id.is_empty()) else {
        return Kinds::only(kind);
    };
    let metric = violation.metric.rsplit('/').next().unwrap_or_default();
    let general = metric.starts_with("generate_content") || metric.starts_with("generate_requests");
    let name = format!("{metric} {}", violation.quota_id).to_ascii_lowercase();
    let search = ["ground", "search", "maps"]
        .iter()
        .any(|word| name.contains(word));
    match kind {
        Kind::Generate | Kind::Grounded if general && !search => Kinds::GENERATION,
        kind => Kinds::only(kind),
    }
}

fn is_egress_ban(status: u16, error: &GoogleError) -> bool {
    !error.structured
        && matches!(status, 403 | 429 | 503)
        && ["automated queries", "unusual traffic"]
            .iter()
            .any(|text| error.says(text))
}

fn is_billing(status: u16, error: &GoogleError) -> bool {
    // A 429 quotes nothing of the client's but a model that is there.
    (status == 429 || error.begins("Your "))
        && [
            "prepayment credits",
            "prepaid credit",
            "prepay credit",
            "spending cap",
            "spend cap",
            "spending limit",
        ]
        .iter()
        .any(|text| error.says(text))
}

/// Errors that mean the key, or its project, is refused, whatever is asked.
fn dead(error: &GoogleError) -> Option<(Whose, Reason)> {
    use Reason::{Expired, Invalid, Leaked, ProjectDenied, Restricted, ServiceDisabled, Suspended};
    use Whose::{Key, Project};
    const REASONS: [(&str, Whose, Reason); 7] = [
        ("API_KEY_EXPIRED", Key, Expired),
        ("API_KEY_INVALID", Key, Invalid),
        ("API_KEY_SERVICE_BLOCKED", Key, Restricted),
        ("API_KEY_IP_ADDRESS_BLOCKED", Key, Restricted),
        ("CONSUMER_SUSPENDED", Project, Suspended),
        ("SERVICE_DISABLED", Project, ServiceDisabled),
        ("CONSUMER_INVALID", Project, ProjectDenied),
    ];
    const BEGINNINGS: [(&str, Whose, Reason); 10] = [
        // Comes with the reason API_KEY_INVALID, so beginnings are looked at before reasons.
        ("API key expired", Key, Expired),
        ("API key not valid", Key, Invalid),
        ("API key not found", Key, Invalid),
        ("Your API key was reported as leaked", Key, Leaked),
        ("Permission denied: Consumer", Project, Suspended),
        ("Consumer 'api_key", Project, Suspended),
        (
            "Generative Language API has not been used in project",
            Project,
            ServiceDisabled,
        ),
        (
            "Gemini API has not been used in project",
            Project,
            ServiceDisabled,
        ),
        (
            "Your project has been denied access",
            Project,
            ProjectDenied,
        ),
        ("The project has been denied access", Project, ProjectDenied),
    ];
    let begins = BEGINNINGS.iter().find(|(text, ..)| error.begins(text));
    let given = || REASONS.iter().find(|(reason, ..)| error.gives(reason));
    begins
        .or_else(given)
        .map(|(_, whose, reason)| (*whose, *reason))
}

/// The key is restricted to a site or an app, and which that is the client's headers say: another client may
/// use it, so it is not out.
fn wants_other_client(error: &GoogleError) -> bool {
    [
        "API_KEY_HTTP_REFERRER_BLOCKED",
        "API_KEY_ANDROID_APP_BLOCKED",
        "API_KEY_IOS_APP_BLOCKED",
    ]
    .iter()
    .any(|reason| error.gives(reason))
        || [
            "Requests from referer",
            "Requests from this Android client",
            "Requests from this iOS client",
        ]
        .iter()
        .any(|text| error.begins(text))
}

/// 400 and 403 that are about how, or how often, a credential was shown.
fn is_carrier(error: &GoogleError) -> bool {
    ["ACCESS_TOKEN_TYPE_UNSUPPORTED", "CREDENTIALS_MISSING"]
        .iter()
        .any(|reason| error.gives(reason))
        || [
            "Multiple authentication credentials",
            "Missing or invalid Authorization header",
            "Method doesn't allow unregistered callers",
        ]
        .iter()
        .any(|text| error.begins(text))
}

/// A refusal about a file, a cache or another thing that lives in one project.
fn is_resource(error: &GoogleError) -> bool {
    let message = error.message.to_ascii_lowercase();
    message.contains("permission to access the")
        || message.contains("not found (or permission denied)")
        || message.contains("it may not exist")
        || message.contains("requested entity was not found")
        || matches!(error.status.as_str(), "not_found")
}

fn is_model(error: &GoogleError) -> bool {
    error.status == "model_not_found"
        || error.says("no longer available")
        || error.says("models/") && (error.says("not found") || error.says("not supported"))
        || error.says("is not found for API version")
}

/// `limit: 0` and not `limit: 05`.
fn says_limit_zero(message: &str) -> bool {
    message.match_indices("limit: 0").any(|(at, found)| {
        !message
            .as_bytes()
            .get(at + found.len())
            .is_some_and(|next| next.is_ascii_digit() || *next == b'.')
    })
}

fn out(meaning: Meaning, whose: Whose, reason: Reason) -> Verdict {
    let effect = Effect {
        whose,
        model: None,
        kinds: Kinds::ALL,
        reason,
        until: Until::TriedAgain,
        violation: None,
    };
    Verdict {
        meaning,
        effect: Some(effect),
    }
}

/// The close code with which a WebSocket refuses a key after a successful upgrade.
const WEBSOCKET_INVALID: u16 = 1007;

/// A per-minute window is over by then, whenever it began.
const MINUTE: Duration = Duration::from_secs(60);

/// Longer than any delay seen with a minute's quota, and shorter than a rest of a day that matters: a
/// longer one is Google's own account of when the day ends.
const BELIEVED: Duration = Duration::from_secs(3600);

/// Milliseconds by which a clock of Google's, or ours, may be wrong.
const BEHIND: u64 = 5_000;

/// `retryDelay: "0s"` would be a request in a circle.
const SHORTEST: Duration = Duration::from_secs(1);

/// No quota window of Google's is longer than a day; the clock may be off by an hour of daylight saving.
const LONGEST: Duration = Duration::from_secs(25 * 3600);

/// "Briefly": long enough for the next request to go elsewhere, short enough not to be missed.
const CAPACITY: Duration = Duration::from_secs(5);

/// For one key alone that was refused without a reason; a person who mends it need not wait long.
const DENIED: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
