//! Servers and branches that mean harm: each ends in a named error, and the agent and its cache go on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use mesh::domain::branch_path;
use mesh::domain::limits;
use mesh::ports::{Blob, Branch, Remote, RemoteError, Tip};
use mesh::sys::cache::BranchCache;
use mesh::sys::remote::{GitRemote, Limits, TokenSource};

use crate::support::git_servers::{
    Kind, Site, config, git_with, host, http_canned, listen, one_file, set_private, stranger as hostile,
};
use crate::support::hostile_git;

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
fn names_that_are_not_utf8_are_nobodys() {
    let address = listen(|mut connection| {
        let name = b"1111111111111111111111111111111111111111 refs/heads/\xff\0 ofs-delta\n";
        let mesh = b"2222222222222222222222222222222222222222 refs/heads/mesh\n";
        let list = [hostile_git::packet(name), hostile_git::packet(mesh), b"0000".to_vec()].concat();
        let _client_may_be_gone = connection.write_all(&list);
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tip = hostile(&format!("git://{address}/x"), &dir).tip().expect("listed");
    assert_eq!(tip, Some(Tip([0x22; 20])), "the other name does not stand in the way");
}
