//! A mesh written by somebody else, from the protocol page alone, plays against the binary.

use std::path::Path;
use std::process::Command;

use crate::support::host::temp_dir;

#[test]
fn a_mesh_of_five_python_hosts_joins_shares_forks_and_rotates_with_the_binary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/venv/bin/python");
    let folder = temp_dir();
    #[expect(clippy::disallowed_methods, reason = "a test starts the program that it compares with")]
    let output = Command::new(&python)
        .arg(root.join("tests/mesh_simulator.py"))
        .arg(env!("CARGO_BIN_EXE_mesh"))
        .arg(folder.path())
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("{} cannot be started ({error}): install it with `scripts/setup.sh`", python.display())
    });
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok: ")).count(), 9, "{said}");
}
