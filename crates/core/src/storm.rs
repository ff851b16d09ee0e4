//! Refusals that are nobody's quota: an overloaded model, capacity shared by all, a banned address.
//!
//! One project's 503 says little. When a second project gets the same within seconds it is the model,
//! and asking a third would be one more knock on a door that is shut: the model backs off for
//! everybody, for longer each time, until an answer is served. A ban of the relay's address is so from
//! the first page on, for the whole pool.
//!
//! A 503 is about Google alone. A 500 is Google's answer to some bad requests too, so what one client
//! meets holds back that client, and everybody only when another has met it as well.

use crate::facts::{ClientId, Kind};
use crate::map::Map;
use crate::pool::ProjectId;
use crate::time::Time;

use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Storms {
    models: Map<(Option<Arc<str>>, Scope), Storm>,
    ban: Option<Storm>,
}

/// Whose requests for a model hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scope {
    All,
    /// Where it is about capacity.
    Of(Kind),
    /// Where it may be what this client asks.
    By(ClientId),
}

/// Why requests hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The relay's address is refused.
    Ban,
    /// Capacity that all share is used up.
    Capacity,
    /// The model is overloaded.
    Overload,
}

#[derive(Debug, Default)]
struct Storm {
    /// Who said so last, and when.
    said: Option<(ProjectId, ClientId, Time)>,
    level: u32,
    until: Time,
}

impl Storms {
    /// Until when requests for this model must hold back, and why.
    pub(crate) fn until(
        &self,
        model: Option<&str>,
        kind: Kind,
        client: ClientId,
        now: Time,
    ) -> Option<(Time, Why)> {
        if let Some(ban) = self.ban.as_ref().filter(|ban| ban.until > now) {
            return Some((ban.until, Why::Ban));
        }
        if self.models.is_empty() {
            return None;
        }
        let model: Option<Arc<str>> = model.map(Arc::from);
        [Scope::All, Scope::Of(kind), Scope::By(client)]
            .into_iter()
            .filter_map(|scope| Some((self.models.get(&(model.clone(), scope))?.until, scope)))
            .filter(|(until, _)| *until > now)
            .max_by_key(|(until, _)| *until)
            .map(|(until, scope)| match scope {
                Scope::Of(_) => (until, Why::Capacity),
                Scope::All | Scope::By(_) => (until, Why::Overload),
            })
    }

    /// A project got a 500, 502, 503 or 504; `refused`: it was a 503.
    pub(crate) fn server(
        &mut self,
        model: Option<&Arc<str>>,
        (project, client): (ProjectId, ClientId),
        refused: bool,
        now: Time,
    ) {
        self.said((model.cloned(), Scope::All), project, client, !refused, now);
        if !refused {
            let scope = (model.cloned(), Scope::By(client));
            self.said(scope, project, client, false, now);
        }
    }

    /// A project got "Resource has been exhausted" and no more.
    pub(crate) fn capacity(
        &mut self,
        model: Option<&Arc<str>>,
        kind: Kind,
        (project, client): (ProjectId, ClientId),
        now: Time,
    ) {
        let scope = (model.cloned(), Scope::Of(kind));
        self.said(scope, project, client, false, now);
    }

    /// Google's page about automated queries came. Says how long it holds.
    pub(crate) fn ban(&mut self, now: Time) -> Time {
        let ban = self.ban.get_or_insert_default();
        if ban.until <= now {
            ban.until = now + BAN * (1 << ban.level.min(5));
            ban.level += 1;
        }
        ban.until
    }

    /// An answer was served: it is over.
    pub(crate) fn served(&mut self, model: Option<&str>, kind: Kind, client: ClientId) {
        self.ban = None;
        if !self.models.is_empty() {
            let model: Option<Arc<str>> = model.map(Arc::from);
            for scope in [Scope::All, Scope::Of(kind), Scope::By(client)] {
                self.models.remove(&(model.clone(), scope));
            }
        }
    }

    /// `others`: it counts only together with what another client met.
    fn said(
        &mut self,
        scope: (Option<Arc<str>>, Scope),
        project: ProjectId,
        client: ClientId,
        others: bool,
        now: Time,
    ) {
        if self.models.len() >= MAX_STORMS {
            self.models.retain(|_, storm| {
                storm.said.is_some_and(|(.., at)| now.since(at) < AGREE) || storm.until > now
            });
        }
        if self.models.len() >= MAX_STORMS {
            return;
        }
        let storm = self.models.entry(scope).or_default();
        let agrees = storm.said.is_some_and(|(by, to, at)| {
            by != project && (!others || to != client) && now.since(at) < AGREE
        });
        storm.said = Some((project, client, now));
        if agrees && storm.until <= now {
            storm.until = now + FIRST * (1 << storm.level.min(3));
            storm.level += 1;
        }
    }
}

/// Two projects that say the same within this time mean the same.
const AGREE: Duration = Duration::from_secs(10);

/// The first pause of a model; doubled up to 8 times, so that the end of a spell is noticed within
/// seconds.
const FIRST: Duration = Duration::from_secs(1);

/// The first pause of the pool after a ban; doubled up to 16 minutes.
const BAN: Duration = Duration::from_secs(30);

/// Models that may be in a storm at once.
const MAX_STORMS: usize = 256;
