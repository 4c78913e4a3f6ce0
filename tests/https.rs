//! The shared branch behind TLS: only a server whose certificate the host's own authorities vouch for is spoken to.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::git_servers::{Kind, Site, http_backend};
use crate::support::homes::Host;
use crate::support::tls::{Authority, front};

/// A home whose remote is a repository behind TLS.
fn behind_tls(above: &Path, site: &Site, server: (PathBuf, PathBuf)) -> Host {
    let (address, _requests) = http_backend(site.dir.path(), None);
    let plain = address.strip_prefix("http://").expect("plain").to_owned();
    Host::new(above, "a", &format!("https://{}/mesh.git", front(plain, server)))
}

/// Runs the binary on a machine that trusts this authority alone.
fn trusting(authority: &Authority, host: &Host, arguments: &[&str]) -> Output {
    let mut command = host.command(arguments);
    command.env("SSL_CERT_FILE", authority.certificate()).env("SSL_CERT_DIR", &host.home);
    command.output().expect("the binary starts")
}

#[test]
fn an_entry_goes_out_and_comes_back_over_https() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(Kind::Local);
    let authority = Authority::new(dir.path());
    let host = behind_tls(dir.path(), &site, authority.issue("IP:127.0.0.1", 2));
    host.author("over-tls");
    for arguments in [&["outbox", "publish", "over-tls"][..], &["sync", "--once"]] {
        let done = trusting(&authority, &host, arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let files = site.clone_and_check();
    assert!(files.keys().any(|path| path.ends_with("/head.json")), "{:?}", files.keys());
    assert!(files.keys().any(|path| path.contains("/log/")), "{:?}", files.keys());
}

#[test]
fn a_certificate_that_nobody_here_vouches_for_is_refused_and_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(Kind::Local);
    let authority = Authority::new(dir.path());
    let host = behind_tls(dir.path(), &site, authority.issue("IP:127.0.0.1", 2));
    let stranger = tempfile::tempdir().expect("a temporary directory");
    let stranger = Authority::new(stranger.path());
    let refused = trusting(&stranger, &host, &["sync", "--once"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && said.contains("certificate"), "{said}");
    assert_eq!(site.git(&["for-each-ref"]), "", "nothing was pushed");
}

#[test]
fn a_certificate_for_another_name_is_refused_and_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(Kind::Local);
    let authority = Authority::new(dir.path());
    let host = behind_tls(dir.path(), &site, authority.issue("DNS:git.example.org", 2));
    let refused = trusting(&authority, &host, &["sync", "--once"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && said.contains("not valid for"), "{said}");
}
