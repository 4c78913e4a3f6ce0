//! What systemd says of one unit, as an observation.

use std::time::Duration;

use jiff::Timestamp;
use zbus::Variant;

use crate::domain::service::{End, EndCause, Observation, Process, Run};
use crate::ports::manager::Target;
use crate::sys::managers::process;

/// `si_code` of a child that exited by itself, as systemd passes it on.
const CLD_EXITED: i32 = 1;
/// From here on, systemd's own exit codes say that the program was never executed.
const NOT_EXECUTED: i32 = 200;
/// The signal by which the kernel kills.
const SIGKILL: i32 = 9;

/// The properties of a unit that matter here, by systemd's own names. Times are in microseconds; 0 is never.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Facts {
    load_state: String,
    load_error: String,
    active_state: String,
    sub_state: String,
    need_daemon_reload: bool,
    condition_result: bool,
    condition_at: u64,
    active_exit: u64,
    inactive_exit: u64,
    inactive_enter: u64,
    result: String,
    main_pid: u32,
    exec_pid: u32,
    exec_code: i32,
    exec_status: i32,
    exec_start_real: u64,
    exec_start: u64,
    exec_exit_real: u64,
    exec_exit: u64,
    restarts: Option<u64>,
    remain_after_exit: bool,
}

impl Facts {
    /// Whether a property of this name matters here.
    pub(super) fn knows(name: &str) -> bool {
        Self::default().set(name, &Variant::Bool(false))
    }

    /// Whether systemd was asked for all of it, and not only heard to speak of a change.
    pub(super) fn is_whole(&self) -> bool {
        !self.load_state.is_empty()
    }

    /// Since when it is what it is now, or was before it ended, in microseconds since boot.
    pub(super) const fn run_began(&self) -> u64 {
        self.inactive_exit
    }

    /// Whether systemd counts it as failed.
    pub(super) fn has_failed(&self) -> bool {
        self.active_state == "failed"
    }

    /// Takes in one property; says whether it is one that matters here.
    pub(super) fn set(&mut self, name: &str, value: &Variant<'_>) -> bool {
        match name {
            "LoadState" => text(value, &mut self.load_state),
            "LoadError" => load_error(value, &mut self.load_error),
            "ActiveState" => text(value, &mut self.active_state),
            "SubState" => text(value, &mut self.sub_state),
            "NeedDaemonReload" => flag(value, &mut self.need_daemon_reload),
            "ConditionResult" => flag(value, &mut self.condition_result),
            "ConditionTimestampMonotonic" => number(value, &mut self.condition_at),
            "ActiveExitTimestampMonotonic" => number(value, &mut self.active_exit),
            "InactiveExitTimestampMonotonic" => number(value, &mut self.inactive_exit),
            "InactiveEnterTimestamp" => number(value, &mut self.inactive_enter),
            "Result" => text(value, &mut self.result),
            "MainPID" => small(value, &mut self.main_pid),
            "ExecMainPID" => small(value, &mut self.exec_pid),
            "ExecMainCode" => signed(value, &mut self.exec_code),
            "ExecMainStatus" => signed(value, &mut self.exec_status),
            "ExecMainStartTimestamp" => number(value, &mut self.exec_start_real),
            "ExecMainStartTimestampMonotonic" => number(value, &mut self.exec_start),
            "ExecMainExitTimestamp" => number(value, &mut self.exec_exit_real),
            "ExecMainExitTimestampMonotonic" => number(value, &mut self.exec_exit),
            "NRestarts" => {
                let mut restarts = 0;
                small(value, &mut restarts);
                self.restarts = Some(u64::from(restarts));
            }
            "RemainAfterExit" => flag(value, &mut self.remain_after_exit),
            _ => return false,
        }
        true
    }

    /// Whether it runs or is about to: what was before is over. Between two tries of systemd's own it is not.
    fn begins(&self) -> bool {
        self.active_state == "active" || self.active_state == "activating" && !self.has_ended()
    }

    pub(super) fn is_inactive(&self) -> bool {
        matches!(self.active_state.as_str(), "inactive" | "failed")
    }

    /// Whether its processes had ended when this was said: there is an end to tell of.
    fn has_ended(&self) -> bool {
        self.is_inactive() || self.sub_state.starts_with("auto-restart")
    }

    fn run(&self) -> Run {
        match self.active_state.as_str() {
            "active" | "reloading" | "refreshing" | "maintenance" => Run::Up,
            "activating" => Run::Starting,
            "deactivating" => Run::Stopping,
            "inactive" | "failed" => Run::Down,
            other => Run::Unknown(format!("systemd says `{other}`, which this version does not know")),
        }
    }

    /// How it came to its end, as far as systemd knows.
    fn cause(&self) -> EndCause {
        let never = |why: &str| EndCause::NotStarted(why.to_owned());
        match self.result.as_str() {
            "oom-kill" => EndCause::OutOfMemory,
            "watchdog" => EndCause::Watchdog,
            "timeout" => EndCause::TimedOut,
            "start-limit-hit" => never("it was started too often in a short time (start-limit-hit)"),
            "resources" => never("systemd could not set up what its unit asks for (resources)"),
            "protocol" => never("it did not behave as the Type= of its unit promises (protocol)"),
            "exec-condition" => never("its ExecCondition= said no"),
            _ if self.exec_exit == 0 => EndCause::Unseen,
            _ if self.exec_code != CLD_EXITED => EndCause::Signal(self.exec_status),
            _ if self.exec_status >= NOT_EXECUTED => match not_executed(self.exec_status) {
                Some(why) => never(why),
                None => EndCause::Exit(self.exec_status),
            },
            _ => EndCause::Exit(self.exec_status),
        }
    }
}

/// The exit codes by which systemd says that it never came to the program, as `systemctl status` explains them.
fn not_executed(status: i32) -> Option<&'static str> {
    Some(match status {
        200 => "its working directory cannot be entered (200/CHDIR)",
        203 => "its program cannot be executed (203/EXEC)",
        209 => "its standard output cannot be opened (209/STDOUT)",
        214 => "its scheduling cannot be set (214/SETSCHEDULER)",
        216 => "its group does not exist or cannot be taken (216/GROUP)",
        217 => "its user does not exist or cannot be taken (217/USER)",
        218 => "its capabilities cannot be set (218/CAPABILITIES)",
        226 => "its mount namespace cannot be set up: a path of its unit is missing (226/NAMESPACE)",
        228 => "its system call filter cannot be set (228/SECCOMP)",
        233 => "its runtime directory cannot be made (233/RUNTIME_DIRECTORY)",
        238 => "its state directory cannot be made (238/STATE_DIRECTORY)",
        239 => "its cache directory cannot be made (239/CACHE_DIRECTORY)",
        240 => "its log directory cannot be made (240/LOGS_DIRECTORY)",
        243 => "its credentials cannot be set up (243/CREDENTIALS)",
        _ => return None,
    })
}

/// One unit as it is followed: what was said of it, and what must outlive the saying.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) target: Target,
    pub(super) facts: Facts,
    /// The last end; systemd forgets it at the next start.
    end: Option<End>,
    /// The last record of the kernel's log that was held to be about it.
    kernel_record: u64,
    /// That end is a fault of its definition, which may be mended without a start.
    unusable: bool,
    /// When the start was that the next two are about; a stop that is only queued leaves the unit active for a while.
    begun: u64,
    /// It was seen to be stopped on request, and not since started.
    asked_to_stop: bool,
    /// It was this program that asked.
    pub(super) stopped_by_us: bool,
    /// The run that an agent before this one asked to end, until the first look.
    own_stop: Option<u64>,
}

impl Unit {
    pub(super) const fn new(target: Target, facts: Facts, own_stop: Option<u64>) -> Self {
        Self {
            target,
            facts,
            end: None,
            kernel_record: 0,
            unusable: false,
            begun: 0,
            asked_to_stop: false,
            stopped_by_us: false,
            own_stop,
        }
    }

    /// Looks at what the facts are now. `log` is asked for a killing of this unit for want of memory, between two
    /// times since boot and beyond a record: where there is no unified hierarchy, systemd itself does not know.
    pub(super) fn observe(&mut self, log: impl FnOnce(&str, Duration, Duration, u64) -> Option<u64>) -> Observation {
        let facts = &self.facts;
        if facts.begins() && facts.inactive_exit != self.begun {
            self.begun = facts.inactive_exit;
            (self.asked_to_stop, self.stopped_by_us) = (false, false);
        }
        // One that still runs was not stopped after all, and whoever stops it later is somebody else.
        self.stopped_by_us |= self.own_stop.take() == Some(facts.inactive_exit) && !facts.begins();
        self.asked_to_stop |= is_being_stopped(facts) || was_stopped(facts);
        if let Some(cause) = unusable(facts, &self.target.unit) {
            self.end = Some(End { process: None, cause, at: None });
            self.unusable = true;
        } else if std::mem::take(&mut self.unusable) {
            self.end = None;
        }
        if !self.unusable
            && self.facts.has_ended()
            && let Some(end) = end(&self.facts)
        {
            self.take_end(end, log);
        }
        let facts = &self.facts;
        let mut seen = Observation::of(self.target.service.clone(), facts.run());
        let known = |pid| process::now(pid).unwrap_or(Process { pid, start_ticks: 0 });
        seen.process = Some(facts.main_pid).filter(|pid| *pid != 0).map(known);
        seen.since = seen.process.and_then(|_| moment(facts.exec_start_real));
        seen.end = self.end.clone();
        seen.restarts = facts.restarts;
        seen.needs_reload = facts.need_daemon_reload;
        let asked = facts.is_inactive() && self.asked_to_stop && !self.stopped_by_us;
        seen.stopped_by_operator = asked || facts.load_state == "masked";
        seen
    }

    /// Keeps an end. One that was known stays as it is: by now the kernel's log may have moved on.
    fn take_end(&mut self, mut end: End, log: impl FnOnce(&str, Duration, Duration, u64) -> Option<u64>) {
        let known = self.end.as_ref().filter(|known| known.process == end.process && known.at == end.at);
        if end.cause == EndCause::Signal(SIGKILL) {
            if known.is_some_and(|known| known.cause == EndCause::OutOfMemory) {
                return;
            }
            let (from, to) = (self.facts.exec_start, self.facts.exec_exit);
            let (from, to) = (Duration::from_micros(from), Duration::from_micros(to));
            let unit = &self.target.unit;
            let record = if known.is_none() { log(unit, from, to, self.kernel_record) } else { None };
            if let Some(record) = record {
                self.kernel_record = record;
                end.cause = EndCause::OutOfMemory;
            }
        }
        self.end = Some(end);
    }
}

/// Why systemd cannot run this unit whatever is done, if it cannot.
fn unusable(facts: &Facts, unit: &str) -> Option<EndCause> {
    let why = match facts.load_state.as_str() {
        "not-found" => format!("systemd knows no unit {unit}: is the name right, and was its package removed?"),
        "bad-setting" | "error" => format!("the file of {unit} is not in order: {}", facts.load_error),
        _ if facts.is_inactive() && facts.condition_at > 0 && !facts.condition_result => {
            format!("a Condition= or Assert= of {unit} is not met")
        }
        _ => return None,
    };
    Some(EndCause::NotStarted(why))
}

/// The end that the facts tell of, if any.
fn end(facts: &Facts) -> Option<End> {
    if facts.exec_exit == 0 {
        // It never got as far as its program, or it has run no program since systemd knows it.
        let failed = facts.active_state == "failed";
        return failed.then(|| End { process: None, cause: facts.cause(), at: moment(facts.inactive_enter) });
    }
    // Its start in ticks can no longer be read, and a remembered one would make this end another one after a restart
    // of this program.
    let process = (facts.exec_pid != 0).then_some(Process { pid: facts.exec_pid, start_ticks: 0 });
    Some(End { process, cause: facts.cause(), at: moment(facts.exec_exit_real) })
}

/// systemd stops it while it runs and has nothing against it: somebody asked.
fn is_being_stopped(facts: &Facts) -> bool {
    facts.active_state == "deactivating" && facts.result == "success" && facts.main_pid != 0 && facts.exec_exit == 0
}

/// The same, told afterwards by the order of things: where somebody asked, the unit left its active state before its
/// program ended; where the program ended by itself, after. systemd keeps no better word of it.
fn was_stopped(facts: &Facts) -> bool {
    if !facts.is_inactive() || facts.active_exit == 0 {
        return false;
    }
    if facts.remain_after_exit && facts.result == "success" {
        return true;
    }
    let asked = facts.exec_start <= facts.active_exit && facts.active_exit < facts.exec_exit;
    // Of these systemd stopped it by itself.
    asked && !matches!(facts.result.as_str(), "watchdog" | "oom-kill" | "timeout" | "protocol" | "resources")
}

fn moment(microseconds: u64) -> Option<Timestamp> {
    let microseconds = i64::try_from(microseconds).ok().filter(|&at| at > 0)?;
    Timestamp::from_microsecond(microseconds).ok()
}

fn text(value: &Variant<'_>, into: &mut String) {
    if let Variant::Str(text) = value {
        text.as_str().clone_into(into);
    }
}

fn flag(value: &Variant<'_>, into: &mut bool) {
    if let Variant::Bool(flag) = value {
        *into = *flag;
    }
}

fn number(value: &Variant<'_>, into: &mut u64) {
    if let Variant::U64(number) = value {
        *into = *number;
    }
}

fn small(value: &Variant<'_>, into: &mut u32) {
    if let Variant::U32(number) = value {
        *into = *number;
    }
}

fn signed(value: &Variant<'_>, into: &mut i32) {
    if let Variant::I32(number) = value {
        *into = *number;
    }
}

/// `LoadError` is a pair of an error's name and its words.
fn load_error(value: &Variant<'_>, into: &mut String) {
    if let Variant::Structure(pair) = value
        && let Some(Variant::Str(words)) = pair.fields().get(1)
    {
        words.as_str().clone_into(into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(facts: Facts) -> Unit {
        let target = Target { service: "web".parse().expect("a name"), unit: "web.service".to_owned() };
        Unit::new(target, facts, None)
    }

    fn quiet(_: &str, _: Duration, _: Duration, _: u64) -> Option<u64> {
        None
    }

    /// A program that ran from second 1 to second 2.
    fn ended_by(code: i32, status: i32, result: &str) -> Facts {
        Facts {
            load_state: "loaded".to_owned(),
            active_state: "failed".to_owned(),
            sub_state: "failed".to_owned(),
            result: result.to_owned(),
            exec_pid: 7,
            exec_code: code,
            exec_status: status,
            exec_start: 1_000_000,
            exec_exit: 2_000_000,
            exec_exit_real: 1_700_000_000_000_000,
            active_exit: 2_000_100,
            inactive_exit: 1_000_000,
            ..Facts::default()
        }
    }

    #[test]
    fn each_result_of_systemd_has_its_cause() {
        let never = |why: &str| EndCause::NotStarted(why.to_owned());
        for (code, status, result, cause) in [
            (1, 3, "exit-code", EndCause::Exit(3)),
            (1, 0, "success", EndCause::Exit(0)),
            (2, 9, "signal", EndCause::Signal(9)),
            (3, 11, "core-dump", EndCause::Signal(11)),
            (2, 9, "oom-kill", EndCause::OutOfMemory),
            (2, 6, "watchdog", EndCause::Watchdog),
            (2, 15, "timeout", EndCause::TimedOut),
            (1, 250, "exit-code", EndCause::Exit(250)),
            (1, 203, "exit-code", never("its program cannot be executed (203/EXEC)")),
            (1, 1, "start-limit-hit", never("it was started too often in a short time (start-limit-hit)")),
        ] {
            let seen = unit(ended_by(code, status, result)).observe(quiet);
            let end = seen.end.expect("an end");
            assert_eq!((end.cause, seen.run, seen.stopped_by_operator), (cause, Run::Down, false), "{result} {status}");
        }
    }

    #[test]
    fn the_kernels_word_is_asked_once_and_kept() {
        let mut unit = unit(ended_by(2, 9, "signal"));
        let asked = |unit: &str, from: Duration, to: Duration, after: u64| {
            assert_eq!((unit, after), ("web.service", 0));
            assert_eq!((from, to), (Duration::from_secs(1), Duration::from_secs(2)));
            Some(41)
        };
        assert_eq!(unit.observe(asked).end.expect("an end").cause, EndCause::OutOfMemory);
        let never = |_: &str, _: Duration, _: Duration, _: u64| panic!("it is known");
        assert_eq!(unit.observe(never).end.expect("an end").cause, EndCause::OutOfMemory);
        // The next end is another one, and the same record does not count twice.
        unit.facts.exec_exit_real += 1;
        let after = |_: &str, _: Duration, _: Duration, after: u64| {
            assert_eq!(after, 41);
            None
        };
        assert_eq!(unit.observe(after).end.expect("an end").cause, EndCause::Signal(9));
    }

    #[test]
    fn a_stop_on_request_is_told_by_the_order_of_things() {
        let stopped = |result: &str| Facts { active_exit: 1_500_000, ..ended_by(1, 1, result) };
        assert!(unit(stopped("success")).observe(quiet).stopped_by_operator);
        assert!(unit(stopped("exit-code")).observe(quiet).stopped_by_operator, "it did not like to be stopped");
        for by_itself in ["watchdog", "oom-kill", "timeout"] {
            assert!(!unit(stopped(by_itself)).observe(quiet).stopped_by_operator, "{by_itself}");
        }
        let mut ours = unit(stopped("success"));
        ours.stopped_by_us = true;
        assert!(!ours.observe(quiet).stopped_by_operator);
        // A later failure to start is not the stop of the time before.
        let later = Facts { exec_start: 3_000_000, exec_exit: 4_000_000, ..stopped("exit-code") };
        assert!(!unit(later).observe(quiet).stopped_by_operator);
    }

    #[test]
    fn a_stop_that_an_agent_before_asked_for_is_no_persons() {
        let stopped =
            || Facts { active_exit: 1_500_000, active_state: "inactive".to_owned(), ..ended_by(2, 15, "success") };
        let after = |facts: Facts, run| Unit { own_stop: Some(run), ..unit(facts) };
        assert!(unit(stopped()).observe(quiet).stopped_by_operator);
        assert!(!after(stopped(), 1_000_000).observe(quiet).stopped_by_operator);
        assert!(after(stopped(), 999_999).observe(quiet).stopped_by_operator, "that was another run of it");
        let mut running = after(Facts { active_state: "active".to_owned(), ..stopped() }, 1_000_000);
        running.observe(quiet);
        running.facts = stopped();
        assert!(running.observe(quiet).stopped_by_operator, "it was stopped by somebody else after all");
    }

    #[test]
    fn a_stop_that_ends_by_force_was_still_asked_for() {
        let mut unit = unit(Facts {
            load_state: "loaded".to_owned(),
            active_state: "deactivating".to_owned(),
            result: "success".to_owned(),
            main_pid: 7,
            ..Facts::default()
        });
        assert_eq!(unit.observe(quiet).run, Run::Stopping);
        unit.facts = Facts { active_exit: 1_500_000, ..ended_by(2, 9, "timeout") };
        assert!(unit.observe(quiet).stopped_by_operator);
        unit.facts.active_state = "activating".to_owned();
        unit.facts.inactive_exit = 3_000_000;
        unit.observe(quiet);
        unit.facts = Facts { active_exit: 500_000, ..ended_by(2, 9, "timeout") };
        assert!(!unit.observe(quiet).stopped_by_operator, "it was started since");
    }

    #[test]
    fn a_crash_between_two_tries_of_systemds_own_has_an_end_that_stays() {
        let crash = Facts {
            active_state: "activating".to_owned(),
            sub_state: "auto-restart".to_owned(),
            restarts: Some(4),
            ..ended_by(1, 3, "exit-code")
        };
        let mut unit = unit(crash);
        let seen = unit.observe(quiet);
        assert_eq!((seen.run, seen.restarts), (Run::Starting, Some(4)));
        assert_eq!(seen.end.as_ref().expect("an end").cause, EndCause::Exit(3));
        unit.facts = Facts { active_state: "active".to_owned(), load_state: "loaded".to_owned(), ..Facts::default() };
        assert_eq!(unit.observe(quiet).end, seen.end, "systemd forgot it, and we did not");
    }

    #[test]
    fn what_systemd_cannot_run_is_said() {
        let of = |facts: Facts| unit(facts).observe(quiet);
        let missing =
            of(Facts { load_state: "not-found".to_owned(), active_state: "inactive".to_owned(), ..Facts::default() });
        assert!(matches!(missing.end.expect("an end").cause, EndCause::NotStarted(why) if why.contains("web.service")));
        let unmet = of(Facts {
            load_state: "loaded".to_owned(),
            active_state: "inactive".to_owned(),
            condition_at: 5,
            ..Facts::default()
        });
        assert!(matches!(unmet.end.expect("an end").cause, EndCause::NotStarted(why) if why.contains("Condition=")));
        let masked =
            of(Facts { load_state: "masked".to_owned(), active_state: "inactive".to_owned(), ..Facts::default() });
        assert!(masked.stopped_by_operator);
        assert!(matches!(of(Facts::default()).run, Run::Unknown(_)));
    }
}
