//! The package and the installer, on a host with a real systemd. Every test here runs inside a container, as root, one
//! after the other: `scripts/harness test` makes the packages, puts them there and counts what ran.

#![expect(clippy::disallowed_methods, reason = "these tests use dpkg and systemctl as a person does")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// What `scripts/harness` puts there: two packages of the same program, and what the installer needs.
const OLD: &str = "/opt/mesh-tests/old.deb";
const NEW: &str = "/opt/mesh-tests/new.deb";
const SOURCE: &str = "/opt/mesh-tests/source";
const HOME: &str = "/var/lib/mesh";
const LIMIT: Duration = Duration::from_secs(60);

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("it starts")
}

fn ran(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}

fn property(name: &str) -> String {
    ran("systemctl", &["show", "--value", "-p", name, "mesh.service"])
}

/// The process that serves now, if one does. Both are asked at once: between two questions the service may end.
fn serving() -> Option<String> {
    let told = ran("systemctl", &["show", "-p", "ActiveState", "-p", "MainPID", "mesh.service"]);
    let value = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).expect("asked for");
    (value("ActiveState=") == "active").then(|| value("MainPID=").to_owned())
}

fn until(what: &str, done: impl Fn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < limit, "{what} within {LIMIT:?}; {}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn log() -> String {
    String::from_utf8_lossy(&run("journalctl", &["--no-pager", "-n", "40", "-u", "mesh.service"]).stdout).into_owned()
}

/// Gives mesh a home; its remote is a repository on this host.
fn make_home(mesh: &str) {
    ran("git", &["init", "-q", "--bare", "/srv/remote.git"]);
    ran(mesh, &["--home", HOME, "init", "--name", "packaged", "--mesh", "home", "--remote", "/srv/remote.git"]);
}

/// Takes out whatever a test left.
struct Clean;

impl Drop for Clean {
    fn drop(&mut self) {
        run("dpkg", &["--purge", "mesh"]);
        run("sh", &[&format!("{SOURCE}/scripts/install.sh"), "--remove"]);
        for folder in [HOME, "/srv/remote.git", "/etc/systemd/system/mesh.service.d"] {
            let _gone = fs::remove_dir_all(folder);
        }
        run("systemctl", &["daemon-reload"]);
    }
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn the_package_is_installed_upgraded_and_removed_and_the_home_stays() {
    let _clean = Clean;
    let told = ran("dpkg", &["--install", OLD]);
    assert!(told.contains("init --help"), "it says what comes next: {told}");
    assert_eq!(property("UnitFileState"), "enabled");
    assert_eq!((property("ActiveState").as_str(), property("ConditionResult").as_str()), ("inactive", "no"));
    for file in ["/usr/share/man/man1/mesh.1.gz", "/usr/share/bash-completion/completions/mesh"] {
        assert!(fs::metadata(file).expect("in the package").len() > 500, "{file}");
    }
    make_home("mesh");
    ran("systemctl", &["start", "mesh.service"]);
    assert_eq!(property("ActiveState"), "active", "started means ready: {}", log());
    let (id, first) = (ran("mesh", &["--home", HOME, "id"]), property("MainPID"));

    ran("dpkg", &["--install", NEW]);
    assert_eq!(property("ActiveState"), "active", "{}", log());
    assert_ne!(property("MainPID"), first, "the new program runs");
    assert_eq!(ran("mesh", &["--home", HOME, "id"]), id, "the home is as it was");
    ran("mesh", &["--home", HOME, "fsck"]);
    ran("systemctl", &["stop", "mesh.service"]);
    ran("dpkg", &["--install", NEW]);
    assert_eq!(property("ActiveState"), "inactive", "what a person stopped stays stopped");
    ran("systemctl", &["start", "mesh.service"]);

    ran("dpkg", &["--remove", "mesh"]);
    assert!(!Path::new("/usr/bin/mesh").exists());
    assert_eq!(property("LoadState"), "not-found", "no unit is left");
    let told = ran("dpkg", &["--purge", "mesh"]);
    assert!(told.contains(HOME), "{told}");
    assert!(Path::new(HOME).join("keys/host.key").exists(), "the key is not a package's to delete");
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn the_service_shows_life_and_is_started_again_when_it_does_not() {
    let _clean = Clean;
    ran("dpkg", &["--install", NEW]);
    make_home("mesh");
    let drop_in = "/etc/systemd/system/mesh.service.d";
    fs::create_dir_all(drop_in).expect("we are root");
    fs::write(format!("{drop_in}/test.conf"), "[Service]\nWatchdogSec=2\nRestartSec=0\n").expect("we are root");
    ran("systemctl", &["daemon-reload"]);
    ran("systemctl", &["start", "mesh.service"]);
    let first = property("MainPID");
    let entered = || property("WatchdogTimestampMonotonic").parse::<u64>().expect("a number");
    let begun = entered();
    until("three signs of life", || entered() >= begun + 3_000_000);
    assert_eq!(property("MainPID"), first, "it lives longer than its watchdog: {}", log());

    ran("kill", &["-STOP", &first]);
    until("a new agent", || serving().is_some_and(|pid| pid != first));
    assert!(log().contains("Watchdog timeout"), "{}", log());
    assert_eq!(property("NRestarts"), "1");

    let second = property("MainPID");
    ran("systemctl", &["reload", "mesh.service"]);
    until("the configuration read again", || log().contains("config read again"));
    ran("systemctl", &["stop", "mesh.service"]);
    assert_eq!(property("Result"), "success", "{}", log());
    assert_ne!(second, "0");
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn the_unit_is_in_order_and_takes_away_what_the_agent_does_not_need() {
    let _clean = Clean;
    ran("dpkg", &["--install", NEW]);
    let output = run("systemd-analyze", &["verify", "--man=no", "mesh.service"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    // Known from version 254 on, and passed over before.
    let wrong: Vec<&str> = told.lines().filter(|line| !line.contains("'DelegateSubgroup'")).collect();
    assert!(output.status.success() && wrong.is_empty(), "{told}");
    make_home("mesh");
    ran("systemctl", &["start", "mesh.service"]);
    let status = fs::read_to_string(format!("/proc/{}/status", property("MainPID"))).expect("it runs");
    let bound = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("there").trim();
    let bound = u64::from_str_radix(bound, 16).expect("hexadecimal");
    for (name, bit) in [("CAP_SYS_MODULE", 16), ("CAP_SYS_BOOT", 22), ("CAP_SYS_TIME", 25), ("CAP_MAC_ADMIN", 33)] {
        assert_eq!(bound >> bit & 1, 0, "{name}");
    }
    assert_eq!(
        fs::metadata(HOME).map(|m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o777).expect("there"),
        0o700
    );
}

#[test]
#[ignore = "needs systemd as PID 1: run by scripts/harness test"]
fn the_installer_does_the_same_without_a_package() {
    let _clean = Clean;
    let script = format!("{SOURCE}/scripts/install.sh");
    let install = || ran("sh", &[&script, "--program", env!("CARGO_BIN_EXE_mesh")]);
    assert!(install().contains("next: "));
    assert_eq!(property("UnitFileState"), "enabled");
    make_home("/usr/local/bin/mesh");
    ran("systemctl", &["start", "mesh.service"]);
    let first = property("MainPID");
    install();
    assert_eq!(property("ActiveState"), "active", "{}", log());
    assert_ne!(property("MainPID"), first, "installed again is the upgrade");
    ran("sh", &[&script, "--remove"]);
    assert_eq!(property("LoadState"), "not-found");
    assert!(!Path::new("/usr/local/bin/mesh").exists() && Path::new(HOME).join("keys/host.key").exists());
}
