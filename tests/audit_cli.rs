//! `mesh audit` and `mesh fix` as a person uses them: the real program, worker and git.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::project::{Project, git};

const SAVE: &str =
    "import json\n\n\ndef save(path, state):\n    with open(path, \"w\") as f:\n        json.dump(state, f)\n";
const SWALLOW: &str = "def step(queue):\n    try:\n        queue.confirm(handle(queue.take()))\n    except Exception:\n        pass\n    return queue\n";

struct Mesh {
    above: tempfile::TempDir,
}

impl Mesh {
    /// A home that audits `project` and checks it by `check`.
    fn new(project: &Project, check: &str) -> Self {
        let mesh = Self { above: tempfile::tempdir().expect("a temp dir") };
        git(mesh.above.path(), &["init", "-q", "--bare", "remote.git"]);
        let remote = mesh.above.path().join("remote.git");
        mesh.run(&["init", "--name", "a", "--mesh", "m", "--remote", &remote.to_string_lossy()]);
        let config = mesh.home().join("config/mesh.toml");
        let text = fs::read_to_string(&config).expect("made");
        let root = project.root.display();
        let text = format!("{text}\n[[audit.root]]\npath = \"{root}\"\ncheck = [\"sh\", \"-c\", \"{check}\"]\n");
        fs::write(config, text).expect("written");
        mesh
    }

    fn home(&self) -> PathBuf {
        self.above.path().join("home")
    }

    /// Runs mesh; its exit code, standard output and standard error.
    #[expect(clippy::disallowed_methods, reason = "tests drive the real program")]
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", self.above.path())
            .env("MESH_HOME", self.home())
            .current_dir(self.above.path())
            .output()
            .expect("mesh runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (_, stdout, stderr) = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
    }
}

#[test]
fn findings_become_branches_and_fixes_can_be_taken_back() {
    let project = Project::new(&[("save.py", SAVE), ("load.py", SWALLOW)]);
    let before = project.everything();
    let mesh = Mesh::new(&project, "grep -q os.replace save.py || grep -q logging load.py");

    let (code, stdout, stderr) = mesh.run(&["audit", "--diff"]);
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stdout.contains("save.py:5:5 warning non-atomic-state-write"), "{stdout}");
    assert!(stdout.contains("+    os.replace("), "{stdout}");
    assert!(!stderr.contains("files, "), "a progress line is for terminals: {stderr}");
    assert!(project.mesh_branches().is_empty(), "a listing makes nothing");

    mesh.run(&["audit", "--seed"]);
    let fixes = mesh.json(&["fix", "list"]);
    let of = |lesson: &str| {
        let fixes = fixes["fixes"].as_array().expect("a list");
        fixes.iter().find(|fix| fix["lesson"] == lesson).unwrap_or_else(|| panic!("{lesson}: {fixes:#?}"))
    };
    let (safe, review) = (of("non-atomic-state-write"), of("swallowed-exception"));
    assert_eq!((&safe["state"], &safe["check"]["result"]), (&"seeded".into(), &"passed".into()), "{safe:#}");
    assert_eq!((&review["state"], &review["class"]), (&"proposed".into(), &"review".into()));
    assert_eq!(project.mesh_branches(), [safe["branch"].as_str().expect("a branch")]);

    let review = review["id"].as_str().expect("an id");
    let (code, stdout, stderr) = mesh.run(&["fix", "apply", review]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(project.mesh_branches().len(), 2);
    let (code, stdout, _) = mesh.run(&["fix", "show", review]);
    assert!(code == 0 && stdout.contains("clean            pass") && stdout.contains("git merge"), "{stdout}");
    let (code, _, stderr) = mesh.run(&["fix", "rollback", review]);
    assert_eq!((code, project.mesh_branches().len()), (0, 1), "{stderr}");
    assert_eq!(project.everything(), before);

    // From here on a person lives with one of them.
    let load = project.root.join("load.py");
    let (code, ..) = mesh.run(&["audit", &load.to_string_lossy(), "--baseline-write", "it is a demo"]);
    assert_eq!(code, 0, "what was just accepted is not held against it");
    let found = mesh.json(&["audit"]);
    assert_eq!((&found["summary"]["findings"], &found["summary"]["suppressed"]), (&1.into(), &1.into()), "{found:#}");
    let (_, sarif, _) = mesh.run(&["audit", "--format", "sarif"]);
    let sarif: Value = serde_json::from_str(&sarif).expect("JSON");
    let states: Vec<_> =
        sarif["runs"][0]["results"].as_array().expect("a list").iter().map(|r| &r["baselineState"]).collect();
    assert_eq!(states, ["unchanged", "new"]);
    fs::remove_file(load).expect("removed");
    let (_, _, stderr) = mesh.run(&["audit", "--update-baseline"]);
    assert!(stderr.contains("0 accepted"), "{stderr}");

    let (code, _, stderr) = mesh.run(&["fix", "show", "00000000"]);
    assert!(code == 2 && stderr.contains("mesh fix list"), "{stderr}");
    let (code, _, stderr) = mesh.run(&["audit", "/no/such/place"]);
    assert!(code == 2 && stderr.contains("/no/such/place"), "{stderr}");
}

#[test]
fn meshs_own_files_are_audited_and_left_alone() {
    let project = Project::new(&[("ok.py", "x = 1\n")]);
    let mesh = Mesh::new(&project, "true");
    let own = mesh.home().join("config/helper.py");
    fs::write(&own, SAVE).expect("written");
    let found = mesh.json(&["audit", "--seed"]);
    let root = mesh.home().join("config").canonicalize().expect("it exists");
    assert_eq!(found["findings"][0]["root"], root.to_string_lossy().as_ref(), "{found:#}");
    assert_eq!(found["fixes"][0]["state"], "refused");
    let verdicts = found["fixes"][0]["verdicts"].as_array().expect("a list");
    let blocked = verdicts.iter().find(|verdict| verdict["check"] == "blocked-path").expect("judged");
    assert_eq!(blocked["answer"], "refuse");
    assert_eq!(fs::read_to_string(own).expect("readable"), SAVE);
}
