//! An imported fix on its way through the waves, with real programs: one host makes it first, the next one waits for its word.

use std::fs;
use std::path::Path;

use crate::granted::{HOUR_AND_MORE, LESSON, SAVE, lesson, record};
use crate::support::homes::Host;
use crate::support::project::{Project, git};

/// A host whose project needs the fix.
struct Pupil {
    host: Host,
    project: Project,
}

impl Pupil {
    fn new(above: &Path, name: &str, remote: &str) -> Self {
        let folder = above.join(format!("of-{name}"));
        fs::create_dir(&folder).expect("made");
        let project = Project::new_in(&folder, &[("save.py", SAVE)]);
        let host = Host::new(above, name, remote);
        let root = project.root.display();
        let config = format!("[lessons]\nfounding = false\n[[audit.root]]\npath = \"{root}\"\ncheck = [\"true\"]\n");
        fs::write(host.home.join("config/conf.d/10.toml"), config).expect("written");
        Self { host, project }
    }

    fn healed(&self) -> bool {
        fs::read_to_string(self.project.root.join("save.py")).expect("there").contains("os.replace")
    }

    fn round(&self, ahead: u32) -> Vec<String> {
        self.host.one_round_ahead(&["run"], ahead)
    }

    fn measure(&self, value: f64, ahead: u32) {
        record(&self.host.home.join("state/mesh.db"), value, ahead);
    }
}

#[test]
fn a_host_of_the_second_wave_makes_no_branch_and_applies_once_the_first_one_validated() {
    let above = tempfile::tempdir().expect("a temp dir");
    git(above.path(), &["init", "-q", "--bare", "remote.git"]);
    let remote = above.path().join("remote.git");
    let remote = remote.to_str().expect("UTF-8");
    let teacher = Host::new(above.path(), "teacher", remote);
    let pupils = [Pupil::new(above.path(), "one", remote), Pupil::new(above.path(), "two", remote)];
    for (pupil, other, name) in [(&pupils[0], &pupils[1], "two"), (&pupils[1], &pupils[0], "one")] {
        pupil.host.enroll("teacher", &teacher);
        pupil.host.ok(&["grant", "teacher", "apply"]);
        pupil.host.enroll(name, &other.host);
    }
    fs::write(teacher.home.join(format!("config/lessons/{LESSON}.toml")), lesson(|text| text)).expect("written");
    teacher.ok(&["outbox", "publish", LESSON]);
    for pupil in &pupils {
        pupil.measure(9.0, 0);
        pupil.round(0);
    }
    let healed: Vec<bool> = pupils.iter().map(Pupil::healed).collect();
    assert_eq!(healed.iter().filter(|healed| **healed).count(), 1, "one host tries it: {healed:?}");
    let [first, second] = if healed[0] { [&pupils[0], &pupils[1]] } else { [&pupils[1], &pupils[0]] };
    assert_eq!(second.project.mesh_branches(), Vec::<String>::new());
    let waiting = &second.host.json(&["fix", "list"])["fixes"][0];
    assert_eq!(waiting["state"], "proposed", "{waiting:#}");
    let why = second.host.ok(&["why", LESSON]);
    assert!(why.contains("lists a fix until this host's wave has come"), "{why}");

    first.measure(1.0, HOUR_AND_MORE);
    let said = first.round(HOUR_AND_MORE);
    assert!(said.iter().any(|line| line.contains("ended: validated")), "{said:?}");
    first.host.ok(&["sync", "--once"]);
    let said = second.round(0);
    assert!(second.healed(), "{said:?}");
    assert_eq!(second.host.json(&["fix", "list"])["fixes"][0]["state"], "validating");
}
