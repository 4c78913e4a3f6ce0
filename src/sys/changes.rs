//! What changed on this host of late: definitions and environments of services, and commits that were checked out.
//! Nothing is run, and nothing is read of a file but which variables it sets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use git2::Repository;

use crate::domain::foreign_text::display_line;
use crate::domain::kaizen::correlation::{Change, Changed};

/// Where definitions of units lie.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"];
/// Files that every service may take its environment from.
const EVERYBODY: [&str; 3] = ["/etc/environment", "/etc/systemd/system.conf", "/etc/systemd/system.conf.d"];
/// Most bytes of a file that are read.
const FILE: u64 = 64 * 1024;
/// Most entries of a folder that are looked at.
const ENTRIES: usize = 2_000;
/// Most changes that are told.
const MOST: usize = 200;

/// Where changes are looked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places {
    /// Folders with definitions of units.
    pub units: Vec<PathBuf>,
    /// Files, or folders of files, that set the environment of everybody.
    pub everybody: Vec<PathBuf>,
    /// Files that set the environment of some services.
    pub environments: BTreeMap<PathBuf, BTreeSet<String>>,
    /// Working copies, and the services that are made of them.
    pub projects: BTreeMap<PathBuf, BTreeSet<String>>,
    /// What each unit is called here, by its unit name without an ending.
    pub names: BTreeMap<String, String>,
}

impl Places {
    /// The usual places of this system.
    #[must_use]
    pub fn of_system() -> Self {
        Self {
            units: UNITS.iter().map(PathBuf::from).collect(),
            everybody: EVERYBODY.iter().map(PathBuf::from).collect(),
            ..Self::default()
        }
    }

    /// What changed at `since`, in seconds since 1970, or later; the newest last.
    #[must_use]
    pub fn changes(&self, since: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        for folder in &self.units {
            for path in entries(folder) {
                if path.is_dir() {
                    entries(&path).iter().for_each(|file| self.unit_file(file, Some(&path), since, &mut changes));
                } else {
                    self.unit_file(&path, None, since, &mut changes);
                }
            }
        }
        for place in &self.everybody {
            let files = if place.is_dir() { entries(place) } else { vec![place.clone()] };
            for file in files {
                changes.extend(environment(&file, None, since));
            }
        }
        for (file, services) in &self.environments {
            changes.extend(environment(file, Some(services.clone()), since));
        }
        for (root, services) in &self.projects {
            changes.extend(checked_out(root, services, since));
        }
        changes.sort();
        changes.drain(..changes.len().saturating_sub(MOST));
        changes
    }

    /// A unit file, or a drop-in of the unit that its folder is named after; `service.d` is that of all services.
    fn unit_file(&self, file: &Path, folder: Option<&PathBuf>, since: i64, changes: &mut Vec<Change>) {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let owner = match folder {
            Some(folder) => match name(folder).strip_suffix(".d") {
                Some(owner) => owner.to_owned(),
                // A folder of links, such as `multi-user.target.wants`.
                None => return,
            },
            None => name(file),
        };
        let touches = match owner.as_str() {
            "service" => None,
            owner => {
                let Some(unit) = owner.strip_suffix(".service") else { return };
                let known = self.names.get(unit).cloned();
                Some(BTreeSet::from([known.unwrap_or_else(|| unit.to_owned())]))
            }
        };
        let Some(at) = written(file, since) else { return };
        let sets = variables(file);
        let file = display_line(&file.to_string_lossy());
        let what = match sets {
            Some((variables, path)) => Changed::Environment { file, variables, path },
            None => Changed::Definition { file },
        };
        changes.push(Change { at, what, touches });
    }
}

/// The files in a folder; none where it cannot be listed.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = listed.take(ENTRIES).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// When a plain file was changed, if that was at `since` or later. Its inode's time counts too: a copy keeps the other one.
fn written(file: &Path, since: i64) -> Option<i64> {
    let facts = fs::symlink_metadata(file).ok().filter(fs::Metadata::is_file)?;
    let at = facts.mtime().max(facts.ctime());
    (at >= since).then_some(at)
}

fn environment(file: &Path, touches: Option<BTreeSet<String>>, since: i64) -> Option<Change> {
    let at = written(file, since)?;
    let (variables, path) = variables(file)?;
    let file = display_line(&file.to_string_lossy());
    Some(Change { at, what: Changed::Environment { file, variables, path }, touches })
}

/// The names of the variables that a file sets, and the search path where it sets one. None: it sets none.
fn variables(file: &Path) -> Option<(Vec<String>, Option<String>)> {
    let mut text = String::new();
    fs::File::open(file).ok()?.take(FILE).read_to_string(&mut text).ok()?;
    let mut found = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        let set = ["Environment=", "DefaultEnvironment=", "ManagerEnvironment="]
            .iter()
            .find_map(|key| line.strip_prefix(key));
        let pairs: Vec<&str> = match set {
            Some(pairs) => pairs.split_whitespace().collect(),
            None => vec![line.strip_prefix("export ").unwrap_or(line)],
        };
        for pair in pairs {
            let Some((name, value)) = pair.trim_matches(['"', '\'']).split_once('=') else { continue };
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            if is_name {
                found.insert(name.to_owned(), value.trim_matches(['"', '\'']).to_owned());
            }
        }
    }
    let path = found.get("PATH").map(|path| display_line(path));
    (!found.is_empty()).then(|| (found.into_keys().collect(), path))
}

/// The commit that a working copy was last moved to.
fn checked_out(root: &Path, services: &BTreeSet<String>, since: i64) -> Option<Change> {
    let repo = Repository::open_ext(root, git2::RepositoryOpenFlags::empty(), &[] as &[&Path]).ok()?;
    let log = repo.reflog("HEAD").ok()?;
    let newest = log.get(0)?;
    let at = newest.committer().when().seconds();
    let what = Changed::Commit { root: display_line(&root.to_string_lossy()), commit: newest.id_new().to_string() };
    (at >= since).then(|| Change { at, what, touches: Some(services.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b22_drop_ins_environments_and_commits_are_seen_and_no_value_but_the_search_path() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let at = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, text).expect("written");
            path
        };
        at("units/service.d/10-path.conf", "[Service]\nEnvironment=\"PATH=/opt/new/bin\" DB_PASSWORD=hunter22\n");
        at("units/web.service.d/limits.conf", "[Service]\nMemoryMax=1G\n");
        at("units/mail.service", "[Service]\nExecStart=/bin/true\n");
        at("units/multi-user.target.wants/x.service", "");
        at("units/other.timer", "");
        let env = at("app.env", "export TOKEN=hunter22\n# PATH=/no\n");
        let places = Places {
            units: vec![dir.path().join("units")],
            environments: [(env, BTreeSet::from(["web".to_owned()]))].into(),
            names: [("mail".to_owned(), "post".to_owned())].into(),
            ..Places::default()
        };
        let changes = places.changes(0);
        let shown = format!("{changes:?}");
        assert!(!shown.contains("hunter22"), "{shown}");
        let found: Vec<(String, Option<Vec<String>>)> = changes
            .iter()
            .map(|change| {
                let words = change.what.words();
                let name = words.rsplit('/').next().unwrap_or_default().to_owned();
                (
                    if words.contains("PATH=") { words.clone() } else { name },
                    change.touches.clone().map(|all| all.into_iter().collect()),
                )
            })
            .collect();
        let path = dir.path().join("units/service.d/10-path.conf").display().to_string();
        let one = |name: &str| Some(vec![name.to_owned()]);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.contains(&(format!("{path} sets PATH=/opt/new/bin"), None)), "{found:?}");
        assert!(found.contains(&("limits.conf was written".to_owned(), one("web"))), "{found:?}");
        assert!(found.contains(&("mail.service was written".to_owned(), one("post"))), "{found:?}");
        assert!(found.contains(&("app.env sets TOKEN".to_owned(), one("web"))), "{found:?}");
        assert_eq!(places.changes(i64::MAX), []);
    }

    #[test]
    fn a_commit_that_was_checked_out_is_a_change_of_its_services() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let repo = Repository::init(dir.path()).expect("made");
        let me = git2::Signature::now("a", "a@b").expect("a name");
        let tree = repo.find_tree(repo.index().expect("index").write_tree().expect("written")).expect("a tree");
        let commit = repo.commit(Some("HEAD"), &me, &me, "deploy", &tree, &[]).expect("committed");
        let services = BTreeSet::from(["web".to_owned()]);
        let places = Places { projects: [(dir.path().to_owned(), services.clone())].into(), ..Places::default() };
        let changes = places.changes(me.when().seconds());
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].touches, Some(services));
        assert!(matches!(&changes[0].what, Changed::Commit { commit: found, .. } if *found == commit.to_string()));
        assert_eq!(places.changes(me.when().seconds() + 3_600), []);
    }
}
