//! A user's project: a real repository, made with the git program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs git in `dir` with no configuration of the machine, and returns what it printed.
///
/// # Panics
/// Git is missing (install the package `git`) or fails.
#[expect(clippy::disallowed_methods, reason = "tests drive the real git")]
pub(crate) fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "user"), ("GIT_AUTHOR_EMAIL", "user@example.org")])
        .envs([("GIT_COMMITTER_NAME", "user"), ("GIT_COMMITTER_EMAIL", "user@example.org")])
        .env_remove("GIT_DIR")
        .output()
        .expect("git is installed (apt-get install git)");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?} in {}: {stderr}", dir.display());
    String::from_utf8(output.stdout).expect("git prints UTF-8").trim_end().to_owned()
}

/// A repository in a temporary directory, with one commit.
pub(crate) struct Project {
    /// Removed with the project.
    _above: Option<tempfile::TempDir>,
    /// The repository.
    pub(crate) root: PathBuf,
}

impl Project {
    /// A repository that holds `files`, committed on `main`.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let above = tempfile::tempdir().expect("a temp dir");
        let mut project = Self::new_in(above.path(), files);
        project._above = Some(above);
        project
    }

    /// The same below `above`, which the caller removes.
    pub(crate) fn new_in(above: &Path, files: &[(&str, &str)]) -> Self {
        let root = above.canonicalize().expect("it exists").join("project");
        fs::create_dir(&root).expect("made");
        git(&root, &["init", "-q", "-b", "main"]);
        let project = Self { _above: None, root };
        for (path, text) in files {
            project.write(path, text);
        }
        project.commit_all("start");
        project
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        fs::write(path, text).expect("written");
    }

    pub(crate) fn commit_all(&self, message: &str) {
        git(&self.root, &["add", "-A"]);
        git(&self.root, &["commit", "-q", "--allow-empty", "-m", message]);
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.root, arguments)
    }

    /// Names of the branches that mesh made.
    pub(crate) fn mesh_branches(&self) -> Vec<String> {
        let listed = self.git(&["for-each-ref", "--format=%(refname:short)", "refs/heads/mesh/"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Everything of the user's that seeding must leave alone: each file of the work tree with its mode and inode,
    /// the index, HEAD, the configuration, and every ref that is not mesh's.
    pub(crate) fn everything(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("readable") {
                let path = entry.expect("readable").path();
                let name = path.strip_prefix(&self.root).expect("below").to_string_lossy().into_owned();
                let theirs = name.starts_with(".git/objects")
                    || name.starts_with(".git/refs/heads/mesh")
                    || name.starts_with(".git/logs/refs/heads/mesh");
                if theirs {
                    continue;
                }
                let metadata = path.symlink_metadata().expect("readable");
                if metadata.is_dir() {
                    folders.push(path);
                } else if metadata.is_symlink() {
                    found.insert(name, format!("-> {}", fs::read_link(&path).expect("a link").display()));
                } else {
                    let hash = blake3::hash(&fs::read(&path).expect("readable"));
                    let (mode, inode) = (metadata.permissions().mode(), metadata.ino());
                    found.insert(name, format!("{mode:o} {inode} {hash}"));
                }
            }
        }
        found.insert("HEAD".to_owned(), self.git(&["symbolic-ref", "-q", "HEAD"]));
        found
    }
}
