//! Lessons from commits: real repositories, real fixes, the real audit worker.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;

use mesh::agent::authoring;
use mesh::agent::learning::{self, Ask, Draft, LearnError};
use mesh::domain::detect::FixClass;
use mesh::domain::lesson::Lesson;
use mesh::ports::{Admission, Auditor};
use mesh::scan::learn::LearnRefusal;
use mesh::store::authored;
use mesh::sys::auditor::WorkerAuditor;
use mesh::sys::clock::SystemClock;

use crate::support::git_servers::git;

/// A fix: a file before and after, and another file with the same mistake in other words.
struct Story {
    path: &'static str,
    before: &'static str,
    after: &'static str,
    planted: &'static str,
    class: FixClass,
}

/// A repository to learn from.
pub(crate) struct Bench {
    temp: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let repo = temp.path().join("repo");
        fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "-q", "-b", "main"]);
        Self { temp }
    }

    pub(crate) fn commit(&self, files: &[(&str, &str)], message: &str) {
        let repo = self.temp.path().join("repo");
        for (path, text) in files {
            fs::create_dir_all(repo.join(path).parent().unwrap()).unwrap();
            fs::write(repo.join(path), text).unwrap();
        }
        git(&repo, &["add", "-A"]);
        git(&repo, &["commit", "-q", "-m", message]);
    }

    fn auditor(&self, name: &str) -> WorkerAuditor<SystemClock> {
        WorkerAuditor::new(env!("CARGO_BIN_EXE_mesh").into(), self.temp.path().join(name), SystemClock)
    }

    pub(crate) fn learn(&self, revision: &str) -> Result<Draft, LearnError> {
        let work = self.temp.path().join("work");
        let _earlier = fs::remove_dir_all(&work);
        fs::create_dir(&work).unwrap();
        let ask = Ask {
            repo: self.temp.path().join("repo"),
            revision: revision.to_owned(),
            file: None,
            id: None,
            title: None,
        };
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        learning::learn(&mut self.auditor("audit"), &work, now, &ask)
    }

    /// Lines of one text that the lesson hits.
    fn hits(&self, lesson: &Lesson, path: &str, text: &str) -> Vec<u32> {
        let found = self.hits_in(lesson, &[(path.to_owned(), &text.to_owned())]);
        found.into_iter().map(|(_, line)| line).collect()
    }

    /// Paths and lines of several texts that the lesson hits.
    pub(crate) fn hits_in(&self, lesson: &Lesson, files: &[(String, &String)]) -> Vec<(String, u32)> {
        let root = tempfile::tempdir_in(self.temp.path()).unwrap();
        for (path, text) in files {
            let full = root.path().join(path);
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(full, text).unwrap();
        }
        let report = self.auditor("hits").scan(root.path(), std::slice::from_ref(lesson), &mut |_| ()).unwrap();
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        report.findings.into_iter().map(|finding| (finding.path, finding.line)).collect()
    }
}

/// Learns a story and checks all that must hold of any lesson.
fn check(story: &Story) -> Draft {
    let bench = Bench::new();
    let extension = story.path.rsplit('.').next().unwrap();
    let planted = format!("elsewhere/planted.{extension}");
    bench.commit(&[(story.path, story.before), (&planted, story.planted)], "Start");
    bench.commit(&[(story.path, story.after)], "Fix: do not lose what was there\n\nIt was lost in a crash.");
    let draft = bench.learn("HEAD").unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
    let lesson = &draft.lesson;
    let shown = toml::to_string_pretty(lesson).unwrap();
    assert_ne!(bench.hits(lesson, story.path, story.before), Vec::<u32>::new(), "the mistake is found\n{shown}");
    assert_eq!(bench.hits(lesson, story.path, story.after), Vec::<u32>::new(), "the repaired code is spared\n{shown}");
    assert_ne!(bench.hits(lesson, &planted, story.planted), Vec::<u32>::new(), "the sibling is found\n{shown}");
    assert!(draft.also.iter().any(|(path, _)| *path == planted), "the sibling is offered: {:?}", draft.also);
    lesson.check().unwrap();
    mesh::scan::prove(lesson).unwrap();
    assert_eq!(bench.auditor("admit").admit(lesson).unwrap(), Admission::Admitted);
    let path = Path::new("lesson.toml");
    let text = authored::to_toml(path, lesson).unwrap();
    assert_eq!(authored::parse(path, &text).unwrap(), *lesson);
    let clean = authoring::clean(lesson.clone()).unwrap();
    assert_eq!(clean.redacted, Vec::<&str>::new(), "nothing private is left in a draft");
    assert!(lesson.because.contains("Cannot see:"), "{}", lesson.because);
    assert!(lesson.evidence[0].contains(&draft.commit));
    assert_eq!(lesson.fix.class, story.class, "{:?}\n{shown}", draft.doubt);
    draft
}

#[test]
fn a_state_file_written_in_place_python() {
    let draft = check(&Story {
        path: "agent/state.py",
        before: "import json\n\n\ndef save(path, state):\n    with open(path, \"w\") as f:\n        json.dump(state, f)\n",
        after: "import json\nimport os\n\n\ndef save(path, state):\n    tmp = path + \".tmp\"\n    with open(tmp, \"w\") as f:\n        json.dump(state, f)\n        f.flush()\n        os.fsync(f.fileno())\n    os.replace(tmp, path)\n",
        planted: "import json\n\n\nclass Store:\n    def keep(self):\n        with open(self.where, 'w', encoding='utf-8') as out:\n            json.dump(self.values, out, indent=2)\n",
        class: FixClass::Safe,
    });
    assert!(draft.reproduces);
    assert_eq!(draft.lesson.fix.ensure_import, ["import os"]);
    let more = "import json\ndef keep(p, v):\n    with open(p, 'w') as out:\n        # why\n        json.dump(v, out)\n        out.write('x')\n";
    let bench = Bench::new();
    assert_eq!(bench.hits(&draft.lesson, "more.py", more), [3], "with more statements it is left to a person");
    let read = "import json\ndef keep(p, v):\n    with open(p, 'r') as out:\n        json.dump(v, out)\n";
    assert_eq!(bench.hits(&draft.lesson, "read.py", read), Vec::<u32>::new(), "another mode is no mistake");
}

#[test]
fn a_swallowed_exception_python() {
    let draft = check(&Story {
        path: "poll.py",
        before: "import queue\n\n\ndef poll(source):\n    try:\n        source.fetch()\n    except Exception:\n        pass\n",
        after: "import logging\nimport queue\n\n\ndef poll(source):\n    try:\n        source.fetch()\n    except Exception:\n        logging.exception(\"poll failed\")\n",
        planted: "def run(job):\n    for item in job:\n        try:\n            item.start(1)\n            item.stop()\n        except Exception:\n            pass\n",
        class: FixClass::Safe,
    });
    assert_eq!(draft.lesson.fix.ensure_import, ["import logging"]);
}

#[test]
fn a_retry_without_backoff_python() {
    check(&Story {
        path: "client.py",
        before: "import time\n\n\ndef get(url, fetch):\n    while True:\n        try:\n            return fetch(url)\n        except OSError:\n            time.sleep(5)\n",
        after: "import time\n\n\ndef get(url, fetch):\n    delay = 1\n    while True:\n        try:\n            return fetch(url)\n        except OSError:\n            time.sleep(delay)\n            delay = min(delay * 2, 60)\n",
        planted: "import time\n\n\ndef push(conn, data):\n    while True:\n        try:\n            conn.connect()\n            return conn.send(data)\n        except OSError:\n            time.sleep(30)\n",
        class: FixClass::Safe,
    });
}

#[test]
fn a_subprocess_without_timeout_python() {
    let draft = check(&Story {
        path: "build.py",
        before: "import subprocess\n\n\ndef build(target):\n    return subprocess.run([\"make\", target], check=True)\n",
        after: "import subprocess\n\n\ndef build(target):\n    return subprocess.run([\"make\", target], check=True, timeout=600)\n",
        planted: "import subprocess\n\n\ndef test(where):\n    done = subprocess.run(where, check=True)\n    return done\n",
        class: FixClass::Safe,
    });
    assert!(draft.reproduces);
}

#[test]
fn a_file_written_in_place_rust() {
    check(&Story {
        path: "src/store.rs",
        before: "use std::fs;\nuse std::io;\nuse std::path::Path;\n\npub fn save(path: &Path, text: &str) -> io::Result<()> {\n    fs::write(path, text)?;\n    Ok(())\n}\n",
        after: "use std::fs;\nuse std::io;\nuse std::path::Path;\n\npub fn save(path: &Path, text: &str) -> io::Result<()> {\n    let tmp = path.with_extension(\"tmp\");\n    fs::write(&tmp, text)?;\n    fs::rename(&tmp, path)?;\n    Ok(())\n}\n",
        planted: "use std::fs;\n\nimpl Cache {\n    fn flush(&self) -> std::io::Result<()> {\n        fs::write(&self.file, self.bytes())?;\n        Ok(())\n    }\n}\n",
        class: FixClass::Safe,
    });
}

#[test]
fn a_file_written_in_place_go() {
    check(&Story {
        path: "state/save.go",
        before: "package state\n\nimport (\n\t\"io/ioutil\"\n)\n\nfunc Save(path string, data []byte) error {\n\treturn ioutil.WriteFile(path, data, 0644)\n}\n",
        after: "package state\n\nimport (\n\t\"io/ioutil\"\n\t\"os\"\n)\n\nfunc Save(path string, data []byte) error {\n\ttmp := path + \".tmp\"\n\tif err := ioutil.WriteFile(tmp, data, 0644); err != nil {\n\t\treturn err\n\t}\n\treturn os.Rename(tmp, path)\n}\n",
        planted: "package cache\n\nimport \"io/ioutil\"\n\nfunc keep(name string, text []byte) error {\n\treturn ioutil.WriteFile(name, text, 0600)\n}\n",
        class: FixClass::Review,
    });
}

#[test]
fn an_overlapping_interval_javascript() {
    check(&Story {
        path: "poller.js",
        before: "function start(poll) {\n  setInterval(() => poll(), 1000);\n}\n",
        after: "function start(poll) {\n  const again = () => poll().finally(() => setTimeout(again, 1000));\n  again();\n}\n",
        planted: "export class Watch {\n  begin(check) {\n    setInterval(() => check(), 250);\n  }\n}\n",
        class: FixClass::Review,
    });
}

#[test]
fn a_synchronous_write_javascript() {
    check(&Story {
        path: "save.js",
        before: "const fs = require(\"fs\");\n\nfunction save(file, state) {\n  fs.writeFileSync(file, JSON.stringify(state));\n}\n",
        after: "const fs = require(\"fs\");\n\nfunction save(file, state) {\n  fs.writeFileSync(file + \".tmp\", JSON.stringify(state));\n  fs.renameSync(file + \".tmp\", file);\n}\n",
        planted: "const fs = require('fs');\n\nmodule.exports = (where, data) => {\n  if (data) {\n    fs.writeFileSync(where.path, JSON.stringify(data));\n  }\n};\n",
        class: FixClass::Review,
    });
}

#[test]
fn unsafe_yaml_python() {
    let draft = check(&Story {
        path: "conf.py",
        before: "import yaml\n\n\ndef load(text):\n    return yaml.load(text)\n",
        after: "import yaml\n\n\ndef load(text):\n    return yaml.safe_load(text)\n",
        planted: "import yaml\n\nwith open('x.yml') as handle:\n    VALUES = yaml.load(handle)\n",
        class: FixClass::Safe,
    });
    assert!(draft.reproduces);
}

fn refused(files: &[(&str, &str, &str)]) -> LearnError {
    let bench = Bench::new();
    bench.commit(&files.iter().map(|(path, before, _)| (*path, *before)).collect::<Vec<_>>(), "Start");
    bench.commit(&files.iter().map(|(path, _, after)| (*path, *after)).collect::<Vec<_>>(), "Fix");
    bench.learn("HEAD").expect_err("nothing can be learned")
}

#[test]
fn what_teaches_nothing_is_refused_by_name() {
    let only_adds = refused(&[("a.py", "import os\n", "import os\n\n\ndef f():\n    return 1\n")]);
    assert!(matches!(only_adds, LearnError::Refused { cause: LearnRefusal::OnlyAdds, .. }), "{only_adds}");
    let comment = refused(&[("a.py", "f(1)  # one\n", "f(1)  # two\n")]);
    assert!(matches!(comment, LearnError::Refused { cause: LearnRefusal::NothingChanged, .. }), "{comment}");
    let common =
        refused(&[("a.py", "def f(a):\n    b = a\n    return b\n", "def f(a):\n    b = a + 1\n    return b\n")]);
    assert!(matches!(common, LearnError::Refused { cause: LearnRefusal::TooCommon { line: 2 }, .. }), "{common}");
    let broken = refused(&[("a.py", "f(1)\n", "f(2\n")]);
    assert!(matches!(broken, LearnError::Refused { cause: LearnRefusal::Syntax { side: "after" }, .. }), "{broken}");
    let config = refused(&[("a.toml", "a = 1\n", "a = 2\n")]);
    assert!(matches!(config, LearnError::Refused { cause: LearnRefusal::Language { .. }, .. }), "{config}");
    let two = refused(&[("a.py", "f(x)\ng(x)\n", "f(x, 1)\ng(y=x)\n")]);
    assert!(matches!(two, LearnError::Refused { cause: LearnRefusal::SeveralFixes { .. }, .. }), "{two}");
    let files = refused(&[("a.py", "f(x)\n", "f(x, 1)\n"), ("b.py", "g(x)\n", "h(x)\n")]);
    assert!(matches!(files, LearnError::SeveralFiles { .. }), "{files}");
}

#[test]
fn a_merge_and_a_first_commit_are_no_single_change() {
    let bench = Bench::new();
    bench.commit(&[("a.py", "f(1)\n")], "Start");
    let first = bench.learn("HEAD").expect_err("there is nothing before it").to_string();
    assert!(first.contains("first one"), "{first}");
    let repo = bench.temp.path().join("repo");
    git(&repo, &["checkout", "-q", "-b", "side"]);
    bench.commit(&[("b.py", "g(1)\n")], "Side");
    git(&repo, &["checkout", "-q", "main"]);
    bench.commit(&[("c.py", "h(1)\n")], "Main");
    git(&repo, &["merge", "-q", "--no-edit", "side"]);
    let merge = bench.learn("HEAD").expect_err("it is a merge").to_string();
    assert!(merge.contains("is a merge"), "{merge}");
    assert!(bench.learn("no-such-revision").is_err());
}
