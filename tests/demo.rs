//! The demo, looked at from outside: what it tells is what git and the projects' own checks say.

use std::path::Path;

use serde_json::Value;

use crate::support::homes::Host;
use crate::support::project::git;

#[expect(clippy::disallowed_methods, reason = "a test runs the projects' own checks")]
fn check_passes(root: &Path) -> bool {
    let ran = std::process::Command::new("python3").arg("check.py").current_dir(root).output();
    ran.expect("python3 is installed (apt-get install python3)").status.success()
}

#[test]
fn one_fix_becomes_three_and_nobodys_branch_is_touched() {
    let above = tempfile::tempdir().expect("a temp dir");
    let folder = above.path().join("demo");
    let host = Host { home: above.path().join("unused") };
    let told: Value = serde_json::from_str(&host.ok(&["--json", "demo", "--keep", folder.to_str().expect("UTF-8")]))
        .expect("one JSON object");
    let rows = told["hosts"].as_array().expect("a list");
    assert_eq!(rows.len(), 3);
    for (host, project, branch) in [("bravo", "ledger", &rows[1]["branch"]), ("charlie", "relay", &rows[2]["branch"])] {
        let root = folder.join(project);
        let branch = branch.as_str().expect("a branch");
        assert!(branch.starts_with("mesh/fix/"), "{branch}");
        assert_eq!(git(&root, &["rev-list", "--count", "main"]), "1", "{host}: main is the person's");
        assert_eq!(git(&root, &["symbolic-ref", "--short", "HEAD"]), "main");
        assert_eq!(git(&root, &["status", "--porcelain"]), "", "{host}: nothing uncommitted");
        let message = git(&root, &["log", "-1", "--format=%B", branch]);
        assert!(message.contains("Mesh-Lesson: ") && message.contains(" entry "), "{message}");

        let copy = above.path().join(format!("{project}-copy"));
        git(&root, &["clone", "-q", "--branch", branch, root.to_str().expect("UTF-8"), copy.to_str().expect("UTF-8")]);
        assert!(check_passes(&copy), "{host}: the fixed branch passes the project's own check");
        git(&copy, &["checkout", "-q", "main"]);
        assert!(!check_passes(&copy), "{host}: without the fix it does not");

        let home = Host { home: folder.join("hosts").join(host) };
        let inbox = home.json(&["inbox", "list"]);
        assert_eq!(inbox["entries"][0]["state"], "applied", "{inbox}");
        assert_eq!(inbox["entries"][0]["findings"], 1, "{inbox}");
        assert_eq!(home.json(&["fix", "list"])["fixes"][0]["branch"], branch);
        home.ok(&["fsck"]);
    }
}
