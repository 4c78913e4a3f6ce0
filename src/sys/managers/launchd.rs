//! Services that launchd runs on a Mac, by what `launchctl print` says of them.
//!
//! Written from launchd's documentation and tried with recorded answers only, never on a Mac. launchd tells of no
//! changes: a service is looked at when the agent asks, and after everything that was done to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::domain::foreign_text::display_line;
use crate::domain::id::ServiceName;
use crate::domain::service::{End, EndCause, Observation, Process, Run, Verb};
use crate::ports::manager::{Target, Teller};
use crate::ports::{Exec as _, Exit, Program, Ran};
use crate::sys::exec::SystemExec;
use crate::sys::managers::thread::{Order, Orders, Threaded, Voice};

/// launchd's own program.
pub const LAUNCHCTL: &str = "/bin/launchctl";
/// How long it may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The most that it may say.
const LARGEST: usize = 256 * 1024;
/// `launchctl` exits with this when there is no such service.
const NO_SUCH_SERVICE: i32 = 113;

/// launchd as a manager. A target's unit is a service target such as `system/org.example.web`, or only the label of
/// one in the domain `system`.
#[derive(Debug)]
pub struct Launchd {
    orders: Orders,
}

impl Launchd {
    /// launchd, asked by this program.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn by(launchctl: PathBuf, teller: Teller) -> std::io::Result<Self> {
        let asking = Asking { launchctl, voice: Voice::new(teller), services: BTreeMap::new() };
        Ok(Self { orders: Orders::start("launchd", |orders| asking.serve(orders))? })
    }
}

impl Threaded for Launchd {
    fn orders(&self) -> &Orders {
        &self.orders
    }
}

struct Asking {
    launchctl: PathBuf,
    voice: Voice,
    /// The service target of each, and whether launchd has known it.
    services: BTreeMap<ServiceName, (String, bool)>,
}

impl Asking {
    /// Serves until nobody can give orders any more. The thread is this one's alone, so that it may wait.
    async fn serve(mut self, mut orders: UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Watch(targets) => {
                    let before = std::mem::take(&mut self.services);
                    before.keys().for_each(|service| self.voice.forget(service));
                    for Target { service, unit } in targets {
                        let unit = if unit.contains('/') { unit } else { format!("system/{unit}") };
                        let known = before.get(&service).is_some_and(|(same, known)| *same == unit && *known);
                        self.services.insert(service.clone(), (unit, known));
                        self.look(&service);
                    }
                }
                Order::Look(service) => {
                    self.voice.forget(&service);
                    self.look(&service);
                }
                Order::Act(service, verb) => self.act(service, verb),
            }
        }
    }

    fn launchctl(&self, arguments: &[&str]) -> Ran {
        let launchctl = self.launchctl.to_string_lossy().into_owned();
        let argv = std::iter::once(launchctl).chain(arguments.iter().map(|&word| word.to_owned())).collect();
        SystemExec.run(&Program { argv, dir: PathBuf::from("/"), timeout: ANSWER, output_cap: LARGEST, memory: None })
    }

    fn look(&mut self, service: &ServiceName) {
        let Some((target, known)) = self.services.get(service).cloned() else { return };
        let ran = self.launchctl(&["print", &target]);
        let seen = match ran.exit {
            Exit::Code(0) => {
                self.services.insert(service.clone(), (target, true));
                observe(service.clone(), &String::from_utf8_lossy(&ran.stdout))
            }
            Exit::Code(NO_SUCH_SERVICE) => missing(service.clone(), &target, known),
            _ => Observation::unknown(service.clone(), failed(&ran)),
        };
        self.voice.tell(seen);
    }

    fn act(&mut self, service: ServiceName, verb: Verb) {
        let Some((target, _)) = self.services.get(&service).cloned() else {
            return self.voice.refuse(service, verb, "it is not among the services that are watched".to_owned());
        };
        let ran = match verb {
            // Without -k, one that runs is left alone.
            Verb::Start => self.launchctl(&["kickstart", &target]),
            Verb::Stop => self.launchctl(&["kill", "TERM", &target]),
            Verb::Kill => self.launchctl(&["kill", "KILL", &target]),
            Verb::Reload => {
                let why = "launchd knows no way to have a job read its configuration again";
                return self.voice.refuse(service, verb, why.to_owned());
            }
        };
        // 3: there is no process to signal, as was wanted.
        let done = ran.exit == Exit::Code(0) || verb != Verb::Start && ran.exit == Exit::Code(3);
        if !done {
            self.voice.refuse(service.clone(), verb, failed(&ran));
        }
        self.voice.forget(&service);
        self.look(&service);
    }
}

fn failed(ran: &Ran) -> String {
    let said = display_line(&String::from_utf8_lossy(&ran.stderr));
    match &ran.exit {
        Exit::NotStarted(why) => format!("launchctl cannot be run: {why}"),
        Exit::TimedOut => format!("launchctl did not answer within {} s", ANSWER.as_secs()),
        Exit::Code(code) => format!("launchctl failed with {code}: {said}"),
        Exit::Signal(signal) => format!("launchctl was killed by signal {signal}"),
    }
}

/// launchd knows no such service: since a person took it out, if it knew it before.
fn missing(service: ServiceName, target: &str, known: bool) -> Observation {
    let mut seen = Observation::of(service, Run::Down);
    seen.stopped_by_operator = known;
    let why = format!("launchd knows no service {target}: is the label right, and is it bootstrapped?");
    seen.end = Some(End { process: None, cause: EndCause::NotStarted(why), at: None });
    seen
}

/// What `launchctl print` says, as an observation. Only what stands in the outermost braces is about the service itself.
fn observe(service: ServiceName, text: &str) -> Observation {
    let mut facts = BTreeMap::new();
    let mut depth = 0u32;
    for line in text.lines().map(str::trim) {
        if line.ends_with('{') {
            depth += 1;
        } else if line == "}" {
            depth = depth.saturating_sub(1);
        } else if let (1, Some((name, value))) = (depth, line.split_once(" = ")) {
            facts.insert(name, value);
        }
    }
    let pid = facts.get("pid").and_then(|pid| pid.parse().ok());
    let run = match facts.get("state").copied() {
        Some("running") => Run::Up,
        Some("spawn scheduled" | "spawning") => Run::Starting,
        Some("not running" | "waiting" | "exited") => Run::Down,
        Some(other) => Run::Unknown(format!("launchd says `{other}`, which this version does not know")),
        None => Run::Unknown("launchctl said nothing of its state".to_owned()),
    };
    let mut seen = Observation::of(service, run);
    // There is no /proc to read a start from.
    seen.process = pid.map(|pid| Process { pid, start_ticks: 0 });
    seen.restarts = facts.get("runs").and_then(|runs| runs.parse::<u64>().ok()).map(|runs| runs.saturating_sub(1));
    seen.end = cause(&facts).map(|cause| End { process: None, cause, at: None });
    seen
}

fn cause(facts: &BTreeMap<&str, &str>) -> Option<EndCause> {
    // `Killed: 9`
    if let Some(signal) = facts.get("last terminating signal").and_then(|said| said.rsplit(": ").next()) {
        return signal.parse().ok().map(EndCause::Signal);
    }
    // `(never exited)`, `0` or `78: EX_CONFIG`
    let code = facts.get("last exit code")?.split(':').next()?;
    code.trim().parse().ok().map(EndCause::Exit)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::ports::manager::Manager as _;
    use crate::ports::manager::Told;

    fn service() -> ServiceName {
        "web".parse().expect("a name")
    }

    fn printed(state: &str, more: &str) -> String {
        format!(
            "system/org.example.web = {{\n\tactive count = 1\n\tpath = /Library/LaunchDaemons/org.example.web.plist\n\
             \ttype = LaunchDaemon\n\tstate = {state}\n\n\tprogram = /usr/local/bin/web\n\targuments = {{\n\
             \t\t/usr/local/bin/web\n\t\tstate = running\n\t}}\n\n\tdefault environment = {{\n\
             \t\tPATH => /usr/bin:/bin:/usr/sbin:/sbin\n\t}}\n\n\tdomain = system\n\tminimum runtime = 10\n\
             \texit timeout = 5\n{more}\tspawn type = daemon (3)\n\tproperties = keepalive | runatload\n}}\n"
        )
    }

    #[test]
    fn a_service_that_runs_has_a_process_and_a_count() {
        let text = printed("running", "\truns = 3\n\tpid = 4242\n\tlast terminating signal = Killed: 9\n");
        let seen = observe(service(), &text);
        assert_eq!(seen.run, Run::Up);
        assert_eq!(seen.process, Some(Process { pid: 4242, start_ticks: 0 }));
        assert_eq!(seen.restarts, Some(2));
        assert_eq!(seen.end.map(|end| end.cause), Some(EndCause::Signal(9)));
    }

    #[test]
    fn ends_and_states_are_told_apart() {
        let of = |state: &str, more: &str| observe(service(), &printed(state, more));
        let down = of("not running", "\truns = 1\n\tlast exit code = 78: EX_CONFIG\n");
        assert_eq!((down.run, down.end.map(|end| end.cause)), (Run::Down, Some(EndCause::Exit(78))));
        let never = of("waiting", "\truns = 0\n\tlast exit code = (never exited)\n");
        assert_eq!((never.run, never.end, never.restarts), (Run::Down, None, Some(0)));
        assert_eq!(of("spawn scheduled", "").run, Run::Starting);
        assert!(matches!(of("dreaming", "").run, Run::Unknown(why) if why.contains("dreaming")));
        assert!(matches!(observe(service(), "").run, Run::Unknown(_)));
    }

    #[test]
    fn a_service_that_was_taken_out_is_a_persons_doing_and_one_never_known_is_not() {
        assert!(missing(service(), "system/web", true).stopped_by_operator);
        assert!(!missing(service(), "system/web", false).stopped_by_operator);
    }

    /// A program that answers as launchctl does, and writes down what it was asked. It is a link to one that is there:
    /// a program that was just written may still be held open by another thread's child.
    fn launchctl(dir: &Path, answer: &str) -> PathBuf {
        std::fs::write(dir.join("running"), printed("running", "\tpid = 1\n")).expect("written");
        std::fs::write(dir.join("answer"), answer).expect("written");
        let program = dir.join("launchctl");
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/launchctl");
        std::os::unix::fs::symlink(real, &program).expect("ours");
        program
    }

    #[test]
    fn what_is_wanted_is_asked_of_launchctl_and_looked_at_after() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let answer = "case $1 in print) cat \"$here/running\" ;; kickstart) echo denied >&2; exit 1 ;; esac";
        let (sender, told) = channel();
        let mut launchd = Launchd::by(launchctl(dir.path(), answer), Teller::from(sender)).expect("a thread");
        launchd.watch(&[Target { service: service(), unit: "org.example.web".to_owned() }]);
        for verb in [Verb::Kill, Verb::Start, Verb::Reload] {
            launchd.act(&service(), verb);
        }
        drop(launchd);
        let told: Vec<Told> = told.iter().collect();
        let runs = |told: &Told| matches!(told, Told::Seen(seen) if seen.run == Run::Up);
        assert!(runs(&told[0]) && runs(&told[1]), "{told:#?}");
        assert!(
            matches!(&told[2], Told::Refused { verb: Verb::Start, why, .. } if why.contains("denied")),
            "{told:#?}"
        );
        assert!(runs(&told[3]), "{told:#?}");
        assert!(matches!(&told[4], Told::Refused { verb: Verb::Reload, .. }), "{told:#?}");
        let asked = std::fs::read_to_string(dir.path().join("asked")).expect("it was asked");
        let target = "system/org.example.web";
        let wanted = ["print", "kill KILL", "print", "kickstart", "print"].map(|words| format!("{words} {target}\n"));
        assert_eq!(asked, wanted.concat());
    }

    #[test]
    fn a_launchctl_that_fails_or_is_not_there_leaves_the_service_unknown() {
        let dir = tempfile::tempdir().expect("a temp dir");
        for program in [launchctl(dir.path(), "echo broken >&2; exit 5"), dir.path().join("nowhere")] {
            let (sender, told) = channel();
            let mut launchd = Launchd::by(program, Teller::from(sender)).expect("a thread");
            launchd.watch(&[Target { service: service(), unit: "org.example.web".to_owned() }]);
            drop(launchd);
            let told: Vec<Told> = told.iter().collect();
            assert!(matches!(&told[..], [Told::Seen(seen)] if matches!(seen.run, Run::Unknown(_))), "{told:#?}");
        }
    }
}
