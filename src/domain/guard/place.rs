//! The checks on the place of a change: its path, its file and its repository.

use std::path::{Component, Path, PathBuf};

use super::{ActionKind, AskedBy, Facts, FileId, No, Policy, RepoFacts, refuse};
use crate::domain::fix::{FixPlan, TextHash};
use crate::domain::foreign_text::display_line;
use crate::domain::source_marks::generated_mark;

fn is_plain(path: &str) -> bool {
    let parts = Path::new(path).components();
    // `components` folds `a//b` and `a/./b`; a path that a scan made has neither.
    let folded = path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    !folded && !path.contains('\0') && parts.into_iter().all(|part| matches!(part, Component::Normal(_)))
}

pub(super) fn inside_root(path: &str, facts: &Facts) -> Result<(), No> {
    if !is_plain(path) {
        return refuse(format!("path {} is not a plain path below the root", display_line(path)));
    }
    let file = match &facts.file {
        Ok(file) => file,
        Err(why) => return refuse(format!("file cannot be read: {}", display_line(why))),
    };
    if file.real_path != file.real_root.join(path) {
        let real = file.real_path.to_string_lossy();
        return refuse(format!("a symbolic link leads to {}: name the real file's root", display_line(&real)));
    }
    if !file.regular {
        return refuse("not a plain file");
    }
    Ok(())
}

/// Names of directories that nothing below may be changed in, in lower case.
const BLOCKED_DIRECTORIES: [&str; 9] =
    [".git", ".hg", ".svn", ".jj", ".ssh", ".gnupg", ".aws", ".kube", ".password-store"];
/// Names of files that are never changed, in lower case.
const BLOCKED_FILES: [&str; 12] = [
    ".gitmodules",
    ".env",
    ".netrc",
    ".pgpass",
    ".htpasswd",
    ".git-credentials",
    ".npmrc",
    ".pypirc",
    "authorized_keys",
    "shadow",
    "sudoers",
    "mesh.service",
];
/// Starts of names of files that are never changed, in lower case.
const BLOCKED_STARTS: [&str; 6] = [".env.", "id_rsa", "id_ed25519", "id_ecdsa", "credentials", "ssh_host_"];
/// Ends of names of files that are never changed, in lower case.
const BLOCKED_ENDS: [&str; 8] = [".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".asc"];

/// Why nothing of this name may be changed, whoever asks.
#[must_use]
pub fn is_blocked_name(path: &Path) -> Option<String> {
    let mut names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().to_lowercase()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    let file = names.next_back()?;
    // File systems that fold names take trailing dots and spaces, and `git~1`, for `.git`.
    let folded = |name: &str| name.trim_end_matches(['.', ' ']).to_owned();
    let directory = names.chain([file.clone()]).find(|name| {
        let name = folded(name);
        BLOCKED_DIRECTORIES.contains(&name.as_str()) || name == "git~1" || name == "mesh.service.d"
    });
    if let Some(directory) = directory {
        return Some(format!("nothing in {} is changed", display_line(&directory)));
    }
    let blocked = BLOCKED_FILES.contains(&file.as_str())
        || BLOCKED_STARTS.iter().any(|start| file.starts_with(start))
        || BLOCKED_ENDS.iter().any(|end| file.ends_with(end));
    blocked.then(|| format!("{} may be a secret or a key to the machine", display_line(&file)))
}

pub(super) fn blocked_path(root: &Path, path: &str, facts: &Facts, policy: &Policy) -> Result<(), No> {
    if let Some(why) = is_blocked_name(Path::new(path)) {
        return refuse(why);
    }
    let file = match &facts.file {
        Ok(file) => file,
        Err(why) => return refuse(format!("file cannot be read: {}", display_line(why))),
    };
    if let Some(why) = is_blocked_name(&file.real_path) {
        return refuse(why);
    }
    let below = |blocked: &PathBuf| file.real_path.starts_with(blocked) || root.join(path).starts_with(blocked);
    let same = |id: &FileId| file.lineage.contains(id);
    if policy.blocked.iter().any(below) || policy.blocked_ids.iter().any(same) {
        return refuse("mesh never changes its own files: a person does");
    }
    if file.links > 1 {
        return refuse(format!("the file has {} names (hard links), and the others are not known", file.links));
    }
    Ok(())
}

/// Why nothing at this place may be changed, whoever asks: it is outside of its root, mesh's own, git's, or a secret's.
#[must_use]
pub fn is_blocked(root: &Path, path: &str, facts: &Facts, policy: &Policy) -> Option<String> {
    let answer = inside_root(path, facts).and_then(|()| blocked_path(root, path, facts, policy));
    match answer {
        Ok(()) => None,
        Err(No::Ask(why) | No::Block(why) | No::Refuse(why)) => Some(why),
    }
}

pub(super) fn unchanged(before: TextHash, facts: &Facts) -> Result<(), No> {
    match &facts.file {
        Ok(file) if file.hash == before => Ok(()),
        Ok(_) => refuse("the file has changed since it was looked at: audit it again"),
        Err(why) => refuse(format!("file cannot be read: {}", display_line(why))),
    }
}

pub(super) fn repository(facts: &Facts, policy: &Policy) -> Result<(), No> {
    match (&facts.repo, policy.kind) {
        (RepoFacts::Outside, ActionKind::File) => Ok(()),
        (RepoFacts::Outside, ActionKind::Branch | ActionKind::Commit) => {
            let why = "the file is in no git repository, so there is no branch to put it on: change it by hand";
            match policy.asked_by {
                AskedBy::Audit => Err(No::Ask(why.to_owned())),
                AskedBy::Person => refuse(why),
            }
        }
        (RepoFacts::Unusable(why), _) => refuse(display_line(why)),
        (RepoFacts::Inside { .. }, ActionKind::File) => refuse("the file is in a git repository: it is changed there"),
        (RepoFacts::Inside { head: None, .. }, _) => refuse("the repository has no commit yet"),
        (RepoFacts::Inside { busy: Some(what), .. }, _) => {
            refuse(format!("a {} is going on in the repository: end it first", display_line(what)))
        }
        (RepoFacts::Inside { .. }, _) => Ok(()),
    }
}

pub(super) fn tracked(plan: &FixPlan, facts: &Facts) -> Result<(), No> {
    if let Some(mark) = generated_mark(&plan.path, &plan.before) {
        return refuse(format!("the file is made by a program ({mark}): mend what makes it"));
    }
    match &facts.repo {
        RepoFacts::Inside { generated: true, .. } => refuse("the repository's attributes call the file generated"),
        RepoFacts::Inside { ignored: true, tracked: false, .. } => refuse("the file is ignored by git"),
        RepoFacts::Inside { tracked: false, .. } => refuse("the file is not tracked by git: add and commit it first"),
        RepoFacts::Inside { .. } | RepoFacts::Outside | RepoFacts::Unusable(_) => Ok(()),
    }
}

pub(super) fn clean(plan: &FixPlan, facts: &Facts) -> Result<(), No> {
    match &facts.repo {
        RepoFacts::Outside | RepoFacts::Unusable(_) => Ok(()),
        RepoFacts::Inside { staged: true, .. } => refuse("the file has staged work: commit it first"),
        RepoFacts::Inside { at_head: Some(hash), .. } if *hash == plan.before.hash() => Ok(()),
        RepoFacts::Inside { at_head: Some(_), .. } => {
            refuse("the file differs from HEAD (uncommitted work, or converted line ends): commit it first")
        }
        RepoFacts::Inside { at_head: None, .. } => refuse("HEAD does not hold the file as a plain file"),
    }
}

/// A way back is known for the very thing that is changed: the branch is deleted, the commit is reverted, or the copy of
/// the file is put back. All three need the text that is there now to be the one that was planned from.
pub(super) fn rollback_defined(plan: &FixPlan, facts: &Facts, policy: &Policy) -> Result<(), No> {
    let Ok(file) = &facts.file else { return refuse("the file cannot be read, so it cannot be put back") };
    let way_back = match (policy.kind, &facts.repo) {
        (ActionKind::Branch | ActionKind::Commit, RepoFacts::Inside { head: Some(_), .. }) => true,
        (ActionKind::File, RepoFacts::Outside) => file.regular && file.links <= 1,
        (ActionKind::Branch | ActionKind::Commit | ActionKind::File, _) => false,
    };
    if !way_back {
        return match policy.asked_by {
            // Outside git there is nothing to take back because there is nothing to make.
            AskedBy::Audit if facts.repo == RepoFacts::Outside => Err(No::Ask("there is no way back".to_owned())),
            AskedBy::Audit | AskedBy::Person => refuse("there is no way back"),
        };
    }
    if plan.before == plan.after {
        return refuse("it changes nothing, so nothing could be taken back");
    }
    Ok(())
}
