//! The shared branch over real servers: what is published is there, whoever else pushes and whatever the server does.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use mesh::domain::branch_path;
use mesh::domain::id::HostId;
use mesh::domain::limits;
use mesh::ports::{Blob, Branch, Remote, RemoteError, Tip};
use mesh::sys::cache::BranchCache;
use mesh::sys::remote::{GitRemote, Limits, TokenSource};

use crate::support::git_servers::{Kind, Site, config, git_with, http_backend, http_canned, listen};
use crate::support::hostile_git;

fn host(byte: u8) -> HostId {
    HostId::from_bytes([byte; 32])
}

fn one_file(path: String, text: &str) -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([(path, text.as_bytes().to_vec())])
}

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

fn six_writers(kind: Kind, entries: u64) {
    let site = Site::new(kind);
    std::thread::scope(|scope| {
        for writer in 1..=6_u8 {
            let site = &site;
            scope.spawn(move || {
                let mut user = site.user(&writer.to_string());
                for seq in 1..=entries {
                    let files = one_file(branch_path::entry(host(writer), seq), &entry_text(writer, seq));
                    user.publish(&files, "entry").unwrap_or_else(|error| panic!("writer {writer}, {seq}: {error}"));
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
    six_writers(Kind::Ssh, 3);
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

fn hostile(address: &str, dir: &tempfile::TempDir) -> GitRemote {
    GitRemote::new(env!("CARGO_BIN_EXE_mesh"), dir.path().join("cache.git"), config(address))
}

#[test]
fn t12_pack_bombs_end_the_worker_and_nothing_else() {
    let site = Site::new(Kind::Daemon);
    let tip = site.user("a").publish(&one_file(branch_path::head(host(1)), "x"), "m").expect("published");
    let bombs =
        [("zlib", "CPU time", hostile_git::zlib_bomb(1 << 30)), ("delta", "memory", hostile_git::delta_bomb(1 << 30))];
    for (name, limit, pack) in bombs {
        assert!((pack.len() as u64) < limits::FETCH_BYTES, "the {name} bomb is small: {}", pack.len());
        let address = listen(move |connection| {
            let _worker_died = hostile_git::serve_pack(connection, &pack);
        });
        let mut bombed = GitRemote::new(
            env!("CARGO_BIN_EXE_mesh"),
            site.cache("bombed"),
            config(&format!("git://{address}/mesh.git")),
        )
        .with_limits(Limits { cpu: Duration::from_secs(1), ..Limits::default() });
        let error = bombed.fetch().unwrap_err();
        assert!(matches!(&error, RemoteError::Limit(text) if text.contains(limit)), "{name}: {error:?}");
        assert_eq!(site.user("bombed").fetch().expect("the cache is usable"), Some(tip), "after the {name} bomb");
    }
}

#[test]
fn t13_a_trickling_server_is_left_at_the_wall_limit() {
    let (send, receive) = mpsc::channel();
    let address = listen(move |mut connection| {
        // An endless list of refs. Ends only when the other side is gone.
        let line = hostile_git::packet(b"1111111111111111111111111111111111111111 refs/heads/x\0 ofs-delta\n");
        for byte in line.iter().cycle() {
            if connection.write_all(&[*byte]).is_err() {
                let _test_may_have_failed = send.send(());
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let limits = Limits { wall: Duration::from_secs(1), ..Limits::default() };
    for scheme in ["git", "http"] {
        let mut remote = hostile(&format!("{scheme}://{address}/x"), &dir).with_limits(limits);
        let error = remote.fetch().unwrap_err();
        let stopped = matches!(error, RemoteError::Limit(_));
        assert!(stopped || scheme == "http", "{error:?}");
        receive.recv_timeout(Duration::from_secs(60)).expect("the worker is gone, and its connection with it");
    }
}

#[test]
fn t13_a_silent_server_is_left_at_the_wall_limit() {
    let address = listen(|mut connection| {
        let mut sink = Vec::new();
        let _until_the_other_side_is_gone = connection.read_to_end(&mut sink);
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let limits = Limits { wall: Duration::from_millis(700), ..Limits::default() };
    for scheme in ["git", "http"] {
        let error = hostile(&format!("{scheme}://{address}/x"), &dir).with_limits(limits).tip().unwrap_err();
        assert!(matches!(error, RemoteError::Limit(_)), "{scheme}: {error:?}");
    }
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect()
}

#[test]
fn t13_bytes_and_objects_are_capped_on_every_transport() {
    for kind in [Kind::Http, Kind::Daemon, Kind::Ssh] {
        let site = Site::new(kind);
        let files = BTreeMap::from([(branch_path::roster(1), noise(300_000))]);
        let tip = site.user("a").publish(&files, "m").expect("published");
        let bytes = Limits { bytes: 100_000, ..Limits::default() };
        let objects = Limits { objects: 3, ..Limits::default() };
        for limits in [bytes, objects] {
            let error = site.user("b").with_limits(limits).fetch().unwrap_err();
            assert!(matches!(error, RemoteError::Limit(_)), "{kind:?}: {error:?}");
        }
        assert_eq!(site.user("b").fetch().expect("fetched"), Some(tip));
    }
}

/// A directory object, entry by entry, with no check of anything.
fn literal_tree(site: &Site, entries: &[(&str, &[u8], &str)]) -> String {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend_from_slice(format!("{mode} ").as_bytes());
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend((0..20).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).expect("hexadecimal")));
    }
    git_with(&site.repo, &["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], bytes.as_slice())
}

fn set_branch(site: &Site, root: &str) -> Tip {
    let commit = site.git(&["commit-tree", "-m", "hostile", root]);
    site.git(&["update-ref", "refs/heads/mesh", commit.trim()]);
    site.user("reader").fetch().expect("fetched").expect("there is a branch")
}

fn blob(site: &Site, bytes: impl Read) -> String {
    git_with(&site.repo, &["hash-object", "-w", "--stdin"], bytes)
}

/// A branch where `files` (host to content) are heads.
fn branch_of_heads(site: &Site, files: &[(u8, &str)]) -> Tip {
    let mut prefixes = Vec::new();
    for (byte, id) in files {
        let head = literal_tree(site, &[("100644", b"head.json", id)]);
        let name = host(*byte).to_string();
        prefixes.push((format!("{byte:02x}"), literal_tree(site, &[("40000", name.as_bytes(), &head)])));
    }
    let prefixes: Vec<_> = prefixes.iter().map(|(name, id)| ("40000", name.as_bytes(), id.as_str())).collect();
    let hosts = literal_tree(site, &prefixes);
    set_branch(site, &literal_tree(site, &[("40000", b"hosts", &hosts)]))
}

#[test]
fn t14_a_large_file_at_an_expected_path_is_never_loaded() {
    for kind in [Kind::Daemon, Kind::Local] {
        let site = Site::new(kind);
        let good = blob(&site, b"good".as_slice());
        let unfit = blob(&site, noise(limits::HEAD_BYTES + 1).as_slice());
        let huge = blob(&site, std::io::repeat(0).take(100 << 20));
        let first = branch_of_heads(&site, &[(0xa0, &good), (0xab, &unfit)]);
        let tip = branch_of_heads(&site, &[(0xa0, &good), (0xab, &unfit), (0xac, &huge)]);
        let branch = BranchCache::new(site.cache("reader"));
        let head = |byte| branch.file(tip, &branch_path::head(host(byte)), limits::HEAD_BYTES).expect("read");
        assert_eq!(head(0xa0), Blob::Found(b"good".to_vec()));
        let found = head(0xab);
        assert!(matches!(&found, Blob::Refused(why) if why.contains("it has 16385 bytes")), "{found:?}");
        // The agent's copy does not even hold it: something small could be stored as a change to it.
        let found = head(0xac);
        assert!(matches!(&found, Blob::Refused(why) if why.contains("not in the cache")), "{found:?}");
        let size: u64 = walk_size(&site.cache("reader"));
        assert!(size < 90 << 10, "{size}");

        // The cache goes on from there.
        assert_ne!(first, tip);
        let files = one_file(branch_path::head(host(0xac)), "small again");
        let tip = site.user("reader").publish(&files, "m").expect("published");
        assert_eq!(site.user("reader").fetch().expect("fetched"), Some(tip));
        let mended = branch.file(tip, &branch_path::head(host(0xac)), limits::HEAD_BYTES).expect("read");
        assert_eq!(mended, Blob::Found(b"small again".to_vec()));
    }
}

/// Bytes of all files below a directory.
fn walk_size(path: &std::path::Path) -> u64 {
    let entries = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("readable"));
    entries
        .map(|entry| match entry.metadata().expect("there") {
            data if data.is_dir() => walk_size(&entry.path()),
            data => data.len(),
        })
        .sum()
}

#[test]
fn t15_t29_hostile_trees_are_fetched_and_not_believed() {
    hostile_trees(Kind::Daemon);
}

#[test]
fn t15_t29_hostile_trees_at_a_path_are_copied_and_not_believed() {
    hostile_trees(Kind::Local);
}

fn hostile_trees(kind: Kind) {
    let site = Site::new(kind);
    let good = blob(&site, b"good".as_slice());
    let commit = "2222222222222222222222222222222222222222";
    let file = |mode: &'static str, id: &str| literal_tree(&site, &[(mode, b"head.json", id)]);
    let twice = literal_tree(&site, &[("100644", b"head.json", &good), ("100644", b"head.json", &good)]);
    let entry_is_directory = literal_tree(&site, &[("40000", b"head.json", &twice)]);
    let mut cases = vec![
        (0xa1, file("120000", &good), Some("symbolic link")),
        (0xa2, file("160000", commit), Some("another repository")),
        (0xa3, file("100755", &good), Some("program")),
        (0xa4, twice.clone(), Some("more than once")),
        (0xa5, entry_is_directory, Some("directory")),
        (0xa6, file("100664", &good), Some("mode 100664")),
        (0xa7, file("100644", &good), None),
    ];
    if kind == Kind::Local {
        // git itself would not serve what it does not have.
        cases.push((0xa8, file("100644", commit), Some("not in the cache")));
        let large = blob(&site, noise(limits::LARGEST_FILE + 1).as_slice());
        cases.push((0xa9, file("100644", &large), Some("not in the cache")));
    }
    let mut prefixes = Vec::new();
    for (byte, files, _) in &cases {
        let name = host(*byte).to_string();
        prefixes.push((format!("{byte:02x}"), literal_tree(&site, &[("40000", name.as_bytes(), files)])));
    }
    let mut hosts: Vec<_> = prefixes.iter().map(|(name, id)| ("40000", name.as_bytes(), id.as_str())).collect();
    hosts.push(("40000", b"..", &twice));
    hosts.push(("40000", b"A1", &twice));
    hosts.push(("40000", b"\xff\xfe", &twice));
    hosts.push(("40000", b"\x1b[2J", &twice));
    hosts.push(("40000", b"b1", &twice));
    hosts.push(("40000", b"b1", &twice));
    hosts.push(("120000", b"b2", &good));
    let hosts = literal_tree(&site, &hosts);
    let root = [
        ("40000", b"..".as_slice(), twice.as_str()),
        ("40000", b".git", &twice),
        ("100644", b"../../etc/cron.d/x", &good),
        ("100644", b"\x1b]52;c;aGk=\x07", &good),
        ("100644", b"\xff", &good),
        ("40000", b"hosts", &hosts),
    ];
    let tip = set_branch(&site, &literal_tree(&site, &root));
    let branch = BranchCache::new(site.cache("reader"));
    for (byte, _, refusal) in &cases {
        let found = branch.file(tip, &branch_path::head(host(*byte)), limits::HEAD_BYTES).expect("read");
        match (refusal, &found) {
            (None, Blob::Found(bytes)) => assert_eq!(bytes, b"good"),
            (Some(refusal), Blob::Refused(why)) => assert!(why.contains(refusal), "{byte:x}: {why}"),
            _ => panic!("{byte:x}: {found:?}"),
        }
    }
    let changed = branch.changed_hosts(None, tip).expect("read");
    assert_eq!(changed.changed, cases.iter().map(|(byte, _, _)| host(*byte)).collect::<Vec<_>>());
    assert_eq!(changed.ignored, 6);

    // An honest host still publishes on top of all that, and repairs what stands in its own way.
    let files = one_file(branch_path::head(host(0xa4)), "mine");
    let tip = site.user("honest").publish(&files, "m").expect("published");
    let branch = BranchCache::new(site.cache("honest"));
    let found = branch.file(tip, &branch_path::head(host(0xa4)), limits::HEAD_BYTES).expect("read");
    assert_eq!(found, Blob::Found(b"mine".to_vec()));
    assert_eq!(branch.changed_hosts(None, tip).expect("read").changed.len(), cases.len());
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
fn t32_a_redirect_is_not_followed_and_no_credential_goes_elsewhere() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let token = dir.path().join("token");
    fs::write(&token, "s3cret\n").expect("written");
    let (thief, stolen) = http_canned("200 OK", String::new());
    let (redirecting, seen) = http_canned("302 Found", format!("Location: {thief}/x\r\n"));
    let mut config = config(&format!("{redirecting}/x"));
    config.token = Some(TokenSource::File(token.clone()));
    let mut remote = GitRemote::new(env!("CARGO_BIN_EXE_mesh"), dir.path().join("cache.git"), config);

    let open = remote.tip().unwrap_err().to_string();
    assert!(open.contains("chmod 600"), "{open}");
    set_private(&token);
    let error = remote.fetch().unwrap_err();
    assert!(matches!(&error, RemoteError::Protocol(text) if text.contains("redirects are not followed")), "{error}");
    assert!(!error.to_string().contains("s3cret"));
    let first = seen.try_recv().expect("one request");
    assert_eq!(first.path, "/x/info/refs?service=git-upload-pack");
    assert_eq!(first.authorization.as_deref(), Some("Basic bWVzaDpzM2NyZXQ="));
    assert!(seen.try_recv().is_err());
    assert!(stolen.try_recv().is_err());
}

fn set_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
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
fn t23_what_a_server_says_is_shown_without_its_control_characters() {
    let hostile_text = b"ERR \x1b[2J\x1b]52;c;aGk=\x07 \xc2\x9b31m gone\r\n";
    let address = listen(move |mut connection| {
        let _client_may_be_gone = connection.write_all(&hostile_git::packet(hostile_text));
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let error = hostile(&format!("git://{address}/x"), &dir).fetch().unwrap_err().to_string();
    assert!(error.contains("gone"), "{error}");
    assert!(error.chars().all(|c| !c.is_control()), "{error:?}");
}

#[test]
fn servers_that_are_not_there_or_not_git_are_named_as_such() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (web, _requests) = http_canned("200 OK", "Content-Type: text/html\r\n".to_owned());
    let (gone, _requests) = http_canned("404 Not Found", String::new());
    for address in [web, gone] {
        let error = hostile(&format!("{address}/x"), &dir).tip().unwrap_err();
        assert!(matches!(error, RemoteError::Protocol(_)), "{error:?}");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port, now closed");
    for address in [format!("http://{closed}/x"), format!("git://{closed}/x"), "/nowhere/mesh.git".to_owned()] {
        let error = hostile(&address, &dir).fetch().unwrap_err();
        assert!(matches!(error, RemoteError::Unreachable(_)), "{address}: {error:?}");
    }
    let error = hostile("ssh://nobody@127.0.0.1:1/x", &dir).fetch().unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable(_)), "{error:?}");
}
