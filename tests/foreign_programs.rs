//! Other people's programs read what mesh writes, and mesh reads what they write.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh::domain::envelope::{self, Envelope, HostKey, Kind, PublicKey};
use mesh::domain::openssh;
use mesh::domain::trust::PeerLine;
use mesh::store::home::Home;
use mesh::store::keyring;

const PAYLOAD: &[u8] = b"{\n  \"mesh\": \"home\",\n  \"title\": \"na\xc3\xafve, \xe6\x97\xa5\"\n}\n";

/// A home with a key file, as mesh makes it.
struct Place {
    dir: tempfile::TempDir,
    key: HostKey,
}

impl Place {
    fn new(seed: u8) -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        let home = Home::at(dir.path());
        home.create().expect("made");
        let key = keyring::create_host_key(&home, &[seed; 32], &"web-07".parse().expect("a name")).expect("made");
        Self { dir, key }
    }

    fn key_file(&self) -> PathBuf {
        self.dir.path().join("keys/host.key")
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }
}

fn run(program: &str, install: &str, arguments: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "a test starts the programs that it compares with")]
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{program} cannot be started ({error}): install it with `{install}`"))
}

fn openssl(arguments: &[&str]) -> Output {
    run("openssl", "sudo apt-get install openssl", arguments)
}

fn ssh_keygen(arguments: &[&str]) -> Output {
    run("ssh-keygen", "sudo apt-get install openssh-client", arguments)
}

fn securesystemslib(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (python, script) = (root.join("target/venv/bin/python"), root.join("tests/foreign_programs.py"));
    let arguments: Vec<&str> = [text(&script)].into_iter().chain(arguments.iter().copied()).collect();
    run(text(&python), "scripts/setup.sh", &arguments)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temp path is UTF-8")
}

fn succeeded(output: &Output) -> String {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The signature in an envelope file, read by hand.
fn signature_of(file: &[u8]) -> Vec<u8> {
    let envelope: serde_json::Value = serde_json::from_slice(file).expect("JSON");
    STANDARD.decode(envelope["signatures"][0]["sig"].as_str().expect("text")).expect("base64")
}

fn verified_here(file: &[u8], key: &HostKey) {
    let envelope = Envelope::parse(file).expect("an envelope");
    let signed = envelope.verify(&PublicKey::of(key.host()).expect("full order")).expect("verifies");
    assert_eq!(signed.payload(), PAYLOAD);
    assert_eq!(signed.kind(), Some(Kind::Lesson));
}

/// An envelope around `signature`, written by hand.
fn envelope_file(key: &HostKey, signature: &[u8]) -> Vec<u8> {
    let file = serde_json::json!({
        "payloadType": Kind::Lesson.payload_type(),
        "payload": STANDARD.encode(PAYLOAD),
        "signatures": [{ "sig": STANDARD.encode(signature), "keyid": key.host().to_string() }],
    });
    serde_json::to_vec(&file).expect("serialises")
}

fn openssl_verify(place: &Place, message: &[u8], signature: &[u8]) -> Output {
    let public = place.write("public.pem", openssh::public_pem(place.key.host()).as_bytes());
    let message = place.write("message", message);
    let signature = place.write("signature", signature);
    openssl(&[
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        text(&public),
        "-rawin",
        "-in",
        text(&message),
        "-sigfile",
        text(&signature),
    ])
}

fn openssl_sign(place: &Place, key_file: &Path) -> Vec<u8> {
    let message = place.write("message", &envelope::pae(&Kind::Lesson.payload_type(), PAYLOAD));
    let signature = place.dir.path().join("signature");
    let signed = openssl(&[
        "pkeyutl",
        "-sign",
        "-inkey",
        text(key_file),
        "-rawin",
        "-in",
        text(&message),
        "-out",
        text(&signature),
    ]);
    succeeded(&signed);
    std::fs::read(signature).expect("signed")
}

#[test]
fn openssl_verifies_what_mesh_signs_and_refuses_another_payload() {
    let place = Place::new(1);
    let file = Envelope::seal(&place.key, Kind::Lesson, PAYLOAD.to_vec()).to_file();
    let message = envelope::pae(&Kind::Lesson.payload_type(), PAYLOAD);
    succeeded(&openssl_verify(&place, &message, &signature_of(&file)));
    let other = envelope::pae(&Kind::Retract.payload_type(), PAYLOAD);
    assert!(!openssl_verify(&place, &other, &signature_of(&file)).status.success());
}

#[test]
fn openssl_reads_the_key_file_and_mesh_verifies_what_it_signs_with_it() {
    let place = Place::new(2);
    let public = succeeded(&openssl(&["pkey", "-in", text(&place.key_file()), "-pubout"]));
    assert_eq!(public, openssh::public_pem(place.key.host()));
    verified_here(&envelope_file(&place.key, &openssl_sign(&place, &place.key_file())), &place.key);
}

#[test]
fn mesh_reads_a_key_that_openssl_made() {
    let place = Place::new(3);
    let made = place.dir.path().join("made.pem");
    succeeded(&openssl(&["genpkey", "-algorithm", "ed25519", "-out", text(&made)]));
    let key = openssh::parse_private(&std::fs::read_to_string(&made).expect("made")).expect("PKCS#8 version 1");
    let public = succeeded(&openssl(&["pkey", "-in", text(&made), "-pubout"]));
    assert_eq!(public, openssh::public_pem(key.host()));
    verified_here(&envelope_file(&key, &openssl_sign(&place, &made)), &key);
}

#[test]
fn securesystemslib_verifies_what_mesh_signs_and_refuses_another_payload() {
    let place = Place::new(4);
    let host = place.key.host().to_string();
    let file = Envelope::seal(&place.key, Kind::Lesson, PAYLOAD.to_vec()).to_file();
    let path = place.write("envelope.json", &file);
    let said = succeeded(&securesystemslib(&["verify", text(&path), &host]));
    assert_eq!(said.trim(), format!("verified {host}"));
    let other_payload = Envelope::seal(&place.key, Kind::Lesson, b"{}\n".to_vec()).to_file();
    let mut swapped: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
    let other: serde_json::Value = serde_json::from_slice(&other_payload).expect("JSON");
    swapped["payload"] = other["payload"].clone();
    let path = place.write("swapped.json", swapped.to_string().as_bytes());
    let refused = securesystemslib(&["verify", text(&path), &host]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("refused"), "{refused:?}");
}

#[test]
fn mesh_verifies_what_securesystemslib_signs_with_the_key_file() {
    let place = Place::new(5);
    let payload = place.write("payload", PAYLOAD);
    let host = place.key.host().to_string();
    let payload_type = Kind::Lesson.payload_type();
    let file = succeeded(&securesystemslib(&["sign", text(&place.key_file()), &host, &payload_type, text(&payload)]));
    verified_here(file.as_bytes(), &place.key);
    let ours = Envelope::seal(&place.key, Kind::Lesson, PAYLOAD.to_vec());
    assert_eq!(Envelope::parse(file.as_bytes()).expect("an envelope"), ours, "Ed25519 is deterministic");
}

#[test]
fn ssh_keygen_prints_the_same_fingerprint() {
    let place = Place::new(6);
    let public = place.dir.path().join("keys/host.pub");
    let said = succeeded(&ssh_keygen(&["-l", "-f", text(&public)]));
    assert_eq!(said.trim(), format!("256 {} web-07 (ED25519)", openssh::fingerprint(place.key.host())));
}

#[test]
fn a_key_that_ssh_keygen_made_can_be_enrolled() {
    let place = Place::new(7);
    let made = place.dir.path().join("made");
    succeeded(&ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "db-02", "-f", text(&made)]));
    let public = made.with_extension("pub");
    let line = PeerLine::parse(&std::fs::read_to_string(&public).expect("made")).expect("a key line");
    let said = succeeded(&ssh_keygen(&["-l", "-f", text(&public)]));
    assert_eq!(said.trim(), format!("256 {} {} (ED25519)", openssh::fingerprint(line.host), line.comment));
}
