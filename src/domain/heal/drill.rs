//! A drill: how the failure is made for real in a throw-away place, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rule::span;

/// How long a passed drill is believed.
pub const BELIEVED: Duration = Duration::from_secs(30 * 86_400);

/// One thing that is done to the throw-away place. Paths are relative to its folder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "make", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stage {
    /// How the child of a service behaves: word by word, one for each start; the last one stays.
    Child {
        /// The service; the target's own when absent.
        #[serde(default)]
        name: Option<String>,
        /// Words that the child knows, such as `healthy`, `crash`, `hang`, `leak 60`.
        plan: Vec<String>,
        /// Starts that are made again by the manager after a crash, before it gives up.
        #[serde(default)]
        restarts: u32,
        /// Most memory that it may have, in megabytes: its manager kills it beyond that.
        #[serde(default)]
        memory_mb: Option<u64>,
        /// Whether it is started now.
        #[serde(default = "yes")]
        start: bool,
    },
    /// Waits until every process is as it will be.
    Settle,
    /// A person stops the service.
    OperatorStop,
    /// Writes a file.
    Write {
        /// Where.
        path: String,
        /// What.
        text: String,
    },
    /// Makes a file of this size; its bytes are holes unless `filled`.
    Size {
        /// Where.
        path: String,
        /// Megabytes.
        mb: u64,
        /// Whether the disk holds them.
        #[serde(default)]
        filled: bool,
    },
    /// Makes this many small files.
    Many {
        /// The folder.
        path: String,
        /// How many.
        count: u32,
    },
    /// Makes a directory.
    Directory {
        /// Where.
        path: String,
    },
    /// Removes a file or an empty directory.
    Remove {
        /// Which one.
        path: String,
    },
    /// Gives it permission bits, in octal.
    Mode {
        /// Which one.
        path: String,
        /// The bits.
        mode: String,
    },
    /// Lets it, or every file below it, be last changed this long before.
    Age {
        /// Which one.
        path: String,
        /// How long ago.
        #[serde(with = "span")]
        span: Duration,
    },
    /// Writes a lock or pid file of a process that has ended.
    DeadOwner {
        /// Where.
        path: String,
    },
    /// Writes a lock or pid file whose pid belongs to another process now: it is older than that process.
    ReusedOwner {
        /// Where.
        path: String,
    },
    /// Writes a lock or pid file of a process that lives and has it.
    LiveOwner {
        /// Where.
        path: String,
    },
    /// Lets a file be locked by a process that lives.
    Hold {
        /// Which one.
        path: String,
    },
    /// Replaces the program that a service runs by a new file.
    ReplaceProgram {
        /// The service; the target's own when absent.
        #[serde(default)]
        name: Option<String>,
    },
    /// Plays that a rule acted on the target this often today.
    Acted {
        /// The rule.
        rule: u32,
        /// How often.
        times: u32,
    },
    /// Plays that the machine was started this long ago.
    Uptime {
        /// How long ago.
        #[serde(with = "span")]
        span: Duration,
    },
    /// Lets this much time pass with a look at each step.
    Pass {
        /// How much.
        #[serde(with = "span")]
        span: Duration,
    },
}

const fn yes() -> bool {
    true
}

/// A drill as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillText {
    impossible: Option<String>,
    #[serde(default)]
    target: Fields,
    #[serde(default, with = "span::optional")]
    step: Option<Duration>,
    #[serde(default)]
    pause_ms: u64,
    #[serde(default)]
    base: Vec<Stage>,
    #[serde(default)]
    fail: Vec<Stage>,
    #[serde(default)]
    back: Vec<Stage>,
    #[serde(default)]
    near: Vec<Stage>,
    near_says: Option<String>,
}

/// Fields of the throw-away target by name; the runner reads them as a target.
pub type Fields = BTreeMap<String, serde_json::Value>;

/// A drill that can be run.
#[derive(Clone, PartialEq, Debug)]
pub struct Script {
    /// Fields of the throw-away target beside name and kind. Texts that start with `./` are paths in its folder.
    pub target: Fields,
    /// How far the clock goes from one look to the next.
    pub step: Duration,
    /// How long the runner waits between two looks, for what needs time in truth.
    pub pause: Duration,
    /// What there is before.
    pub base: Vec<Stage>,
    /// The failure.
    pub fail: Vec<Stage>,
    /// The failure without whoever would take the place of what was moved, for the way back; as before when empty.
    pub back: Vec<Stage>,
    /// What looks nearly like it, and must be left alone.
    pub near: Vec<Stage>,
    /// What that is, in words.
    pub near_says: String,
}

/// How a rule is proved, or why it cannot be here.
#[derive(Clone, PartialEq, Debug)]
pub enum DrillPlan {
    /// In this way.
    Script(Box<Script>),
    /// Not without breaking the machine, or without rights or parts that few hosts have.
    Impossible(String),
}

impl DrillText {
    /// Checks it.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(self) -> Result<DrillPlan, String> {
        if let Some(why) = self.impossible {
            return if self.fail.is_empty() && !why.trim().is_empty() {
                Ok(DrillPlan::Impossible(why))
            } else {
                Err("`impossible` says why, and stands alone".to_owned())
            };
        }
        if self.fail.is_empty() {
            return Err("`fail` is missing: how the failure is made, or `impossible = \"why\"`".to_owned());
        }
        let Some(near_says) = self.near_says.filter(|_| !self.near.is_empty()) else {
            return Err(
                "`near` and `near_says` are missing: what looks like the failure and must be left alone".to_owned()
            );
        };
        let step = self.step.unwrap_or(Duration::from_secs(60));
        if step.is_zero() {
            return Err("`step` must be at least 1s".to_owned());
        }
        let pause = Duration::from_millis(self.pause_ms.min(1_000));
        let (target, base, fail, near) = (self.target, self.base, self.fail, self.near);
        let back = if self.back.is_empty() { fail.clone() } else { self.back };
        Ok(DrillPlan::Script(Box::new(Script { target, step, pause, base, fail, back, near, near_says })))
    }
}

/// The four parts of a drill, and what became of each.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Parts {
    /// It fired at the failure.
    pub fires: Option<Result<String, String>>,
    /// It left alone what only looks like it.
    pub spares: Option<Result<String, String>>,
    /// What it did mended it, and it said so only then.
    pub fixes: Option<Result<String, String>>,
    /// The way back led back.
    pub restores: Option<Result<String, String>>,
}

impl Parts {
    /// The parts with their names, in order.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<&Result<String, String>>); 4] {
        [
            ("fires", self.fires.as_ref()),
            ("spares", self.spares.as_ref()),
            ("fixes", self.fixes.as_ref()),
            ("restores", self.restores.as_ref()),
        ]
    }

    /// Whether all four were shown.
    #[must_use]
    pub fn all_shown(&self) -> bool {
        self.named().iter().all(|(_, part)| matches!(part, Some(Ok(_))))
    }

    /// The first part that was not shown, and why.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.named().iter().find_map(|(name, part)| match part {
            Some(Ok(_)) => None,
            Some(Err(why)) => Some(format!("{name}: {why}")),
            None => Some(format!("{name}: not tried")),
        })
    }
}

/// What a drill came to on this host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DrillVerdict {
    /// The rule with every local edit, as it was drilled.
    pub digest: String,
    /// The program that drilled it.
    pub mesh: String,
    /// When, in seconds since 1970.
    pub at: i64,
    /// What was shown.
    pub parts: Parts,
}

/// Where a rule stands with its drill.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DrillState {
    /// All four parts were shown, here, of this very rule, not long ago.
    Passed,
    /// One was not.
    Failed,
    /// It was never tried.
    Never,
    /// It was shown of an older rule or program, or too long ago.
    Expired,
    /// It cannot be tried here.
    Impossible,
}

impl DrillState {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Never => "never",
            Self::Expired => "expired",
            Self::Impossible => "impossible",
        }
    }
}

/// Where the rule with `digest` stands at `now`, and why.
#[must_use]
pub fn standing(
    plan: &DrillPlan,
    verdict: Option<&DrillVerdict>,
    digest: &str,
    mesh: &str,
    now: i64,
) -> (DrillState, String) {
    if let DrillPlan::Impossible(why) = plan {
        return (DrillState::Impossible, why.clone());
    }
    let Some(verdict) = verdict else {
        return (DrillState::Never, "run `mesh rule drill`".to_owned());
    };
    if verdict.digest != digest {
        return (DrillState::Expired, "the rule was changed since".to_owned());
    }
    if verdict.mesh != mesh {
        return (DrillState::Expired, format!("it was drilled by mesh {}", verdict.mesh));
    }
    if let Some(why) = verdict.parts.failure() {
        return (DrillState::Failed, why);
    }
    let age = now.saturating_sub(verdict.at);
    // A verdict from the future is no younger than one of any age: the clock is not to be believed.
    if !(0..i64::try_from(BELIEVED.as_secs()).unwrap_or(i64::MAX)).contains(&age) {
        return (DrillState::Expired, "it was drilled more than 30 days ago".to_owned());
    }
    (DrillState::Passed, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_for_this_rule_this_program_and_thirty_days() {
        let script = Script {
            target: Fields::new(),
            step: Duration::from_secs(1),
            pause: Duration::ZERO,
            base: Vec::new(),
            fail: Vec::new(),
            back: Vec::new(),
            near: Vec::new(),
            near_says: String::new(),
        };
        let plan = DrillPlan::Script(Box::new(script));
        let shown = || Some(Ok(String::new()));
        let parts = Parts { fires: shown(), spares: shown(), fixes: shown(), restores: shown() };
        let verdict = DrillVerdict { digest: "a".to_owned(), mesh: "1".to_owned(), at: 1_000, parts };
        let state = |verdict: Option<&DrillVerdict>, digest, mesh, now| standing(&plan, verdict, digest, mesh, now).0;
        assert_eq!(state(None, "a", "1", 1_000), DrillState::Never);
        assert_eq!(state(Some(&verdict), "a", "1", 1_001), DrillState::Passed);
        assert_eq!(state(Some(&verdict), "b", "1", 1_001), DrillState::Expired);
        assert_eq!(state(Some(&verdict), "a", "2", 1_001), DrillState::Expired);
        assert_eq!(state(Some(&verdict), "a", "1", 1_000 + 30 * 86_400), DrillState::Expired);
        assert_eq!(state(Some(&verdict), "a", "1", 999), DrillState::Expired, "the clock was set back");
        let mut failed = verdict.clone();
        failed.parts.restores = Some(Err("left a file".to_owned()));
        assert_eq!(
            standing(&plan, Some(&failed), "a", "1", 1_001),
            (DrillState::Failed, "restores: left a file".to_owned())
        );
        failed.parts.restores = None;
        assert_eq!(state(Some(&failed), "a", "1", 1_001), DrillState::Failed, "not tried is not passed");
        let impossible = DrillPlan::Impossible("needs a kernel".to_owned());
        assert_eq!(standing(&impossible, Some(&verdict), "a", "1", 1_001).0, DrillState::Impossible);
    }
}
