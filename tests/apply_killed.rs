//! The real program killed at each named point of a change and its way back, and started again.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;

use mesh::sys::apply::POINTS;
use serde_json::Value;

use crate::support::homes::Host;
use crate::support::host::temp_dir;
use crate::support::project::{Project, git};

const SAVE: &str =
    "import json\n\n\ndef save(path, state):\n    with open(path, \"w\") as f:\n        json.dump(state, f)\n";

/// A project that needs mending, and a home that watches it.
struct Ward {
    project: Project,
    host: Host,
    id: String,
    before: String,
    _above: tempfile::TempDir,
}

impl Ward {
    fn new(in_git: bool) -> Self {
        let above = temp_dir();
        let project = Project::new_in(above.path(), &[("save.py", SAVE), ("other.py", "x = 1\n")]);
        if !in_git {
            fs::remove_dir_all(project.root.join(".git")).expect("removed");
        }
        git(above.path(), &["init", "-q", "--bare", "remote.git"]);
        let host = Host::new(above.path(), "a", above.path().join("remote.git").to_str().expect("UTF-8"));
        let root = project.root.display();
        let config = format!("[[audit.root]]\npath = \"{root}\"\ncheck = [\"true\"]\n");
        fs::write(host.home.join("config/conf.d/10.toml"), config).expect("written");
        let found = host.run(&["--json", "audit"]);
        let found: Value = serde_json::from_slice(&found.stdout).expect("JSON");
        let id = found["fixes"][0]["id"].as_str().unwrap_or_else(|| panic!("{found:#}")).to_owned();
        // Work in progress, which must stay.
        project.write("other.py", "x = 2\n");
        let before = if in_git { project.git(&["rev-parse", "main"]) } else { String::new() };
        Self { project, host, id, before, _above: above }
    }

    /// Runs a command that is to be killed at `point`; whether it was.
    fn killed(&self, arguments: &[&str], point: &str) -> bool {
        let output = self.host.command(arguments).env("MESH_CRASH_AT", point).output().expect("it starts");
        output.status.signal() == Some(9)
    }

    /// Starts the agent for one round and returns what it said.
    fn restart(&self) -> Vec<String> {
        self.host.one_round(&["run"])
    }

    fn text(&self) -> String {
        fs::read_to_string(self.project.root.join("save.py")).expect("there")
    }

    fn states(&self) -> Vec<String> {
        let shown = self.host.json(&["fix", "show", &self.id]);
        let history = shown["history"].as_array().unwrap_or_else(|| panic!("{shown:#}"));
        history.iter().map(|row| row["state"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Nothing lies about, the work in progress is there, and git sees a sound repository.
    fn demand_tidy(&self, in_git: bool, point: &str) {
        let names = fs::read_dir(&self.project.root).expect("readable");
        let names: Vec<String> = names.map(|e| e.expect("read").file_name().to_string_lossy().into_owned()).collect();
        assert!(names.iter().all(|name| !name.contains("mesh")), "{point}: {names:?}");
        let other = fs::read_to_string(self.project.root.join("other.py")).expect("there");
        assert_eq!(other, "x = 2\n", "{point}");
        if in_git {
            assert!(!self.project.root.join(".git/index.lock").exists(), "{point}");
            assert_eq!(self.project.git(&["status", "--porcelain"]), " M other.py", "{point}");
            self.project.git(&["fsck", "--strict"]);
        }
        self.host.ok(&["fsck"]);
    }
}

fn each_point(in_git: bool) {
    let finishes = ["apply.ref-moved", "apply.changed", "apply.closed"];
    for point in POINTS {
        let ward = Ward::new(in_git);
        let apply = ["fix", "apply", &ward.id, "--to-branch"];
        let rollback = ["fix", "rollback", &ward.id];
        let mut begun = false;
        if point.starts_with("rollback.") {
            ward.host.ok(&apply);
            assert_ne!(ward.text(), SAVE);
            begun = ward.killed(&rollback, point);
        } else {
            begun |= ward.killed(&apply, point);
        }
        let only_git = point.ends_with(".object-written") || point.ends_with(".ref-moved");
        assert_eq!(begun, in_git || !only_git, "{point} is passed");
        if !begun {
            continue;
        }
        let said = ward.restart();
        if point == "apply.ref-moved" {
            let again = ward.restart();
            assert!(!again.iter().any(|line| line.starts_with("A process was killed")), "{point}: {again:?}");
        }
        ward.demand_tidy(in_git, point);
        let finished = finishes.contains(&point) || (!in_git && point == "apply.file-replaced");
        if finished {
            assert!(said[0].contains("was whole and stands"), "{point}: {said:?}");
            assert_ne!(ward.text(), SAVE, "{point}");
            assert_eq!(ward.states().last().map(String::as_str), Some("validating"), "{point}");
            if in_git {
                assert_eq!(ward.project.git(&["rev-parse", "main^"]), ward.before, "{point}: once");
            }
            ward.host.ok(&rollback);
        } else if point.starts_with("apply.") {
            assert!(said[0].contains("is undone"), "{point}: {said:?}");
            assert_eq!(ward.states().iter().rfind(|state| *state == "aborted").map(String::as_str), Some("aborted"));
            // That mesh ended says nothing of the fix: it is where it would be by now, and a person may ask again at once.
            if in_git {
                assert_eq!(ward.project.git(&["rev-parse", "main"]), ward.before, "{point}");
                assert_eq!(ward.project.mesh_branches().len(), 1, "{point}: {:?}", ward.states());
            } else {
                ward.host.ok(&apply);
                assert_eq!(ward.states().last().map(String::as_str), Some("validating"), "{point}");
                ward.host.ok(&rollback);
            }
        } else if point != "rollback.done" {
            assert!(said[0].contains("is taken back"), "{point}: {said:?}");
            assert_eq!(ward.states().last().map(String::as_str), Some("reverted"), "{point}");
        }
        assert_eq!(ward.text(), SAVE, "{point}");
        ward.demand_tidy(in_git, point);
        if in_git && (finished || point.starts_with("rollback.")) {
            let parents = ward.project.git(&["rev-list", "--count", &format!("{}..main", ward.before)]);
            assert_eq!(parents, "2", "{point}: one commit, one revert");
        }
    }
}

#[test]
fn a21_killed_at_any_point_a_commit_is_whole_or_gone() {
    each_point(true);
}

#[test]
fn a21_killed_at_any_point_a_file_is_the_new_one_or_the_old_one() {
    each_point(false);
}
