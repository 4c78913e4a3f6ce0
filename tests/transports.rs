//! The shared branch over real servers: what is published is there, whoever else pushes and whatever the server does.

use std::collections::BTreeMap;
use std::fs;

use mesh::domain::branch_path;
use mesh::domain::limits;
use mesh::ports::{Blob, Branch, Remote, RemoteError};
use mesh::sys::cache::BranchCache;
use mesh::sys::remote::{GitRemote, TokenSource};

use crate::support::git_servers::{
    Kind, Site, config, host, http_backend, http_canned, one_file, set_private, stranger,
};

fn entry_text(byte: u8, seq: u64) -> String {
    format!("{{\"host\":{byte},\"seq\":{seq}}}\n")
}

fn publish_and_read_back(kind: Kind) {
    let site = Site::new(kind);
    let (mut a, mut b) = (site.user("a"), site.user("b"));
    assert_eq!(a.tip().expect("empty remote"), None);
    assert_eq!(a.fetch().expect("empty remote"), None);
    let files = BTreeMap::from([
        (branch_path::head(host(0xab)), b"{}\n".to_vec()),
        (branch_path::entry(host(0xab), 1), entry_text(0xab, 1).into_bytes()),
    ]);
    let first = a.publish(&files, "news").expect("published");
    assert_eq!(a.publish(&files, "again").expect("it is there already"), first);
    assert_eq!(b.tip().expect("listed"), Some(first));
    assert_eq!(b.fetch().expect("fetched"), Some(first));
    let branch = BranchCache::new(site.cache("b"));
    assert_eq!(branch.changed_hosts(None, first).expect("read").changed, [host(0xab)]);
    let second = b.publish(&one_file(branch_path::entry(host(0xcd), 101), "x\n"), "more").expect("published");
    assert_eq!(a.fetch().expect("fetched"), Some(second));
    let branch = BranchCache::new(site.cache("a"));
    let changed = branch.changed_hosts(Some(first), second).expect("read");
    assert_eq!((changed.changed, changed.gone, changed.ignored), (vec![host(0xcd)], vec![], 0));
    let log = branch.log(second, host(0xab), 1, 10).expect("read");
    assert_eq!(log.blobs, [Blob::Found(entry_text(0xab, 1).into_bytes())]);
    assert_eq!(log.beyond_gap, None);
    let gap = branch.log(second, host(0xcd), 1, 10).expect("read");
    assert_eq!((gap.blobs.len(), gap.beyond_gap), (0, Some(101)));
    let cloned = site.clone_and_check();
    assert_eq!(cloned.len(), 5, "{:?}", cloned.keys());
    assert_eq!(cloned["mesh-format"], b"mesh-branch/1\n");
    assert_eq!(cloned[".gitattributes"], b"* -text\n");
    assert_eq!(cloned[&branch_path::head(host(0xab))], b"{}\n");
    assert_eq!(site.git(&["log", "-1", "--format=%an <%ae>", "mesh"]).trim(), "mesh <mesh@localhost>");
}

#[test]
fn published_over_http_is_read_back() {
    publish_and_read_back(Kind::Http);
}

#[test]
fn published_over_ssh_is_read_back() {
    publish_and_read_back(Kind::Ssh);
}

#[test]
fn published_over_git_daemon_is_read_back() {
    publish_and_read_back(Kind::Daemon);
}

#[test]
fn published_to_a_path_is_read_back() {
    publish_and_read_back(Kind::Local);
}

/// On a slow machine a writer may lose every race of one call; it says so, and the next cycle tries again.
fn publish_as_a_loop_would(user: &mut GitRemote, files: &BTreeMap<String, Vec<u8>>) {
    for _ in 0..5 {
        match user.publish(files, "entry") {
            Err(RemoteError::Contended { .. } | RemoteError::Limit(_)) => {}
            Ok(_) => return,
            Err(error) => panic!("{files:?}: {error}"),
        }
    }
    panic!("{files:?}: contended in five cycles");
}

fn six_writers(kind: Kind, entries: u64) {
    let site = Site::new(kind);
    std::thread::scope(|scope| {
        for writer in 1..=6_u8 {
            let site = &site;
            scope.spawn(move || {
                let mut user = site.user(&writer.to_string());
                for seq in 1..=entries {
                    let files = one_file(branch_path::entry(host(writer), seq), &entry_text(writer, seq));
                    publish_as_a_loop_would(&mut user, &files);
                }
            });
        }
    });
    let cloned = site.clone_and_check();
    for writer in 1..=6 {
        for seq in 1..=entries {
            let found = cloned.get(&branch_path::entry(host(writer), seq));
            assert_eq!(found, Some(&entry_text(writer, seq).into_bytes()), "writer {writer}, entry {seq}");
        }
    }
    assert_eq!(cloned.len() as u64, 6 * entries + 2);
}

#[test]
fn t11_six_writers_over_http_lose_nothing() {
    six_writers(Kind::Http, 3);
}

#[test]
fn t11_six_writers_over_ssh_lose_nothing() {
    six_writers(Kind::Ssh, 2);
}

#[test]
fn t11_six_writers_over_git_daemon_lose_nothing() {
    six_writers(Kind::Daemon, 3);
}

#[test]
fn t11_six_writers_to_a_path_lose_nothing() {
    six_writers(Kind::Local, 10);
}

#[test]
fn t11_a_push_declined_once_is_tried_again() {
    for kind in [Kind::Http, Kind::Daemon] {
        let site = Site::new(kind);
        site.hook("pre-receive", "[ -e declined ] || { touch declined; exit 1; }");
        let tip = site.user("a").publish(&one_file(branch_path::head(host(1)), "x"), "m").expect("accepted later");
        assert!(site.repo.join("declined").exists());
        assert_eq!(site.user("b").tip().expect("listed"), Some(tip));
    }
}

#[test]
fn t11_a_push_always_declined_is_refused() {
    for kind in [Kind::Http, Kind::Daemon] {
        let site = Site::new(kind);
        site.hook("pre-receive", "echo try >> tries; exit 1");
        let error = site.user("a").publish(&one_file(branch_path::head(host(1)), "x"), "m").unwrap_err();
        assert!(matches!(&error, RemoteError::Refused(text) if text.contains("hook declined")), "{error}");
        assert_eq!(site.user("b").tip().expect("listed"), None);
        let tries = fs::read_to_string(site.repo.join("tries")).expect("the hook ran");
        assert_eq!(tries.lines().count(), limits::PUSH_REFUSALS as usize);
    }
}

#[test]
fn t11_a_server_that_says_ok_and_drops_the_push_publishes_nothing() {
    let site = Site::new(Kind::Http);
    site.user("a").publish(&one_file(branch_path::head(host(1)), "x"), "m").expect("honest so far");
    site.hook("post-receive", "while read old new ref; do git update-ref $ref $old; done");
    let error = site.user("a").publish(&one_file(branch_path::head(host(2)), "x"), "m").unwrap_err();
    assert!(matches!(&error, RemoteError::Refused(text) if text.contains("does not hold it")), "{error}");
}

#[test]
fn t10_a_wiped_or_rewound_branch_is_only_another_tip() {
    for kind in [Kind::Http, Kind::Local] {
        let site = Site::new(kind);
        let mut a = site.user("a");
        let files = one_file(branch_path::head(host(1)), "x");
        let first = a.publish(&files, "m").expect("published");
        a.publish(&one_file(branch_path::head(host(2)), "x"), "m").expect("published");
        let first_hex: String = first.0.iter().map(|byte| format!("{byte:02x}")).collect();
        site.git(&["update-ref", "refs/heads/mesh", &first_hex]);
        assert_eq!(a.fetch().expect("fetched"), Some(first));
        site.git(&["update-ref", "-d", "refs/heads/mesh"]);
        assert_eq!(a.fetch().expect("fetched"), None);
        let again = a.publish(&files, "m").expect("published again");
        assert_eq!(site.user("b").tip().expect("listed"), Some(again));
    }
}

#[test]
fn a_damaged_cache_is_made_anew() {
    let site = Site::new(Kind::Http);
    let mut a = site.user("a");
    let tip = a.publish(&one_file(branch_path::head(host(1)), "x"), "m").expect("published");
    let objects = site.cache("a").join("objects");
    fs::remove_dir_all(&objects).expect("there is one");
    fs::create_dir(&objects).expect("an empty one");
    assert_eq!(a.fetch().expect("fetched"), Some(tip));
    fs::write(site.cache("a").join("HEAD"), "\u{0}garbage").expect("written");
    assert_eq!(a.fetch().expect("fetched"), Some(tip));
    let file = BranchCache::new(site.cache("a")).file(tip, &branch_path::head(host(1)), 10).expect("read");
    assert_eq!(file, Blob::Found(b"x".to_vec()));

    // A worker was killed before it had looked at what it received.
    fs::write(site.cache("a").join("unvetted"), "").expect("written");
    fs::write(site.cache("a").join("objects/pack/tmp_left"), "half a pack").expect("written");
    assert_eq!(a.fetch().expect("fetched"), Some(tip));
    assert!(!site.cache("a").join("unvetted").exists());
    assert!(!site.cache("a").join("objects/pack/tmp_left").exists());
}

#[test]
fn k3_a_cache_that_has_grown_for_long_is_put_into_one_pack_on_every_transport() {
    for kind in [Kind::Local, Kind::Http] {
        let site = Site::new(kind);
        let mut a = site.user("a");
        let tip = a.publish(&one_file(branch_path::head(host(1)), "x"), "m").expect("published");
        let old = site.cache("a").join("objects/17");
        let fill = |files: usize| {
            fs::create_dir_all(&old).expect("made");
            (0..files).for_each(|number| fs::write(old.join(format!("{number:038x}")), "").expect("written"));
        };
        fill(limits::CACHE_LOOSE / 256 / 2);
        assert_eq!(a.fetch().expect("fetched"), Some(tip));
        assert!(old.join(format!("{:038x}", 7)).exists(), "half of that is left alone");
        fill(limits::CACHE_LOOSE / 256 + 2);
        assert_eq!(a.fetch().expect("fetched"), Some(tip));
        assert!(!old.join(format!("{:038x}", 7)).exists(), "{kind:?}");
        let file = BranchCache::new(site.cache("a")).file(tip, &branch_path::head(host(1)), 10).expect("read");
        assert_eq!(file, Blob::Found(b"x".to_vec()));
    }
}

#[test]
fn k3_many_packs_become_one_and_nothing_is_fetched_again() {
    let mut site = Site::new(Kind::Local);
    let (address, requests) = http_backend(site.dir.path(), None);
    site.config = config(&format!("{address}/mesh.git"));
    let (mut writer, mut reader) = (site.user("writer"), site.user("reader"));
    let entry = |n: u8, seq| (branch_path::entry(host(n), seq), entry_text(n, seq).into_bytes());
    let files = (1..=40).flat_map(|n| (1..=3).map(move |seq| (n, seq))).map(|(n, seq)| entry(n, seq));
    let tip = writer.publish(&files.collect(), "m").expect("published");
    assert_eq!(reader.fetch().expect("fetched"), Some(tip));
    // The tip is then a commit on top of one that goes.
    let own = BTreeMap::from([entry(99, 1)]);
    let tip = reader.publish(&own, "own").expect("published");
    assert_eq!(reader.fetch().expect("fetched"), Some(tip));
    let folder = site.cache("reader").join("objects/pack");
    let packs = |ending: &str| {
        let entries = fs::read_dir(&folder).expect("there").flatten().map(|entry| entry.path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect::<Vec<_>>()
    };
    let fill = || {
        let only = packs("pack").pop().expect("one").with_extension("");
        for n in 0..limits::CACHE_PACKS {
            for extension in ["pack", "idx"] {
                let copy = folder.join(format!("pack-{n:040x}")).with_extension(extension);
                fs::copy(only.with_extension(extension), copy).expect("copied");
            }
        }
    };
    fill();
    requests.try_iter().for_each(drop);
    assert_eq!(reader.fetch().expect("fetched"), Some(tip));
    let fetched = requests.try_iter().filter(|request| request.path.ends_with("/git-upload-pack")).count();
    assert_eq!((fetched, packs("pack").len(), packs("idx").len()), (0, 1, 1));
    let branch = BranchCache::new(site.cache("reader"));
    for n in 1..=40 {
        let wanted: Vec<Blob> = (1..=3).map(|seq| Blob::Found(entry_text(n, seq).into_bytes())).collect();
        assert_eq!(branch.log(tip, host(n), 1, 9).expect("read").blobs, wanted, "{n}");
    }
    // And it goes on from there, also where there is news for the very fetch that begins with this.
    let next = writer.publish(&BTreeMap::from([entry(8, 4)]), "more").expect("published");
    assert_eq!(reader.fetch().expect("fetched"), Some(next));
    fill();
    let next = writer.publish(&BTreeMap::from([entry(7, 4)]), "more").expect("published");
    assert_eq!(reader.fetch().expect("fetched"), Some(next));
    assert_eq!(branch.log(next, host(7), 4, 9).expect("read").blobs, [Blob::Found(entry_text(7, 4).into_bytes())]);
    let mut sizes: Vec<u64> = packs("pack").iter().map(|pack| fs::metadata(pack).expect("there").len()).collect();
    sizes.sort_unstable();
    assert!(sizes.len() == 2 && sizes[0] * 4 < sizes[1], "only what is new comes: {sizes:?}");
}

#[test]
fn a_log_is_read_up_to_its_first_hole_and_tells_what_is_beyond() {
    let site = Site::new(Kind::Local);
    let seqs = [1, 2, 99, 100, 101, 102, 350];
    let files = seqs.map(|seq| (branch_path::entry(host(9), seq), entry_text(9, seq).into_bytes()));
    let tip = site.user("a").publish(&BTreeMap::from(files), "m").expect("published");
    let branch = BranchCache::new(site.cache("a"));
    let log = |from, count| {
        let slice = branch.log(tip, host(9), from, count).expect("read");
        (slice.blobs.len(), slice.beyond_gap)
    };
    assert_eq!(log(1, 256), (2, Some(99)));
    assert_eq!(log(3, 256), (0, Some(99)));
    assert_eq!(log(99, 2), (2, None));
    assert_eq!(log(99, 256), (4, Some(350)));
    assert_eq!(log(103, 1), (0, Some(350)));
    assert_eq!(log(351, 256), (0, None));
    assert_eq!(branch.log(tip, host(8), 1, 9).expect("read").beyond_gap, None);
}

#[test]
fn a_token_opens_the_repository_and_a_missing_or_wrong_one_says_so() {
    let site = Site::new(Kind::Local);
    let (address, _requests) = http_backend(site.dir.path(), Some("mesh:s3cret"));
    let token = site.dir.path().join("token");
    fs::write(&token, "s3cret\n").expect("written");
    set_private(&token);
    let mut config = config(&format!("{address}/mesh.git"));
    let remote = |config| GitRemote::new(env!("CARGO_BIN_EXE_mesh"), site.cache("a"), config);
    let error = remote(config.clone()).tip().unwrap_err();
    assert!(matches!(&error, RemoteError::Credentials(text) if text.contains("no token")), "{error}");
    config.token = Some(TokenSource::File(token.clone()));
    remote(config.clone()).publish(&one_file(branch_path::head(host(1)), "x"), "m").expect("published");
    fs::write(&token, "wrong\n").expect("written");
    let error = remote(config).tip().unwrap_err();
    assert!(matches!(&error, RemoteError::Credentials(text) if text.contains("not accepted")), "{error}");
}

#[test]
fn servers_that_are_not_there_or_not_git_are_named_as_such() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (web, _requests) = http_canned("200 OK", "Content-Type: text/html\r\n".to_owned());
    let (gone, _requests) = http_canned("404 Not Found", String::new());
    for address in [web, gone] {
        let error = stranger(&format!("{address}/x"), &dir).tip().unwrap_err();
        assert!(matches!(error, RemoteError::Protocol(_)), "{error:?}");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port, now closed");
    for address in [format!("http://{closed}/x"), format!("git://{closed}/x"), "/nowhere/mesh.git".to_owned()] {
        let error = stranger(&address, &dir).fetch().unwrap_err();
        assert!(matches!(error, RemoteError::Unreachable(_)), "{address}: {error:?}");
    }
    let error = stranger("ssh://nobody@127.0.0.1:1/x", &dir).fetch().unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable(_)), "{error:?}");
}
