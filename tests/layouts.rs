//! Refs of single hosts beside the shared branch: who has one pushes against nobody, and all read both as one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;

use mesh::domain::branch_path::{self, Layout};
use mesh::domain::id::HostId;
use mesh::ports::{Blob, Branch, Remote, RemoteError, Tip};
use mesh::sys::cache::BranchCache;
use mesh::sys::remote::GitRemote;

use crate::support::git_servers::{Kind, Seen, Site, git, host, http_backend, http_backend_after, one_file};

fn user(site: &Site, name: &str, layout: Layout) -> GitRemote {
    let config = mesh::sys::remote::RemoteConfig { layout, ..site.config.clone() };
    GitRemote::new(env!("CARGO_BIN_EXE_mesh"), site.cache(name), config)
}

fn files(of: HostId, seq: u64) -> BTreeMap<String, Vec<u8>> {
    let mut files = one_file(branch_path::entry(of, seq), &format!("{seq}\n"));
    files.insert(branch_path::head(of), format!("head {seq}\n").into_bytes());
    files
}

/// How many entries of a host are read at `tip`.
fn entries(site: &Site, reader: &str, tip: Tip, of: HostId) -> usize {
    BranchCache::new(site.cache(reader)).log(tip, of, 1, 100).expect("read").blobs.len()
}

fn refs(site: &Site) -> Vec<String> {
    let listed = site.git(&["for-each-ref", "--format=%(refname)"]);
    listed.lines().map(str::to_owned).collect()
}

fn both_are_read_as_one(kind: Kind) {
    let site = Site::new(kind);
    let (single, shared) = (host(0xab), host(0xcd));
    let mut of_refs = user(&site, "a", Layout::Refs);
    let mut of_branch = user(&site, "b", Layout::Branch);
    of_refs.publish(&files(single, 1), "one").expect("published");
    of_branch.publish(&files(shared, 1), "one").expect("published");
    let mut reader = user(&site, "c", Layout::Branch);
    let first = reader.fetch().expect("fetched").expect("a tip");
    assert_eq!(reader.tip().expect("listed"), Some(first), "what was read is known by its tip");
    let cache = BranchCache::new(site.cache("c"));
    assert_eq!(cache.changed_hosts(None, first).expect("read").changed, [single, shared]);

    of_refs.publish(&files(single, 2), "two").expect("published");
    assert_ne!(reader.tip().expect("listed"), Some(first), "news shows in the tip");
    let again = of_refs.fetch().expect("fetched");
    assert_eq!(reader.fetch().expect("fetched"), again, "the same refs are the same tip everywhere");
    let second = again.expect("a tip");
    let changed = cache.changed_hosts(Some(first), second).expect("read");
    assert_eq!((changed.changed, changed.gone, changed.ignored), (vec![single], vec![], 0));
    assert_eq!((entries(&site, "c", second, single), entries(&site, "c", second, shared)), (2, 1));

    let own = branch_path::host_ref("mesh", single);
    assert_eq!(refs(&site), ["refs/heads/mesh".to_owned(), own.clone()]);
    assert_eq!(site.git(&["rev-list", "--count", &own]).trim(), "1", "a ref has no history");
    assert!(!site.git(&["ls-tree", "-r", "--name-only", "mesh"]).contains(&single.to_string()));
    site.git(&["fsck", "--strict", "--full"]);
}

#[test]
fn both_layouts_are_read_as_one_over_http() {
    both_are_read_as_one(Kind::Http);
}

#[test]
fn both_layouts_are_read_as_one_over_ssh() {
    both_are_read_as_one(Kind::Ssh);
}

#[test]
fn both_layouts_are_read_as_one_over_git_daemon() {
    both_are_read_as_one(Kind::Daemon);
}

#[test]
fn both_layouts_are_read_as_one_at_a_path() {
    both_are_read_as_one(Kind::Local);
}

#[test]
fn a_log_moves_along_to_the_ref_of_its_host_and_stays_there() {
    for kind in [Kind::Http, Kind::Local] {
        let site = Site::new(kind);
        let id = host(0xab);
        user(&site, "a", Layout::Branch).publish(&files(id, 1), "on the branch").expect("published");
        let tip = user(&site, "a", Layout::Refs).publish(&files(id, 2), "on its own").expect("published");
        assert_eq!(entries(&site, "a", tip, id), 2);
        let own = branch_path::host_ref("mesh", id);
        assert_eq!(
            site.git(&["ls-tree", "-r", "--name-only", &own]).lines().filter(|l| l.contains("/log/")).count(),
            2
        );
        // Set back to the branch: what the ref holds would hide what goes there, so it goes to the ref.
        let tip = user(&site, "a", Layout::Branch).publish(&files(id, 3), "on its own still").expect("published");
        assert_eq!(entries(&site, "a", tip, id), 3);
        // A roster is no host's own.
        user(&site, "a", Layout::Refs).publish(&one_file(branch_path::roster(1), "r\n"), "roster").expect("published");
        assert!(site.git(&["ls-tree", "-r", "--name-only", "mesh"]).contains("roster/0000000001.json"));
    }
}

#[test]
fn hosts_with_refs_of_their_own_push_at_the_same_instant_once_each() {
    let mut site = Site::new(Kind::Local);
    let (address, requests) = http_backend(site.dir.path(), None);
    site.config = crate::support::git_servers::config(&format!("{address}/mesh.git"));
    let start = std::sync::Barrier::new(6);
    std::thread::scope(|scope| {
        for writer in 1..=6_u8 {
            let (site, start) = (&site, &start);
            scope.spawn(move || {
                let mut user = user(site, &writer.to_string(), Layout::Refs);
                start.wait();
                user.publish(&files(host(writer), 1), "all at once").expect("published");
            });
        }
    });
    let pushes = requests.try_iter().filter(|request| request.path.ends_with("/git-receive-pack")).count();
    assert_eq!(pushes, 6, "nobody lost a race");
    let mut reader = user(&site, "reader", Layout::Refs);
    let tip = reader.fetch().expect("fetched").expect("a tip");
    assert!((1..=6).all(|writer| entries(&site, "reader", tip, host(writer)) == 1));
}

/// A site over HTTP where somebody replaces the ref of `host` each time between its listing and its fetch, as often as
/// the number says.
fn restless(of: HostId) -> (Site, Arc<AtomicUsize>, Receiver<Seen>) {
    let mut site = Site::new(Kind::Local);
    user(&site, "a", Layout::Refs).publish(&files(of, 1), "one").expect("published");
    let (repo, own, times) = (site.repo.clone(), branch_path::host_ref("mesh", of), Arc::new(AtomicUsize::new(0)));
    let left = Arc::clone(&times);
    let (address, requests) = http_backend_after(site.dir.path(), None, move |request| {
        let one_less = |left: usize| left.checked_sub(1);
        if request.target.ends_with("/git-upload-pack")
            && let Ok(left) = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
        {
            let again = git(&repo, &["commit-tree", "-m", &format!("again {left}"), &format!("{own}^{{tree}}")]);
            git(&repo, &["update-ref", &own, again.trim()]);
        }
    });
    site.config = crate::support::git_servers::config(&format!("{address}/mesh.git"));
    (site, times, requests)
}

#[test]
fn a_ref_that_is_replaced_after_it_was_listed_is_fetched_as_it_is_then() {
    let id = host(0xab);
    let (site, times, _requests) = restless(id);
    times.store(3, Ordering::SeqCst);
    let mut reader = user(&site, "reader", Layout::Refs);
    let tip = reader.fetch().expect("fetched").expect("a tip");
    assert_eq!((entries(&site, "reader", tip, id), times.load(Ordering::SeqCst)), (1, 0));

    times.store(100, Ordering::SeqCst);
    let own = branch_path::host_ref("mesh", id);
    let again = site.git(&["commit-tree", "-m", "news", &format!("{own}^{{tree}}")]);
    site.git(&["update-ref", &own, again.trim()]);
    let error = reader.fetch().expect_err("it is never there");
    assert!(matches!(error, RemoteError::Protocol(_)), "{error}");
    assert_eq!(times.load(Ordering::SeqCst), 95, "five tries and no more");
    assert_eq!(entries(&site, "reader", tip, id), 1, "what was read stays");
    times.store(0, Ordering::SeqCst);
    let tip = reader.fetch().expect("fetched").expect("a tip");
    assert_eq!(entries(&site, "reader", tip, id), 1);
}

#[test]
fn what_was_fetched_is_pushed_onto_and_read_back_without_asking_for_it_again() {
    for layout in [Layout::Branch, Layout::Refs] {
        let mut site = Site::new(Kind::Local);
        let (address, requests) = http_backend(site.dir.path(), None);
        site.config = crate::support::git_servers::config(&format!("{address}/mesh.git"));
        let (id, other) = (host(0xab), host(0xcd));
        let mut owner = user(&site, "a", layout);
        owner.publish(&files(id, 1), "one").expect("published");
        let _earlier = requests.try_iter().count();
        let tip = owner.publish(&files(id, 2), "two").expect("published");
        let asked: Vec<String> = requests.try_iter().map(|request| request.path.replace("/mesh.git/", "")).collect();
        let [pushing, listing] = ["receive", "upload"].map(|way| format!("info/refs?service=git-{way}-pack"));
        assert_eq!(asked, [pushing.as_str(), "git-receive-pack", listing.as_str()], "{layout:?}");
        assert_eq!(entries(&site, "a", tip, id), 2);
        // Somebody else was quicker than it knows, or it was set back: then it looks again.
        user(&site, "b", layout).publish(&files(other, 1), "other").expect("published");
        let tip = owner.publish(&files(id, 3), "three").expect("published");
        assert_eq!(entries(&site, "a", tip, id), 3);
        let tip = owner.fetch().expect("fetched").expect("a tip");
        assert_eq!((entries(&site, "a", tip, id), entries(&site, "a", tip, other)), (3, 1));
        let ours = refs(&site).into_iter().find(|name| layout == Layout::Branch || name.contains(&id.to_string()));
        site.git(&["update-ref", "-d", &ours.expect("there")]);
        let tip = owner.publish(&files(id, 3), "three again").expect("published");
        let third = BranchCache::new(site.cache("a")).file(tip, &branch_path::entry(id, 3), 100).expect("read");
        assert_eq!((entries(&site, "a", tip, id), third), (0, Blob::Found(b"3\n".to_vec())), "on what is there now");
        site.git(&["fsck", "--strict", "--full"]);
    }
}

#[test]
fn t10_a_ref_with_garbage_hides_nothing_of_the_branch_and_its_host_puts_it_right() {
    let site = Site::new(Kind::Http);
    let id = host(0xab);
    let mut owner = user(&site, "a", Layout::Branch);
    owner.publish(&files(id, 1), "one").expect("published");
    let empty = site.git(&["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let commit = site.git(&["commit-tree", "-m", "garbage", empty.trim()]);
    let own = branch_path::host_ref("mesh", id);
    site.git(&["update-ref", &own, commit.trim()]);
    site.git(&["update-ref", "refs/heads/mesh-host/not-a-host", commit.trim()]);
    let mut reader = user(&site, "reader", Layout::Branch);
    let tip = reader.fetch().expect("fetched").expect("a tip");
    assert_eq!(entries(&site, "reader", tip, id), 1);
    owner.fetch().expect("fetched");
    let tip = owner.publish(&files(id, 2), "two").expect("published");
    assert_eq!(entries(&site, "a", tip, id), 2);
    // The ref is taken away by somebody: the host's next publication finds what is missing and sends it.
    site.git(&["update-ref", "-d", &own]);
    let tip = owner.fetch().expect("fetched").expect("a tip");
    assert_eq!(entries(&site, "a", tip, id), 1, "what the branch still has");
    let cache = BranchCache::new(site.cache("a"));
    assert_eq!(cache.file(tip, &branch_path::entry(id, 2), 100).expect("read"), Blob::Missing);
    let tip = owner.publish(&files(id, 2), "two again").expect("published");
    assert_eq!(entries(&site, "a", tip, id), 2);
}
