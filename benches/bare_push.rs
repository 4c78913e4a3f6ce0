//! What a host of a mesh with `layout = "refs"` does with the network, done with git2 alone and nothing verified: the floor that
//! `scripts/bench/scale.py` puts `mesh sync` beside.
//!
//! `bare_push REPOSITORY URL HOST FOLDER TURN` fetches all hosts' refs, puts a commit on the ref of HOST with all files of FOLDER but
//! those of a log that come after TURN, and lists the refs to see that it is there.

use std::path::{Path, PathBuf};

use git2::build::TreeUpdateBuilder;
use git2::{Direction, FetchOptions, FileMode, PushOptions, Repository, Signature};

/// Every file below `folder` but `skipped` ones.
fn files(folder: &Path, skipped: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, skipped, found)?;
        } else if !skipped(&path) {
            found.push(path);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [repository, url, host, folder, turn] = arguments.as_slice() else {
        return Err("bare_push REPOSITORY URL HOST FOLDER TURN".into());
    };
    let (folder, turn) = (Path::new(folder), turn.parse::<u64>()?);
    let repository = Repository::open_bare(repository)?;
    let mut remote = repository.remote_anonymous(url)?;
    remote.fetch(&["+refs/heads/bare/*:refs/hosts/*"], Some(&mut FetchOptions::new()), None)?;

    let before = repository.find_reference(&format!("refs/hosts/{host}")).and_then(|found| found.peel_to_commit()).ok();
    let base = match &before {
        Some(before) => before.tree()?,
        None => repository.find_tree(repository.treebuilder(None)?.write()?)?,
    };
    let number =
        |path: &Path| path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
    let mut found = Vec::new();
    files(folder, &|path| number(path).is_some_and(|number| number > turn), &mut found)?;
    let mut update = TreeUpdateBuilder::new();
    for path in &found {
        let mut bytes = std::fs::read(path)?;
        // Whatever is no entry is another one at each turn.
        if number(path).is_none() {
            bytes.extend(turn.to_string().bytes());
        }
        update.upsert(path.strip_prefix(folder)?, repository.blob(&bytes)?, FileMode::Blob);
    }
    let tree = repository.find_tree(update.create_updated(&repository, &base)?)?;
    let author = Signature::now("bare", "bare@localhost")?;
    let parents: Vec<_> = before.iter().collect();
    let commit = repository.commit(None, &author, &author, "one more\n", &tree, &parents)?;
    repository.reference("refs/push", commit, true, "bare")?;
    let name = format!("refs/heads/bare/{host}");
    remote.push(&[format!("refs/push:{name}")], Some(PushOptions::new().packbuilder_parallelism(1)))?;

    let mut remote = repository.remote_anonymous(url)?;
    let connection = remote.connect_auth(Direction::Fetch, None, None)?;
    let found = connection.list()?.iter().any(|head| head.name() == name && head.oid() == commit);
    if found { Ok(()) } else { Err("the push is not there".into()) }
}
