//! What a rule's order leads to in the life of a service.

use super::{Effect, Phase, Reload, Step, Then};
use crate::domain::service::{Notice, Order, Verb, Why};

impl Step<'_> {
    /// What a rule asks for. What a person wants comes before it, and `Life::refuses` says so.
    pub(super) fn ordered(&mut self, order: Order) {
        if self.life.refuses(order).is_some() {
            return;
        }
        let down =
            matches!(self.life.phase, Phase::Down | Phase::Backoff { .. } | Phase::GivenUp { .. } | Phase::Resting);
        match order {
            Order::Start | Order::Restart if down => {
                (self.life.phase, self.life.reason) = (Phase::Down, Why::Rule);
            }
            Order::Restart if self.life.phase.is_running() => self.stop(Why::Rule, Then::Fresh),
            Order::StopRetrying if self.life.phase.is_running() => self.stop(Why::Rule, Then::Rest),
            Order::StopRetrying if down => self.life.phase = Phase::Resting,
            // Whether it was told that it ends too often stays: the next start is a try and no new series of them.
            Order::ResetFailed => {
                self.life.attempts = 0;
                self.life.recent.clear();
            }
            Order::AllowRetries if self.life.phase == Phase::Resting => {
                (self.life.phase, self.life.reason) = (Phase::Down, Why::Rule);
            }
            Order::Start | Order::Restart | Order::StopRetrying => {
                if let Phase::Stopping { then, .. } = &mut self.life.phase {
                    *then = if order == Order::StopRetrying { Then::Rest } else { Then::Fresh };
                }
            }
            // It is up, or it would have been refused.
            Order::Reload => {
                self.effects.push(Effect::Act(Verb::Reload));
                self.tell(Notice::Reloading);
                self.life.reload = Some(Reload::Asked);
            }
            Order::AllowRetries => {}
        }
    }
}
