//! The worked example of docs/protocol.md, made again from its seed and compared byte for byte.

use std::fmt::Write as _;
use std::process::Command;

use jiff::Timestamp;
use mesh::domain::branch_path;
use mesh::domain::chain::{self, ChainHeader, Position};
use mesh::domain::entry::{self, Retraction};
use mesh::domain::envelope::{self, Envelope, HostKey, Kind, PublicKey, Signed};
use mesh::domain::head::Head;
use mesh::domain::id::MeshName;
use mesh::domain::openssh;

use crate::documents::{demand, example, example_lesson, read, root, with_part};

const PAGE: &str = "docs/protocol.md";

fn seed() -> [u8; 32] {
    std::array::from_fn(|at| u8::try_from(at).expect("below 32"))
}

fn mesh_name() -> MeshName {
    "home".parse().expect("a name")
}

fn header(position: &Position, key: &HostKey, minute: i64) -> ChainHeader {
    let start: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
    position.next_header(&mesh_name(), key.host(), start + jiff::SignedDuration::from_mins(minute))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string");
        text
    })
}

fn wrapped(text: &str) -> String {
    let lines: Vec<&str> = text.as_bytes().chunks(96).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    lines.join("\n")
}

fn fenced(language: &str, text: &str) -> String {
    format!("```{language}\n{}\n```", text.trim_end())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// A chain of a lesson and its retraction, and the head that names it.
struct Example {
    key: HostKey,
    lesson: Envelope,
    retraction: Envelope,
    retraction_payload: Vec<u8>,
    head: Envelope,
    head_payload: Vec<u8>,
}

impl Example {
    fn make() -> Self {
        let key = HostKey::from_seed(&seed());
        let start = Position::default();
        let lesson = example_lesson();
        let lesson_payload = entry::payload(&header(&start, &key, 0), &lesson).expect("small");
        let lesson_envelope = Envelope::seal(&key, Kind::Lesson, lesson_payload);
        let one = start.after(lesson_envelope.entry_id());
        let body = Retraction {
            entry: lesson_envelope.entry_id(),
            lesson: lesson.id,
            reason: "The program sets a default timeout now.".to_owned(),
        };
        let retraction_payload = entry::payload(&header(&one, &key, 30), &body).expect("small");
        let retraction = Envelope::seal(&key, Kind::Retract, retraction_payload.clone());
        let two = one.after(retraction.entry_id());
        let issued_at = header(&two, &key, 31).issued_at;
        let head =
            Head { agent: "mesh/0.1.0".to_owned(), ..Head::next(&mesh_name(), key.host(), 3, &two, vec![], issued_at) };
        let mut head_payload = serde_json::to_vec_pretty(&head).expect("serialises");
        head_payload.push(b'\n');
        let head = Envelope::seal(&key, Kind::Head, head_payload.clone());
        Self { key, lesson: lesson_envelope, retraction, retraction_payload, head, head_payload }
    }

    fn files(&self) -> [(&'static str, String); 4] {
        let file = |envelope: &Envelope| text(&envelope.to_file()).to_owned();
        [
            ("docs/example/entry-1.json", file(&self.lesson)),
            ("docs/example/entry-2.json", file(&self.retraction)),
            ("docs/example/head.json", file(&self.head)),
            ("docs/example/host.pub", openssh::public_line(self.key.host(), "web-07") + "\n"),
        ]
    }

    fn parts(&self) -> [(&'static str, String); 8] {
        let host = self.key.host();
        let pae = envelope::pae(&Kind::Retract.payload_type(), &self.retraction_payload);
        let names = format!(
            "seed         {}\nhost id      {host}\nfingerprint  {}\nhost.pub     {}\nentry 1      {}\nentry 2      {}\nhead         {}",
            hex(&seed()),
            openssh::fingerprint(host),
            openssh::public_line(host, "web-07"),
            branch_path::entry(host, 1),
            branch_path::entry(host, 2),
            branch_path::head(host),
        );
        let lesson = format!(
            "payload      {} bytes\nentry id     {}",
            self.lesson.unverified_payload().len(),
            self.lesson.entry_id()
        );
        [
            ("names", fenced("text", &names)),
            ("entry-1", fenced("text", &lesson)),
            ("entry-2-payload", fenced("json", text(&self.retraction_payload))),
            ("entry-2-pae", fenced("text", &wrapped(&hex(&pae)))),
            ("entry-2-id", fenced("text", &self.retraction.entry_id().to_string())),
            ("entry-2-envelope", fenced("json", text(&self.retraction.to_file()))),
            ("head-payload", fenced("json", text(&self.head_payload))),
            ("head-id", fenced("text", &self.head.entry_id().to_string())),
        ]
    }
}

#[test]
fn the_protocol_page_and_its_files_are_what_the_code_makes() {
    let made = Example::make();
    for (path, wanted) in made.files() {
        demand(path, &wanted);
    }
    let page = made.parts().into_iter().fold(read(PAGE), |page, (name, part)| with_part(&page, name, &part));
    demand(PAGE, &page);
}

#[test]
fn the_example_files_verify_and_link() {
    let key = PublicKey::of(HostKey::from_seed(&seed()).host()).expect("full order");
    let signed = |name: &str| -> Signed {
        let file = std::fs::read(root().join("docs/example").join(name)).expect("in the repository");
        Envelope::parse(&file).expect("an envelope").verify(&key).expect("verifies")
    };
    let mut position = Position::default();
    for (place, name) in [(1, "entry-1.json"), (2, "entry-2.json")] {
        let entry = signed(name);
        chain::link(&mesh_name(), &position, place, &entry).expect("the next link");
        position = position.after(entry.entry());
    }
    let lesson = entry::read_lesson(&signed("entry-1.json")).expect("a lesson");
    let retraction = entry::read_retraction(&signed("entry-2.json")).expect("a retraction");
    assert_eq!(retraction.body().entry, lesson.entry());
    let head = Head::read(&mesh_name(), &signed("head.json")).expect("a head");
    assert_eq!((head.seq, head.tip), (position.seq, position.tip));
}

#[test]
fn the_reader_that_the_page_shows_prints_the_entry_id() {
    let python = root().join("target/venv/bin/python");
    #[expect(clippy::disallowed_methods, reason = "a test runs the example of a document")]
    let output = Command::new(&python)
        .args(["-c", &example(PAGE, "reader")])
        .current_dir(root().join("docs/example"))
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be started ({error}): run scripts/setup.sh", python.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim(), Example::make().retraction.entry_id().to_string(), "{errors}");
}
