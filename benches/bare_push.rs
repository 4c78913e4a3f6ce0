//! What a host of a mesh with `layout = "refs"` does with the network, done with git2 alone and nothing verified: the floor that
//! `scripts/bench/scale.py` puts `mesh sync` beside.
//!
//! `bare_push REPOSITORY URL HOST TEXT` fetches all hosts' refs, puts a commit with a file of this TEXT on the ref of HOST, and
//! lists the refs to see that it is there.

use git2::{Direction, FetchOptions, PushOptions, Repository, Signature};

fn main() -> Result<(), git2::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [repository, url, host, text] = arguments.as_slice() else {
        return Err(git2::Error::from_str("bare_push REPOSITORY URL HOST TEXT"));
    };
    let repository = Repository::open_bare(repository)?;
    let mut remote = repository.remote_anonymous(url)?;
    remote.fetch(&["+refs/heads/bare/*:refs/hosts/*"], Some(&mut FetchOptions::new()), None)?;

    let before = repository.find_reference(&format!("refs/hosts/{host}")).and_then(|found| found.peel_to_commit()).ok();
    let tree = before.as_ref().map(git2::Commit::tree).transpose()?;
    let mut builder = repository.treebuilder(tree.as_ref())?;
    builder.insert(text, repository.blob(text.repeat(512).as_bytes())?, 0o100_644)?;
    let tree = repository.find_tree(builder.write()?)?;
    let author = Signature::now("bare", "bare@localhost")?;
    let commit = repository.commit(None, &author, &author, "one more\n", &tree, &before.iter().collect::<Vec<_>>())?;
    repository.reference("refs/push", commit, true, "bare")?;
    let name = format!("refs/heads/bare/{host}");
    remote.push(&[format!("refs/push:{name}")], Some(PushOptions::new().packbuilder_parallelism(1)))?;

    let mut remote = repository.remote_anonymous(url)?;
    let connection = remote.connect_auth(Direction::Fetch, None, None)?;
    let found = connection.list()?.iter().any(|head| head.name() == name && head.oid() == commit);
    if found { Ok(()) } else { Err(git2::Error::from_str("the push is not there")) }
}
