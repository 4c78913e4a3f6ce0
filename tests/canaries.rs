//! What tries a change before it is made: the real checkers of configuration files, commands, and shadows.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use mesh::domain::fix::{Fix, FixPlan, FixState};
use mesh::domain::guard::{ActionKind, AskedBy, Canary};
use mesh::domain::id::HostId;
use mesh::domain::lesson::Risk;
use mesh::domain::outcome::{Measured, Observed};
use mesh::domain::trust::Grant;
use mesh::loops::seed::{Area, Finished, Hand, intervene, prune, validate};
use mesh::ports::{Applier as _, Exec, Exit, Program, Ran, Shadow};
use mesh::store::db::Db;
use mesh::store::home::Home;
use mesh::sys::apply::SystemApplier;
use mesh::sys::exec::SystemExec;
use mesh::sys::host::find_program;

use crate::seeding::{Host, finding};
use crate::support::project::Project;

/// A folder outside git that a lesson would change, with the hand that really does.
struct Folder {
    root: PathBuf,
    host: Host,
    applier: SystemApplier,
    area: fn(&mut Area),
    claim: Observed,
    _project: Project,
}

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let project = Project::new(&[("unused", "")]);
        let host = Host { grant: Grant::Apply, change: |lesson| lesson.risk = Risk::Medium, ..Host::beside(&project) };
        let root = project.root.parent().expect("a folder above").join(name);
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("below")).expect("made");
            fs::write(path, text).expect("written");
        }
        let applier = SystemApplier::new(&host.home.join("state"), HostId::from_bytes([0xab; 32]), |_| ());
        Self { root, host, applier, area: |_| (), claim: Observed::Unknown, _project: project }
    }

    fn with<T>(
        &mut self,
        run: impl FnOnce(
            &mut mesh::loops::seed::Parts<'_>,
            Hand<'_>,
            &Area,
            &[mesh::domain::fix::KnownLesson],
            jiff::Timestamp,
        ) -> T,
    ) -> T {
        let claim = self.claim;
        let measure = move |_: &Db, _: &str| Ok(Measured { says: claim, ..Measured::nothing() });
        let lock = Home::at(&self.host.home).lock_changes().expect("free");
        let hand = Hand { applier: &self.applier, measure: &measure, lock: &lock };
        let change = self.area;
        self.host.with(&self.root, |parts, area, known, now| {
            let mut area = area.clone();
            change(&mut area);
            run(parts, hand, &area, known, now)
        })
    }

    fn change(&mut self, path: &str, after: &str) -> Fix {
        let before = self.text(path);
        self.with(|parts, hand, area, known, now| {
            let mends = vec![finding(path, 1).fingerprint];
            let plan = FixPlan::new(&known[0], &area.root, path, before, after.to_owned(), mends).expect("a plan");
            intervene(parts, hand, area, &known[0], &plan, (ActionKind::File, AskedBy::Audit), now)
        })
        .expect("judged")
    }

    fn validate(&mut self) -> Vec<Finished> {
        self.with(|parts, hand, area, known, now| {
            let areas = [area.clone()];
            validate(parts, hand, &areas, known, now)
        })
        .expect("looked")
    }

    fn pass(&mut self, days: u64) {
        self.host.moment.uptime += Duration::from_secs(days * 86_400);
        self.host.moment.wall += SignedDuration::from_hours(i64::try_from(days * 24).expect("small"));
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).expect("readable")
    }

    fn leftovers(&self) -> Vec<String> {
        let names = fs::read_dir(self.host.home.join("state/worktrees")).into_iter().flatten();
        names.map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned()).collect()
    }
}

fn demand(program: &str, package: &str) {
    assert!(find_program(program, Path::new("/")).is_some(), "{program} is missing: apt-get install {package}");
}

#[test]
fn d4_each_checker_lets_a_sound_file_through_and_refuses_a_broken_one() {
    for (program, package) in [
        ("nginx", "nginx-light"),
        ("sshd", "openssh-server"),
        ("visudo", "sudo"),
        ("haproxy", "haproxy"),
        ("named-checkconf", "bind9-utils"),
        ("systemd-analyze", "systemd"),
    ] {
        demand(program, package);
    }
    // Sshd asks for it when root runs it. Another user may not make it, and need not.
    drop(fs::create_dir_all("/run/sshd"));
    let keys = tempfile::tempdir().expect("a temp dir");
    let key = keys.path().join("key");
    let made = Exec::run(
        &SystemExec,
        &program(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key.to_str().expect("UTF-8")]),
    );
    assert_eq!(made.exit, Exit::Code(0));
    let sshd = format!("HostKey {}\nPort 2222\nMaxAuthTries 6\n# BAD\n", key.display());
    let nginx = "pid PID;\nerror_log stderr;\nevents {}\nhttp {\n  access_log off;\n  include ROOT/conf.d/*.conf;\n}\n";
    let cases: [(&str, &str, &str, String, &str, &str); 6] = [
        ("nginx", "conf.d/a.conf", "nginx", "server { listen 127.0.0.1:18999; server_name BAD; }\n".to_owned(), "BAD", "listen 127.0.0.1"),
        ("ssh", "sshd_config", "sshd", sshd, "BAD", "MaxAuthTries"),
        ("sudoers.d", "deploy", "visudo", "deploy ALL=(ALL) NOPASSWD: /bin/BAD\n".to_owned(), "BAD", "ALL=(ALL)"),
        ("haproxy", "haproxy.cfg", "haproxy", "global\n  description BAD\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\nfrontend f\n  bind 127.0.0.1:18998\n".to_owned(), "BAD", "timeout connect"),
        ("bind", "named.conf", "named-checkconf", "options {\n  directory \"/tmp\"; // BAD\n};\n".to_owned(), "BAD", "directory \"/tmp\";"),
        ("units", "app.service", "systemd-analyze", "[Service]\nExecStart=/bin/true\n# BAD\n".to_owned(), "BAD", "ExecStart"),
    ];
    for (folder, path, program, text, bad, breaks) in cases {
        let mut place = Folder::new(folder, &[(path, &text)]);
        if program == "nginx" {
            let root = place.root.display().to_string();
            let pid = place.root.join("pid").display().to_string();
            fs::write(place.root.join("nginx.conf"), nginx.replace("ROOT", &root).replace("PID", &pid))
                .expect("written");
        }
        let good = text.replace(bad, "GOOD");
        let broken = good.replace(breaks, "no_such_setting }{");
        assert_ne!(broken, good, "{program}");
        let refused = place.change(path, &broken);
        assert_eq!(refused.state, FixState::Refused, "{program}: {:?}", refused.reason);
        assert!(
            refused.reason.as_deref().is_some_and(|why| why.contains(program) && why.contains("ended with")),
            "{:?}",
            refused.reason
        );
        assert_eq!(place.text(path), text, "{program}");
        place.pass(1);
        let made = place.change(path, &good);
        assert_eq!(made.state, FixState::Validating, "{program}: {:?}", made.reason);
        assert_eq!(place.text(path), good, "{program}");
        assert_eq!(place.leftovers(), Vec::<String>::new(), "{program}");
    }
}

fn program(argv: &[&str]) -> Program {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    Program { argv, dir: "/".into(), timeout: Duration::from_secs(30), output_cap: 4096, memory: None }
}

#[test]
fn a_checker_that_does_not_look_at_the_file_is_none() {
    demand("nginx", "nginx-light");
    let snippet = "# BAD\n";
    let conf = "events {}\n";
    let mut place = Folder::new("nginx", &[("nginx.conf", conf), ("snippets/unused.conf", snippet)]);
    let pid = place.root.join("pid");
    fs::write(place.root.join("nginx.conf"), format!("pid {};\nerror_log stderr;\n{conf}", pid.display()))
        .expect("written");
    let fix = place.change("snippets/unused.conf", "# GOOD\n");
    assert_eq!(fix.state, FixState::Backlog, "{:?}", fix.reason);
    let why = fix.reason.expect("said");
    assert!(why.starts_with("blocked on missing canary") && why.contains("does not look at this file"), "{why}");
    assert_eq!(place.text("snippets/unused.conf"), snippet);
    // A change that risks little is made unchecked, and says so.
    place.host.change = |lesson| lesson.risk = Risk::Low;
    place.pass(1);
    assert_eq!(place.change("snippets/unused.conf", "# GOOD\n").state, FixState::Validating);
}

/// A machine without any program.
struct Bare;

impl Exec for Bare {
    fn run(&self, program: &Program) -> Ran {
        panic!("{:?} is not there", program.argv)
    }

    fn finds(&self, _: &str, _: &Path) -> bool {
        false
    }
}

#[test]
fn d4_a_checker_that_is_not_installed_is_named_with_its_package() {
    let mut place = Folder::new("postfix", &[("main.cf", "BAD = 1\n")]);
    place.host.exec = &Bare;
    let (trials, canary) = place.with(|parts, _, area, _, _| area.trials("main.cf", parts.exec));
    assert!(trials.is_empty());
    assert_eq!(canary, Canary::Missing { program: "postfix".to_owned(), package: "postfix".to_owned() });
    let fix = place.change("main.cf", "GOOD = 1\n");
    assert_eq!(fix.state, FixState::Backlog);
    let why = fix.reason.expect("said");
    assert!(why.starts_with("blocked on missing canary") && why.contains("apt-get install postfix"), "{why}");
    assert_eq!(place.text("main.cf"), "BAD = 1\n");
}

#[test]
fn d4_a_canary_of_the_areas_own_takes_the_place_of_the_checker() {
    let mut place = Folder::new("postfix", &[("main.cf", "BAD = 1\n")]);
    place.area = |area| area.canary = ["grep", "-q", "^GOOD = [0-9]$", "{file}"].map(str::to_owned).to_vec();
    let fix = place.change("main.cf", "GOOD = x\n");
    assert_eq!((fix.state, place.text("main.cf").as_str()), (FixState::Refused, "BAD = 1\n"));
    assert!(fix.reason.expect("said").contains("grep"));
    assert_eq!(place.change("main.cf", "GOOD = 1\n").state, FixState::Validating);
    assert_eq!(place.text("main.cf"), "GOOD = 1\n");
}

#[test]
fn d4_a_service_is_tried_by_a_shadow_that_is_gone_afterwards() {
    let server = "import http.server, sys\nPORT = int(sys.argv[1])\n# BAD\nhttp.server.HTTPServer(('127.0.0.1', PORT), http.server.SimpleHTTPRequestHandler).serve_forever()\n";
    let mut place = Folder::new("service", &[("serve.py", server)]);
    // The port is this test's alone: the kernel gave it out and took it back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound").port();
    fs::write(place.host.home.join("port"), port.to_string()).expect("written");
    let text = server.replace("int(sys.argv[1])", &port.to_string());
    fs::write(place.root.join("serve.py"), &text).expect("written");
    place.area = |area| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let port = fs::read_to_string(area.root.parent().expect("above").join("home/port")).expect("written");
        let ask = format!("import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/', timeout=5)");
        area.shadow = Some(Shadow {
            start: words(&["python3", "serve.py"]),
            probe: words(&["python3", "-c", &ask]),
            within: Duration::from_secs(20),
        });
    };
    let refused = place.change("serve.py", &text.replace("import http.server, sys", "import no_such_module"));
    assert_eq!(refused.state, FixState::Refused, "{:?}", refused.reason);
    assert!(refused.reason.expect("said").contains("the shadow ended"));
    assert_eq!(place.text("serve.py"), text);
    place.pass(1);
    let made = place.change("serve.py", &text.replace("BAD", "GOOD"));
    assert_eq!(made.state, FixState::Validating, "{:?}", made.reason);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the shadow is gone");
}

#[test]
fn d18_a_trial_that_wants_too_much_memory_fails() {
    let mut place = Folder::new("service", &[("a.conf", "BAD\n")]);
    place.area = |area| {
        area.check = ["python3", "-c", "x = bytearray(512 * 1024 * 1024)"].map(str::to_owned).to_vec();
        area.check_memory = Some(128 * 1024 * 1024);
    };
    let fix = place.change("a.conf", "GOOD\n");
    assert_eq!((fix.state, place.text("a.conf").as_str()), (FixState::Refused, "BAD\n"));
    assert!(fix.reason.expect("said").contains("MemoryError"));
    place.pass(1);
    place.area = |area| area.check = ["python3", "-c", "x = bytearray(512 * 1024 * 1024)"].map(str::to_owned).to_vec();
    assert_eq!(place.change("a.conf", "GOOD\n").state, FixState::Validating);
}

#[test]
fn d19_a_check_and_a_canary_run_as_the_user_that_is_named_in_a_copy_of_his() {
    assert!(rustix::process::geteuid().is_root(), "this test runs as root, as in CI: sudo -E cargo test");
    let mut place = Folder::new("service", &[("a.conf", "BAD\n")]);
    place.area = |area| {
        area.check = ["true"].map(str::to_owned).to_vec();
        area.user = Some("nobody-here".to_owned());
    };
    let refused = place.change("a.conf", "GOOD\n");
    assert_eq!(refused.state, FixState::Refused, "{:?}", refused.reason);
    assert!(refused.reason.expect("said").contains("no user nobody-here in /etc/passwd"));
    place.pass(1);
    place.area = |area| {
        let is_nobody = "[ $(id -u) = $(id -u nobody) ] && [ \"$(id -G)\" = $(id -g nobody) ] && touch made";
        area.check = ["sh", "-c", is_nobody].map(str::to_owned).to_vec();
        let is_his = "[ -O made ] && grep -q GOOD \"$0\" && [ $(id -u) != 0 ]";
        area.canary = ["sh", "-c", is_his, "{file}"].map(str::to_owned).to_vec();
        area.user = Some("nobody".to_owned());
    };
    let made = place.change("a.conf", "GOOD\n");
    assert_eq!(made.state, FixState::Validating, "{:?}", made.reason);
    assert!(!place.root.join("made").exists(), "what it makes goes with the copy");
}

/// All that a file is.
#[derive(PartialEq, Debug)]
struct Whole {
    rights: (u32, u32, u32),
    extended: BTreeMap<String, Vec<u8>>,
    modified: i64,
    bytes: Vec<u8>,
}

fn whole(path: &Path) -> Whole {
    let metadata = path.metadata().expect("there");
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(path, &mut names[..]).expect("listed");
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let extended = names.map(|name| {
        let name = String::from_utf8(name.to_vec()).expect("UTF-8");
        let mut value = vec![0; 4096];
        let length = rustix::fs::getxattr(path, name.as_str(), &mut value[..]).expect("read");
        value.truncate(length);
        (name, value)
    });
    let bytes = fs::read(path).expect("read");
    let rights = (metadata.mode(), metadata.uid(), metadata.gid());
    Whole { rights, extended: extended.collect(), modified: metadata.mtime(), bytes }
}

#[test]
fn d17_a_file_outside_git_keeps_owner_mode_and_attributes_there_and_back() {
    let mut place = Folder::new("etc", &[("a.conf", "BAD\n")]);
    place.area = |area| area.check = vec!["true".to_owned()];
    let file = place.root.join("a.conf");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
    rustix::fs::setxattr(&file, "user.note", b"mine", rustix::fs::XattrFlags::empty())
        .expect("this file system keeps extended attributes");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(1234), Some(4321)).expect("root may");
    }
    let before = whole(&file);
    let fix = place.change("a.conf", "GOOD\n");
    assert_eq!(fix.state, FixState::Validating, "{:?}", fix.reason);
    let made = whole(&file);
    assert_eq!((&made.rights, &made.extended), (&before.rights, &before.extended));
    assert_eq!(
        made.bytes,
        b"GOOD
"
    );
    // Harm: taken back from the captured copy, the date included.
    place.claim = Observed::False;
    place.pass(7);
    let ended = place.validate();
    assert_eq!(ended[0].state.name(), "reverted", "{ended:?}");
    assert_eq!(whole(&file), before);
}

#[test]
fn a_file_that_somebody_replaced_meanwhile_is_left_to_them() {
    let mut place = Folder::new("etc", &[("a.conf", "BAD\n")]);
    place.area = |area| area.check = vec!["true".to_owned()];
    assert_eq!(place.change("a.conf", "GOOD\n").state, FixState::Validating);
    // As an editor does it: another file under the same name.
    fs::write(place.root.join("new"), "GOOD and more\n").expect("written");
    fs::rename(place.root.join("new"), place.root.join("a.conf")).expect("renamed");
    place.claim = Observed::False;
    place.pass(7);
    let ended = place.validate();
    assert_eq!((ended[0].state.name(), place.text("a.conf").as_str()), ("no_effect", "GOOD and more\n"), "{ended:?}");
    assert_eq!(place.host.db.read_only().expect("read"), None);
}

#[test]
fn d3_ways_back_are_kept_until_the_verdict_and_a_while_longer() {
    let mut place = Folder::new("etc", &[("a.conf", "BAD\n")]);
    place.area = |area| area.check = vec!["true".to_owned()];
    let fix = place.change("a.conf", "GOOD\n");
    let undo = place.host.home.join("state/undo").join(format!("{}.1", fix.id));
    let prune_now = |place: &mut Folder| place.with(|parts, hand, _, _, _| prune(parts, hand)).expect("pruned");
    // However long the verdict takes, its way back stays.
    place.host.moment.uptime += Duration::from_secs(365 * 86_400);
    assert_eq!((prune_now(&mut place).len(), undo.join("before").is_file()), (0, true));
    place.host.moment.wall += SignedDuration::from_hours(365 * 24);
    place.claim = Observed::True;
    let ended = place.validate();
    assert_eq!(ended[0].state.name(), "validated", "{ended:?}");
    place.pass(29);
    assert_eq!((prune_now(&mut place).len(), undo.join("before").is_file()), (0, true));
    // A clock that jumps ahead brings it no nearer.
    place.host.moment.wall += SignedDuration::from_hours(365 * 24);
    assert_eq!((prune_now(&mut place).len(), undo.join("before").is_file()), (0, true));
    place.pass(1);
    assert_eq!((prune_now(&mut place).len(), undo.exists()), (1, false));
    // The ledger still says what the way back was.
    let told = place.host.db.history(&fix.id).expect("read");
    let told: Vec<String> = told.into_iter().map(|(row, _)| row.body).collect();
    assert!(
        told.iter().any(|body| body.contains("the captured copy")) && told.iter().any(|body| body.contains("-BAD")),
        "{told:?}"
    );
    // What the ledger does not know is nobody's to remove.
    let strange = place.host.home.join("state/undo/ffffffff.1");
    fs::create_dir(&strange).expect("made");
    fs::write(strange.join("note"), "?").expect("written");
    place.pass(400);
    assert_eq!(prune_now(&mut place), []);
    assert!(place.applier.settled().expect("read").is_empty() && strange.exists());
}
