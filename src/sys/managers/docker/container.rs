//! What the engine says of one container, as an observation.

use jiff::Timestamp;
use serde::Deserialize;

use crate::domain::foreign_text::display_line;
use crate::domain::service::{End, EndCause, Health, Observation, Process, Run};
use crate::ports::manager::Target;
use crate::sys::managers::process;

/// What `inspect` says, as far as it matters here.
#[derive(Clone, Deserialize, Debug)]
pub(super) struct Inspected {
    #[serde(rename = "State")]
    state: State,
    #[serde(rename = "RestartCount", default)]
    restarts: u64,
    #[serde(rename = "Config", default)]
    config: Config,
}

#[derive(Clone, Deserialize, Debug)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    #[serde(rename = "OOMKilled", default)]
    oom_killed: bool,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    error: String,
    #[serde(default)]
    started_at: String,
    #[serde(default)]
    finished_at: String,
    health: Option<Checked>,
}

#[derive(Clone, Deserialize, Debug)]
#[serde(rename_all = "PascalCase")]
struct Checked {
    status: String,
    #[serde(default)]
    log: Option<Vec<CheckRun>>,
}

#[derive(Clone, Deserialize, Debug)]
#[serde(rename_all = "PascalCase")]
struct CheckRun {
    #[serde(default)]
    output: String,
}

#[derive(Clone, Deserialize, Default, Debug)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    stop_signal: Option<String>,
}

/// One event of a container.
#[derive(Deserialize, Debug)]
pub(super) struct Event {
    #[serde(rename = "Action", default)]
    pub(super) action: String,
    #[serde(rename = "Actor", default)]
    actor: Actor,
}

#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "PascalCase")]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Deserialize, Default, Debug)]
struct Attributes {
    #[serde(default)]
    name: String,
    #[serde(default)]
    signal: String,
    #[serde(rename = "exitCode", default)]
    exit_code: String,
}

impl Event {
    /// Whether it is about the container of this name or id.
    pub(super) fn is_of(&self, unit: &str) -> bool {
        self.actor.attributes.name == unit || unit.len() >= 12 && self.actor.id.starts_with(unit)
    }
}

/// One container as it is followed.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) target: Target,
    /// The last end; the engine forgets its cause at the next start.
    end: Option<End>,
    /// The cause that an event told of and that no look has yet shown with its time.
    cause: Option<EndCause>,
    /// It was out of memory since it last started.
    out_of_memory: bool,
    /// The engine was asked to end it, and not since to start it.
    asked_to_stop: bool,
    /// It was this program that asked.
    pub(super) stopped_by_us: bool,
    stop_signal: Option<String>,
    /// It had a process when it was last looked at.
    pub(super) is_running: bool,
}

impl Container {
    pub(super) const fn new(target: Target) -> Self {
        Self {
            target,
            end: None,
            cause: None,
            out_of_memory: false,
            asked_to_stop: false,
            stopped_by_us: false,
            stop_signal: None,
            is_running: false,
        }
    }

    /// Takes in an event; what it means for the service shows when it is looked at next.
    pub(super) fn hear(&mut self, event: &Event) {
        let said = &event.actor.attributes;
        match event.action.as_str() {
            "start" => (self.asked_to_stop, self.stopped_by_us, self.out_of_memory) = (false, false, false),
            // It comes before the end, which `stop` does not: whoever hears of the end must know by then.
            "kill" if self.ends(&said.signal) => self.asked_to_stop = true,
            "stop" => self.asked_to_stop = true,
            "oom" => self.out_of_memory = true,
            "die" => {
                let cause = said.exit_code.parse().map_or(EndCause::Unseen, ended);
                self.cause = Some(if self.out_of_memory { EndCause::OutOfMemory } else { cause });
            }
            _ => {}
        }
    }

    /// Whether who sends this signal means to end it; others mean "read your configuration again" and the like.
    fn ends(&self, signal: &str) -> bool {
        matches!(signal, "2" | "3" | "9" | "15" | "SIGINT" | "SIGQUIT" | "SIGKILL" | "SIGTERM")
            || self.stop_signal.as_deref().is_some_and(|own| own == signal)
    }

    /// What is seen when the engine says this of it.
    pub(super) fn observe(&mut self, said: &Inspected) -> Observation {
        let state = &said.state;
        self.stop_signal.clone_from(&said.config.stop_signal);
        self.is_running = state.pid != 0;
        let mut seen = Observation::of(self.target.service.clone(), run(state));
        let at = moment(&state.finished_at);
        if matches!(state.status.as_str(), "exited" | "dead" | "restarting") && at.is_some() {
            let cause = if state.oom_killed { EndCause::OutOfMemory } else { ended(state.exit_code) };
            self.end = Some(End { process: None, cause, at });
        } else if let (Some(cause), true) = (self.cause.take(), at.is_some()) {
            // It runs again already.
            self.end = Some(End { process: None, cause, at });
        } else if !state.error.is_empty() && state.pid == 0 {
            self.end = Some(End { process: None, cause: EndCause::NotStarted(state.error.clone()), at });
        }
        if seen.run == Run::Down {
            self.cause = None;
        }
        let known = |pid| process::now(pid).unwrap_or(Process { pid, start_ticks: 0 });
        seen.process = Some(state.pid).filter(|pid| *pid != 0).map(known);
        seen.since = seen.process.and_then(|_| moment(&state.started_at));
        seen.end = self.end.clone();
        seen.restarts = Some(said.restarts);
        seen.health = state.health.as_ref().and_then(health);
        seen.stopped_by_operator = seen.run == Run::Down && self.asked_to_stop && !self.stopped_by_us;
        seen
    }

    /// What is seen when the engine does not know it.
    pub(super) fn missing(&mut self) -> Observation {
        let why =
            format!("the Docker engine knows no container {}: is the name right, was it removed?", self.target.unit);
        self.end = Some(End { process: None, cause: EndCause::NotStarted(why), at: None });
        let mut seen = Observation::of(self.target.service.clone(), Run::Down);
        seen.end = self.end.clone();
        seen
    }
}

fn run(state: &State) -> Run {
    let checked = state.health.as_ref().map(|health| health.status.as_str());
    match state.status.as_str() {
        "running" if checked == Some("starting") => Run::Starting,
        "running" => Run::Up,
        "restarting" => Run::Starting,
        "removing" => Run::Stopping,
        "created" | "exited" | "dead" => Run::Down,
        "paused" => Run::Unknown("somebody has paused it: `docker unpause` lets it go on".to_owned()),
        other => Run::Unknown(format!("the engine says `{other}`, which this version does not know")),
    }
}

/// The engine tells of a signal as 128 and its number; so does a program that chooses to.
fn ended(code: i32) -> EndCause {
    match code {
        129..=192 => EndCause::Signal(code - 128),
        _ => EndCause::Exit(code),
    }
}

fn health(checked: &Checked) -> Option<Health> {
    match checked.status.as_str() {
        "healthy" => Some(Health::Alive),
        "unhealthy" => {
            let last = checked.log.iter().flatten().last().map(|run| run.output.trim()).unwrap_or_default();
            let last = last.lines().next().unwrap_or_default();
            Some(Health::Dead(format!("its health check fails: {}", display_line(last))))
        }
        _ => None,
    }
}

/// The engine says "never" as the year 1.
fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|at: &Timestamp| at.as_second() > 0)
}
