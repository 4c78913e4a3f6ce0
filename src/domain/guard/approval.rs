//! How far a change of each risk goes without a person, and until when that holds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::{AskedBy, No, Policy, refuse};
use crate::domain::fix::FixPlan;
use crate::domain::lesson::Risk;

/// How far a change goes without a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalMode {
    /// As far as the other checks let it.
    Auto,
    /// To a branch; what people use is changed when a person asks.
    Ask,
    /// Nowhere, whoever asks.
    Never,
}

/// The mode of one risk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Approval {
    /// The mode.
    pub mode: ApprovalMode,
    /// From then on it is `ask`, by the wall clock.
    #[serde(serialize_with = "moment", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The modes of all risks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Approvals {
    /// Of a low risk.
    pub low: Approval,
    /// Of a medium one.
    pub medium: Approval,
    /// Of a high one.
    pub high: Approval,
}

fn moment<S: Serializer>(at: &Option<Timestamp>, out: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => out.collect_str(at),
        None => out.serialize_none(),
    }
}

impl Default for Approvals {
    fn default() -> Self {
        let lasting = |mode| Approval { mode, until: None };
        Self { low: lasting(ApprovalMode::Auto), medium: lasting(ApprovalMode::Auto), high: lasting(ApprovalMode::Ask) }
    }
}

impl Approval {
    /// When it ended, if it has.
    fn ended(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| now >= *until)
    }

    /// The mode that holds now. A permission that has ended permits nothing, and a ban that has ended is lifted for
    /// whoever looks at the change: both ask.
    #[must_use]
    pub fn mode_at(&self, now: Timestamp) -> ApprovalMode {
        if self.ended(now).is_some() { ApprovalMode::Ask } else { self.mode }
    }
}

impl Approvals {
    /// That of a risk.
    #[must_use]
    pub const fn of(&self, risk: Risk) -> &Approval {
        match risk {
            Risk::Low => &self.low,
            Risk::Medium => &self.medium,
            Risk::High => &self.high,
        }
    }

    /// What is set in the unsafe direction, a sentence each.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<String> {
        let high = self.high;
        let weak = high.mode == ApprovalMode::Auto;
        let until = high.until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
        let said = || format!("`approve.high` is auto{until}: a change of high risk is made without a person");
        weak.then(said).into_iter().collect()
    }
}

pub(super) fn approval(plan: &FixPlan, policy: &Policy) -> Result<(), No> {
    let (risk, approval) = (plan.risk.name(), policy.approvals.of(plan.risk));
    match approval.mode_at(policy.now) {
        ApprovalMode::Auto => Ok(()),
        ApprovalMode::Never => refuse(format!("the lesson's risk is {risk}, and `approve.{risk}` is never")),
        ApprovalMode::Ask if policy.kind.is_intervention() && policy.asked_by == AskedBy::Audit => {
            let since = approval.ended(policy.now);
            let since = since.map(|at| format!(", since `approve.{risk}` ended at {at:.0}")).unwrap_or_default();
            Err(No::Ask(format!("the lesson's risk is {risk}: a person asks for it{since}")))
        }
        ApprovalMode::Ask => Ok(()),
    }
}
