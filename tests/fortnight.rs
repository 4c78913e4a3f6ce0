//! Fourteen days of two hosts by clocks that the test sets ahead, with the real program, its audit worker, and a git remote
//! between them: drift, a leak, a change that does harm, three reverts that freeze, a lesson that retires, and one that is
//! learned on the first host and keeps the second from the same failure. The distiller and the review run when they are due.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::SignedDuration;
use mesh::agent::kaizen::{Work, given};
use mesh::agent::parts::Parts;
use mesh::domain::heal::engine::{Record, Stats};
use mesh::domain::running::Moment;
use mesh::loops::library::Library;
use mesh::store::authored;
use mesh::store::db::Db;
use mesh::store::home::Home;
use mesh::store::samples::Sample;
use mesh::sys::clock::{AHEAD, SystemClock};
use serde_json::{Value, json};

use crate::granted::SAVE;
use crate::seeding::lesson;
use crate::support::homes::Host;
use crate::support::project::{Project, git};

const HOUR: u64 = 3_600;
/// Hours between two looks.
const STEP: u64 = 2;
/// What the person on the first host makes of it after the failure.
const MENDED: &str = "import json\nimport os\n\n\ndef save(path, state):\n    tmp = path + \".tmp\"\n    with open(tmp, \"w\") as f:\n        json.dump(state, f)\n        f.flush()\n        os.fsync(f.fileno())\n    os.replace(tmp, path)\n";
/// The lesson that does harm at first: what it claims, and when it is over.
const CLAIM: &str = "max(\"check.value/app\", \"1h\") < 5.0";
const OVER: &str = "max(\"check.yield/app\", \"2h\") > 5.0";
/// Stops in the middle of writing the state, and says whether that is still there.
const FAIL: &str = "import json, sys\nsys.path.insert(0, sys.argv[1])\nimport save\npath = sys.argv[2]\nopen(path, 'w').write('{\"jobs\": 7}')\ntry:\n    save.save(path, {'jobs': 8, 'bad': object()})\nexcept TypeError:\n    pass\ntry:\n    print(json.load(open(path))['jobs'])\nexcept ValueError:\n    print('lost')\n";

/// One of the two hosts.
struct Site {
    host: Host,
    project: Project,
    hours: u64,
    /// What is measured from here on.
    signals: Vec<(&'static str, f64)>,
    /// Seconds of the running clock at which rule 15 restarted `leaky`.
    acted: Vec<i64>,
}

impl Site {
    fn new(above: &Path, name: &str, files: &[(&str, &str)], config: &str) -> Self {
        let beside = above.join(format!("{name}-srv"));
        fs::create_dir(&beside).expect("made");
        let project = Project::new_in(&beside, files);
        let host = Host::new(above, name, above.join("remote.git").to_str().expect("UTF-8"));
        let root = project.root.display();
        let audited = format!("[lessons]\nfounding = false\n[[audit.root]]\npath = \"{root}\"\ncheck = [\"true\"]\n");
        fs::write(host.home.join("config/conf.d/10.toml"), format!("{audited}{config}")).expect("written");
        Self { host, project, hours: 0, signals: Vec::new(), acted: Vec::new() }
    }

    fn db(&self) -> Db {
        Db::open(&self.host.home.join("state/mesh.db")).expect("opened")
    }

    fn ahead(&self) -> u32 {
        u32::try_from(self.hours * HOUR).expect("less than a century")
    }

    fn moment(&self) -> Moment {
        let now = SystemClock.moment();
        let ahead = Duration::from_secs(self.ahead().into());
        Moment { wall: now.wall + SignedDuration::from_secs(self.ahead().into()), uptime: now.uptime + ahead, ..now }
    }

    /// A command by these clocks: how it ended, and what it printed.
    fn try_mesh(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.host.command(arguments).env(AHEAD, self.ahead().to_string()).output().expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("UTF-8"))
    }

    fn mesh(&self, arguments: &[&str]) -> String {
        let (code, said) = self.try_mesh(arguments);
        assert_eq!(code, Some(0), "hour {}: mesh {arguments:?}: {said}", self.hours);
        said
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.mesh(&[&["--json"], arguments].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("mesh {arguments:?}: {error}: {said}"))
    }

    /// One round of the real agent.
    fn round(&self) -> Vec<String> {
        self.host.one_round_ahead(&["run"], self.ahead())
    }

    fn set(&mut self, series: &'static str, value: f64) {
        match self.signals.iter_mut().find(|(name, _)| *name == series) {
            Some(known) => known.1 = value,
            None => self.signals.push((series, value)),
        }
    }

    /// Time passes, in which everything is measured.
    fn pass(&mut self) {
        self.hours += STEP;
        let now = self.moment().wall.as_second();
        let samples = |(series, value): &(&'static str, f64)| {
            let name: mesh::domain::signal::SeriesName = series.parse().expect("a series");
            let value = Some(*value);
            let every = Duration::from_secs(300);
            (0..24)
                .rev()
                .map(move |n| Sample { name: name.clone(), every, at: now - n * 300, value })
                .collect::<Vec<_>>()
        };
        let samples: Vec<Sample> = self.signals.iter().flat_map(samples).collect();
        self.db().record(&samples, &[]).expect("stored");
    }

    /// Rule 15 restarts `leaky` now.
    fn act(&mut self) {
        let clock = self.db().clock_at(&self.moment()).expect("counted");
        self.acted.push(i64::try_from(clock.as_millis() / 1_000).expect("small"));
    }

    /// What rules did is remembered, and a step of level 3 is made: with the lessons that hold here, where these matter.
    fn propose(&self, with_lessons: bool) {
        let mut db = self.db();
        let fired = Stats { fired: 12, acted: 12, failed: 12, ..Stats::default() };
        let records = [
            ((15, "graph".to_owned()), Record { stats: fired, ..Record::default() }),
            ((15, "leaky".to_owned()), Record { acts: self.acted.clone(), ..Record::default() }),
        ];
        db.keep_rule_state(records.iter().map(|(key, record)| (key, record)), std::iter::empty(), []).expect("stored");
        let mut parts = Parts::open(Home::at(&self.host.home)).expect("in order");
        let library = if with_lessons { parts.library().expect("read") } else { Library::default() };
        let mut work = Work::new(given(&parts, Some(&library)).expect("rules"), |_| {});
        work.step(&mut db, &|| self.moment(), &|_| false).expect("a step");
    }

    fn fix(&self, path: &str) -> Value {
        let listed = self.json(&["fix", "list"]);
        let fixes = listed["fixes"].as_array().expect("fixes");
        fixes.iter().find(|fix| fix["path"] == path).cloned().unwrap_or_else(|| panic!("{path}: {listed:#}"))
    }

    /// A person makes the fix of a file where it is used.
    fn apply(&self, path: &str) -> Value {
        self.try_mesh(&["fix", "apply", self.fix(path)["id"].as_str().expect("an id"), "--to-branch"]);
        self.fix(path)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.project.root.join(path)).expect("readable")
    }

    /// The one proposal that does this.
    fn proposal(&self, what: &str) -> Value {
        let listed = self.json(&["kaizen", "list"]);
        let proposals = listed["proposals"].as_array().expect("proposals");
        let found: Vec<&Value> = proposals.iter().filter(|one| one["action"]["do"] == what).collect();
        assert_eq!(found.len(), 1, "hour {}: {what}: {listed:#}", self.hours);
        found[0].clone()
    }

    /// What is left of the state after the program stopped in the middle of writing it.
    #[expect(clippy::disallowed_methods, reason = "the failure is made for real")]
    fn after_a_failure(&self) -> String {
        let path = self.project.root.parent().expect("below").join("jobs.json");
        let mut python = Command::new("python3");
        python.args(["-B", "-c", FAIL]).arg(&self.project.root).arg(&path);
        let output = python.output().expect("python3 is installed (apt-get install python3)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    fn lesson(&self, id: &str) -> Option<Value> {
        let listed = self.json(&["lesson", "list"]);
        let lessons = listed["lessons"].as_array().expect("lessons");
        lessons.iter().find(|lesson| lesson["id"] == id && lesson["state"] != "draft").cloned()
    }
}

/// The lesson that does harm: a person asks for its fixes.
fn write_harmful(site: &Site) {
    let mut known = lesson("review");
    known.falsifiable.expr = CLAIM.to_owned();
    known.falsifiable.within = "1h".to_owned();
    known.retired_when.expr = OVER.to_owned();
    let path = site.host.home.join("config/lessons/no-bad.toml");
    fs::write(&path, authored::to_toml(&path, &known).expect("written")).expect("written");
}

/// Rule 15 was made for a graph of 200 to 800 MB.
fn write_calibration(site: &Site) {
    let rules = site.host.home.join("config/rules");
    fs::create_dir_all(&rules).expect("made");
    let edit = "number = 15\nbase_version = 2\n[calibrated_for]\nsignals = { \"service.rss_mb\" = [200.0, 1000.0] }\n";
    fs::write(rules.join("local-15.toml"), edit).expect("written");
}

#[test]
fn fourteen_days_of_two_hosts() {
    let above = tempfile::tempdir().expect("a temp dir");
    git(above.path(), &["init", "-q", "--bare", "remote.git"]);
    let target =
        |name: &str| format!("[[target]]\nname = \"{name}\"\nkind = \"service\"\ncritical = true\nmax_mb = 2000\n");
    let files = [("a.txt", "BAD\n"), ("b.txt", "BAD\n"), ("c.txt", "BAD\n"), ("d.txt", "BAD\n"), ("save.py", SAVE)];
    let mut one = Site::new(above.path(), "one", &files, &[target("graph"), target("leaky")].concat());
    let mut other = Site::new(above.path(), "other", &[("save.py", SAVE), ("main.py", "import save\n")], "");
    one.host.enroll("other", &other.host);
    other.host.enroll("one", &one.host);
    other.mesh(&["grant", "one", "apply"]);
    write_harmful(&one);
    write_calibration(&one);
    one.mesh(&["outbox", "publish", "no-bad"]);
    for (series, value) in [("check.value/app", 1.0), ("check.yield/app", 1.0), ("service.rss_mb/graph", 3_000.0)] {
        one.set(series, value);
    }
    other.set("state.parse_failures/app", 0.0);
    assert_eq!(other.after_a_failure(), "lost", "that is what waits to happen on the other host");
    let learned = "write-state-in-one-step";
    one.round();
    other.round();

    while one.hours < 14 * 24 {
        let hour = one.hours;
        let saws = (hour + 13) % 20;
        let leaks = if hour < 100 { 900.0 + 55.0 * f64::from(u32::try_from(saws).expect("small")) } else { 900.0 };
        one.set("service.rss_mb/leaky", leaks);
        if hour < 100 && hour % 20 == 6 {
            one.act();
        }
        match hour {
            // The first host loses its state on the second day; a person mends that, and it becomes a lesson.
            30 => {
                assert_eq!(one.after_a_failure(), "lost");
                one.project.write("save.py", MENDED);
                one.project
                    .commit_all("Write the state in one step\n\nIt was lost when the program stopped meanwhile.");
                assert_eq!(one.after_a_failure(), "7");
                let repo = one.project.root.to_str().expect("UTF-8").to_owned();
                one.mesh(&["learn", "--from-commit", "HEAD", "--repo", &repo, "--id", learned, "--yes", "--publish"]);
            }
            // Drift: the graph has grown, and what rule 15 was made for is proposed to be what is usual by now. A person
            // follows the recipe.
            60 => {
                let proposal = one.proposal("recalibrate");
                assert_eq!(proposal["state"], "backlog");
                let evidence = proposal["evidence"].to_string();
                assert!(evidence.contains("graph is 3000 here") && evidence.contains("without effect"), "{evidence}");
                let recipe = proposal["recipe"].as_array().expect("lines");
                let lines = recipe.iter().skip(1).map(|line| line.as_str().expect("text").trim());
                let edit = lines.fold(String::new(), |text, line| text + line + "\n");
                fs::write(one.host.home.join("config/rules/local-15.toml"), edit).expect("written");
            }
            // Three changes by a lesson that does harm here: the queue grows after each, and each is taken back.
            72 | 78 | 84 => {
                let path = ["a.txt", "b.txt", "c.txt"][usize::try_from((hour - 72) / 6).expect("small")];
                assert_eq!(one.apply(path)["state"], "validating");
                assert_eq!(one.text(path), "GOOD\n");
                one.set("check.value/app", 9.0);
            }
            74 | 80 | 86 => {
                let path = ["a.txt", "b.txt", "c.txt"][usize::try_from((hour - 74) / 6).expect("small")];
                let said = one.round();
                assert_eq!(
                    (one.text(path).as_str(), &one.fix(path)["state"]),
                    ("BAD\n", &"reverted".into()),
                    "{said:?}"
                );
                one.set("check.value/app", 1.0);
            }
            // The area is frozen for a day after the third.
            90 => {
                assert!(one.mesh(&["freeze", "list"]).contains(one.project.root.to_str().expect("UTF-8")));
                let frozen = one.apply("d.txt");
                assert_eq!((&frozen["state"], one.text("d.txt").as_str()), (&"backlog".into(), "BAD\n"));
                assert!(frozen["reason"].as_str().expect("why").contains("frozen"), "{frozen:#}");
            }
            // A leak: `leaky` reaches its limit about every twenty hours. A person sets the schedule, and it leaks no more.
            100 => {
                let proposal = one.proposal("restart-every");
                assert_eq!((&proposal["state"], &proposal["action"]["hours"]), (&"backlog".into(), &10.into()));
                assert!(proposal["waits_for"].to_string().contains("blocked on missing canary"), "{proposal:#}");
                one.mesh(&["kaizen", "made", proposal["id"].as_str().expect("an id")]);
            }
            // What did the harm is gone by now, and the same change helps.
            120 => assert_eq!(one.apply("d.txt")["state"], "validating"),
            // The lesson that did harm is over on the twelfth day.
            270 => one.set("check.yield/app", 9.0),
            _ => {}
        }
        if hour == 240 {
            assert_eq!(other.after_a_failure(), "7", "the failure of the tenth day is prevented");
        }
        one.pass();
        other.pass();
        one.propose(false);
        if one.hours.is_multiple_of(24) {
            one.round();
            other.round();
        }
        if one.hours == 72 {
            other.propose(true);
        }
    }
    // What was said last is heard.
    other.round();
    one.round();

    // On the first host: each change that was made, and what came of it.
    let states: Vec<String> = ["a.txt", "b.txt", "c.txt", "d.txt"].iter().map(|path| one.text(path)).collect();
    assert_eq!(states, ["BAD\n", "BAD\n", "BAD\n", "GOOD\n"]);
    for (what, evidence) in
        [("recalibrate", "fits service.rss_mb of 200 to 3000"), ("restart-every", "leaky is restarted")]
    {
        let proposal = one.proposal(what);
        assert_eq!(proposal["state"], "validated", "{proposal:#}");
        assert!(proposal["does"].as_str().expect("what").contains(evidence), "{proposal:#}");
    }
    // The distiller: what the lesson came to is its next revision, which is done with more care.
    let draft = one.json(&["lesson", "show", "no-bad", "--draft"]);
    assert!(draft["because"].to_string().contains("1 validated, 0 without effect, 3 taken back"), "{draft:#}");
    assert_eq!((&draft["risk"], &draft["fix"]["class"]), (&"high".into(), &"review".into()));
    // Retired: it holds on no host any more.
    assert_eq!(one.lesson("no-bad"), None);
    let inbox = other.json(&["inbox", "list"]);
    let of = |slug: &str| {
        let rows = inbox["entries"].as_array().expect("rows");
        rows.iter().find(|row| row["lesson"] == slug).cloned().unwrap_or_else(|| panic!("{slug}: {inbox:#}"))
    };
    assert_eq!(of("no-bad")["state"], "retired");
    // The review, once a week: the first one has the changes, the drift and the leak.
    let reviews = fs::read_dir(one.host.home.join("state/reviews")).expect("made").count();
    assert_eq!(reviews, 4, "two, each for people and for programs");
    let mut files: Vec<_> = fs::read_dir(one.host.home.join("state/reviews"))
        .expect("made")
        .map(|entry| entry.expect("read").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    files.sort();
    let first: Value = serde_json::from_str(&fs::read_to_string(&files[0]).expect("there")).expect("JSON");
    assert_eq!((&first["calibration"]["judged"], &first["calibration"]["held"]), (&4.into(), &1.into()), "{first:#}");
    assert!(first["finished"].to_string().contains("no-bad"), "{first:#}");

    // On the other host: the lesson was applied by itself, named as the first host's, validated a week later, and attested.
    let fix = other.fix("save.py");
    assert_eq!(fix["state"], "validated", "{fix:#}");
    assert!(other.text("save.py").contains("os.replace"));
    let adopted = other.proposal("adopt");
    assert_eq!((&adopted["state"], &adopted["cites"][0]), (&"validated".into(), &learned.into()), "{adopted:#}");
    assert!(adopted["evidence"][0].as_str().expect("evidence").contains("peer one"), "{adopted:#}");
    assert_eq!((&of(learned)["state"], &of(learned)["attestations"]["validated"]), (&"applied".into(), &1.into()));
    let heard = one.mesh(&["lesson", "show", learned]);
    assert!(heard.contains("attested     1 of 1 on 1 host") && heard.contains("other: validated"), "{heard}");
    let draft = other.json(&["lesson", "show", learned, "--draft"]);
    assert_eq!(draft["derived_from"], json!([of(learned)["entry"]]), "{draft:#}");
    for site in [&one, &other] {
        assert_eq!(site.db().audit_ledger().expect("read").faults, Vec::<String>::new());
        assert_eq!(site.project.git(&["status", "--porcelain"]), "", "nothing is left half-way");
        site.mesh(&["fsck"]);
    }
}
