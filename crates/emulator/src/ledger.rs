//! Who has used how much: a meter for each quota and model.

use std::collections::HashMap;

use crate::clock::Ms;
use crate::config::{Config, Project, Quota};
use crate::errors::Violation;
use crate::kind::Kind;
use crate::meter::{Meter, Rule, Span};

#[derive(Debug)]
pub(crate) struct Ledger {
    /// By project, quota (both as places in the configuration) and model. Only models that exist
    /// come here, so it cannot grow without end.
    meters: HashMap<(usize, usize), HashMap<String, Meter>>,
    minute: Ms,
    day: Option<Ms>,
    began: Ms,
}

/// What a request would use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use<'a> {
    pub(crate) model: &'a str,
    pub(crate) kind: Kind,
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
}

impl Ledger {
    pub(crate) fn new(config: &Config, now: Ms) -> Ledger {
        let ms = |seconds: f64| (seconds * 1_000.0) as Ms;
        Ledger {
            meters: HashMap::new(),
            minute: ms(config.minute_seconds).max(1),
            day: Some(ms(config.day_seconds)).filter(|day| *day > 0),
            began: now,
        }
    }

    /// The limits that this use would pass; none: it fits.
    pub(crate) fn violations(
        &mut self,
        index: usize,
        project: &Project,
        uses: Use<'_>,
        now: Ms,
    ) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (number, quota) in project
            .quotas
            .iter()
            .enumerate()
            .filter(|(_, quota)| quota.covers(uses.model, uses.kind))
        {
            let rule = self.rule(quota);
            let wait = self.meter((index, number), &rule, uses.model, now).wait(
                &rule,
                uses.amount(quota),
                now,
            );
            if wait > 0 || quota.limit == 0 {
                violations.push(Violation {
                    metric: quota.metric,
                    limit: quota.limit,
                    tier: quota.tier,
                    retry: quota.retry_info,
                    kind: quota.kind,
                    wait,
                });
            }
        }
        violations
    }

    /// Counts the use in every quota that covers it.
    pub(crate) fn take(&mut self, index: usize, project: &Project, uses: Use<'_>, now: Ms) {
        for (number, quota) in project
            .quotas
            .iter()
            .enumerate()
            .filter(|(_, quota)| quota.covers(uses.model, uses.kind))
        {
            let rule = self.rule(quota);
            self.meter((index, number), &rule, uses.model, now).take(
                &rule,
                uses.amount(quota),
                now,
            );
        }
    }

    /// What is used of one quota, by model.
    pub(crate) fn used(
        &mut self,
        place: (usize, usize),
        quota: &Quota,
        now: Ms,
    ) -> Vec<(String, u64)> {
        let rule = self.rule(quota);
        let meters = self.meters.get_mut(&place);
        let mut used: Vec<_> = meters
            .into_iter()
            .flatten()
            .map(|(model, meter)| (model.clone(), meter.used(&rule, now)))
            .collect();
        used.sort();
        used
    }

    fn meter(&mut self, place: (usize, usize), rule: &Rule, model: &str, now: Ms) -> &mut Meter {
        let meters = self.meters.entry(place).or_default();
        meters
            .entry(model.to_owned())
            .or_insert_with(|| Meter::new(rule, now))
    }

    /// Windows are counted from the ledger's beginning, not from the hour: a test that starts at
    /// 59.9 seconds past the minute has a whole window before it, like any other.
    fn rule(&self, quota: &Quota) -> Rule {
        let span = match (quota.metric.per_day(), self.day) {
            (false, _) => Span::Length(self.minute),
            (true, Some(day)) => Span::Length(day),
            (true, None) => Span::LosAngelesDay,
        };
        let origin = i128::from(self.began) - i128::from(quota.phase_ms);
        Rule {
            limit: quota.limit,
            window: quota.window,
            span,
            origin,
        }
    }
}

impl Use<'_> {
    fn amount(&self, quota: &Quota) -> u64 {
        if quota.metric.tokens() {
            self.tokens
        } else {
            self.requests
        }
    }
}
