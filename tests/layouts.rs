//! Refs of single hosts beside the shared branch: who has one pushes against nobody, and all read both as one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mesh::domain::branch_path::{self, Layout};
use mesh::domain::id::HostId;
use mesh::ports::{Blob, Branch, Remote, Tip};
use mesh::sys::cache::BranchCache;
use mesh::sys::remote::GitRemote;

use crate::support::git_servers::{Kind, Site, host, http_backend, http_backend_before, one_file};

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
    assert_eq!(site.git(&["rev-list", "--count", &own]).trim(), "2", "one commit for each publication");
    if kind != Kind::Local {
        let cut_off = std::fs::read_to_string(site.cache("c").join("shallow")).expect("there");
        let tips = site.git(&["for-each-ref", "--format=%(objectname)"]);
        let sorted = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(sorted(&cut_off), sorted(&tips), "the server is told of what is read, and not of all that was");
    }
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

#[test]
fn a_ref_that_moves_on_after_it_was_listed_is_fetched_as_it_was_listed() {
    let mut site = Site::new(Kind::Local);
    let id = host(0xab);
    let mut owner = user(&site, "owner", Layout::Refs);
    owner.publish(&files(id, 1), "one").expect("published");
    let state = Arc::new(Mutex::new((owner, 1)));
    let listed = Arc::new(AtomicU64::new(0));
    let (at_server, seen) = (Arc::clone(&state), Arc::clone(&listed));
    // After each listing, the host publishes again before what was listed is asked for.
    let (address, _requests) = http_backend_before(site.dir.path(), None, move |request| {
        let (owner, seq) = &mut *at_server.lock().expect("no test panics while it publishes");
        if request.target.ends_with("/info/refs?service=git-upload-pack") {
            seen.store(*seq, Ordering::SeqCst);
        } else {
            *seq += 1;
            owner.publish(&files(id, *seq), "more").expect("published");
        }
    });
    site.config = crate::support::git_servers::config(&format!("{address}/mesh.git"));
    let mut reader = user(&site, "reader", Layout::Refs);
    for _ in 0..3 {
        let tip = reader.fetch().expect("fetched").expect("a tip");
        let listed = listed.load(Ordering::SeqCst);
        assert_eq!(u64::try_from(entries(&site, "reader", tip, id)).expect("few"), listed);
        assert!(state.lock().expect("not poisoned").1 > listed, "it moved on");
    }
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
