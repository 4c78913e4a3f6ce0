//! People are told: by every way, once, after an outage too, and no secret leaves its place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mesh::domain::notice::{FIELDS, Notice, Policy, Severity, Standing};
use mesh::loops::notify::{Channel, step};
use mesh::ports::{Address, Clock, Courier, Hook, Secret, Secrets, Undelivered, Way};
use mesh::store::db::Db;
use mesh::sys::couriers::courier;
use serde_json::Value;

use crate::support::git_servers::{HttpRequest, set_private};
use crate::support::homes::Host;
use crate::support::recorder::{mail_server, recorder};

/// A home with these channels.
fn host(above: &Path, channels: &str) -> Host {
    let host = Host::new(above, "web-1", &above.join("remote.git").display().to_string());
    fs::create_dir_all(host.home.join("config/conf.d")).expect("made");
    fs::write(host.home.join("config/conf.d/notify.toml"), channels).expect("written");
    host
}

fn secret(host: &Host, name: &str, text: &str) {
    let path = host.home.join("keys").join(name);
    fs::write(&path, text).expect("written");
    set_private(&path);
}

fn text(request: &HttpRequest) -> &str {
    std::str::from_utf8(&request.body).expect("UTF-8")
}

fn query<'r>(recorded: &'r HttpRequest, name: &str) -> Option<&'r str> {
    let (_, query) = recorded.target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The signature as the robot's documentation computes it, by another program.
#[expect(clippy::disallowed_methods, reason = "another program is the judge")]
fn documented_sign(timestamp: &str, secret: &str) -> String {
    let program = "import sys,hmac,hashlib,base64,urllib.parse as u\n\
        t,s=sys.argv[1:3]\n\
        d=hmac.new(s.encode(),(t+'\\n'+s).encode(),digestmod=hashlib.sha256).digest()\n\
        print(u.quote_plus(base64.b64encode(d)))";
    let output = std::process::Command::new("python3").args(["-c", program, timestamp, secret]).output();
    let output = output.unwrap_or_else(|error| panic!("python3: {error}; run apt-get install python3"));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn i1_a_dingtalk_robot_gets_signed_requests() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (url, requests) = recorder(|n| match n {
        0 => ("200 OK", r#"{"errcode":0,"errmsg":"ok"}"#.to_owned()),
        _ => ("200 OK", r#"{"errcode":310000,"errmsg":"sign not match"}"#.to_owned()),
    });
    let host = host(
        dir.path(),
        "[[notify]]\nname = \"ops\"\ndingtalk = { url = { file = \"keys/robot\" }, secret = { file = \"keys/sign\" } }\n",
    );
    secret(&host, "robot", &format!("{url}/robot/send?access_token=t0ken"));
    secret(&host, "sign", "SECthis is secret");
    assert_eq!(host.ok(&["notify", "test"]), "ops (dingtalk): delivered\n");
    let request = requests.recv().expect("it came");
    assert_eq!(query(&request, "access_token"), Some("t0ken"));
    let timestamp = query(&request, "timestamp").expect("signed");
    assert_eq!(query(&request, "sign"), Some(documented_sign(timestamp, "SECthis is secret").as_str()));
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!((&body["msgtype"], &body["markdown"]["title"]), (&"markdown".into(), &"[web-1] test of mesh".into()));
    let refused = host.run(&["notify", "test"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("refused it with 310000: sign not match"), "{said}");
}

#[test]
fn i2_slack_webhook_ntfy_command_and_file_carry_the_same_letter() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (url, requests) = recorder(|_| ("200 OK", "ok".to_owned()));
    let fields = FIELDS.map(|field| format!("\"{field}\":\"{{{field}}}\"")).join(",");
    let template = format!("{{\"all\":{{{fields}}}}}");
    let channels = format!(
        r#"
[[notify]]
name = "chat"
slack = {{ url = "{url}/slack" }}
[[notify]]
name = "hook"
webhook = {{ url = "{url}/hook", token = {{ env = "HOOK_TOKEN" }}, template = '{template}' }}
[[notify]]
name = "phone"
ntfy = {{ url = "{url}/topic" }}
[[notify]]
name = "program"
command = ["/bin/sh", "-c", "printf %s \"$0\" > letter.json"]
[[notify]]
name = "lines"
file = "outbox/notices.jsonl"
"#
    );
    let host = host(dir.path(), &channels);
    let output = host.command(&["notify", "test"]).env("HOOK_TOKEN", "h00k").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.matches(": delivered\n").count(), 5, "{said}");
    let mut seen: Vec<HttpRequest> = (0..3).map(|_| requests.recv().expect("it came")).collect();
    seen.sort_by(|a, b| a.target.cmp(&b.target));
    let [hook, slack, topic] = seen.as_slice() else { panic!("{seen:?}") };
    let filled: Value = serde_json::from_slice(&hook.body).expect("JSON");
    let field = |name: &str| filled["all"][name].as_str().unwrap_or_else(|| panic!("{name}: {filled}")).to_owned();
    assert_eq!(["host", "title", "severity", "thread"].map(field), ["web-1", "[web-1] test of mesh", "info", "test"]);
    assert!(FIELDS.iter().all(|name| !field(name).is_empty() && !field(name).contains('{')), "{filled}");
    assert!(field("at").parse::<jiff::Timestamp>().is_ok(), "{filled}");
    let page = super::documents::read("docs/operations.md").replace('\n', " ");
    assert!(page.contains(&format!("(fields: {}, each escaped", FIELDS.join(", "))), "the page names every field");
    assert_eq!(hook.header("authorization"), Some("Bearer h00k"));
    assert!(text(slack).contains("*[web-1] test of mesh*"), "{}", text(slack));
    assert_eq!((topic.header("priority"), text(topic).lines().next()), (Some("2"), Some("[web-1] test of mesh")));
    let letter: Value =
        serde_json::from_slice(&fs::read(host.home.join("letter.json")).expect("written")).expect("JSON");
    assert_eq!(letter["notices"][0]["thread"], "test");
    let lines = fs::read_to_string(host.home.join("outbox/notices.jsonl")).expect("written");
    assert_eq!(lines.lines().count(), 1, "{lines}");
}

#[test]
fn i2_mail_goes_to_a_mail_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (port, said) = mail_server();
    let channels = format!(
        "[[notify]]\nname = \"mail\"\nemail = {{ server = \"127.0.0.1\", port = {port}, tls = \"never\", from = \"mesh <mesh@example.org>\", to = [\"me@example.org\"] }}\n"
    );
    assert_eq!(host(dir.path(), &channels).ok(&["notify", "test"]), "mail (email): delivered\n");
    let said = said.recv().expect("it came");
    for part in [
        "MAIL FROM:<mesh@example.org>",
        "RCPT TO:<me@example.org>",
        "Subject: [web-1] test of mesh",
        "the channel works",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn secrets_stay_where_they_are_and_open_ones_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (url, _requests) = recorder(|_| ("403 Forbidden", "no".to_owned()));
    let host = host(
        dir.path(),
        "[[notify]]\nname = \"ops\"\ndingtalk = { url = { file = \"keys/robot\" }, secret = { file = \"keys/sign\" } }\n",
    );
    secret(&host, "robot", &format!("{url}/send?access_token=t0ps3cret"));
    secret(&host, "sign", "SECs1gn");
    let mut everything = String::new();
    for arguments in [&["notify", "test"][..], &["--json", "notify", "test"], &["config", "show"], &["status"]] {
        let output = host.run(arguments);
        everything += &String::from_utf8_lossy(&output.stdout);
        everything += &String::from_utf8_lossy(&output.stderr);
    }
    assert!(everything.contains("403"), "{everything}");
    assert!(!everything.contains("t0ps3cret") && !everything.contains("s1gn"), "{everything}");
    fs::set_permissions(host.home.join("keys/sign"), fs::Permissions::from_mode(0o644)).expect("changed");
    let said = String::from_utf8_lossy(&host.run(&["notify", "test"]).stdout).into_owned();
    assert!(said.contains("chmod"), "the command that mends it is named: {said}");
}

#[test]
fn a_channel_that_cannot_work_is_a_mistake_of_the_configuration() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (channel, why) in [
        ("", "exactly one of"),
        ("file = \"a\"\ncommand = [\"b\"]", "exactly one of"),
        ("command = []", "names no program"),
        ("file = \"a\"\nquiet = \"nights\"", "22:00-07:00"),
        ("file = \"a\"\nper_hour = 0", "per_hour"),
    ] {
        let above = dir.path().join(format!("{}", channel.len()));
        fs::create_dir_all(&above).expect("made");
        let host = host(&above, &format!("[[notify]]\nname = \"x\"\n{channel}\n"));
        let output = host.run(&["config", "check"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{channel}: {said}");
        assert!(said.contains(why), "{channel}: {said}");
    }
    let none = host(&dir.path().join("none"), "");
    assert!(none.ok(&["notify", "test"]).starts_with("No channel is configured"));
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, _secret: &Secret) -> Result<String, Undelivered> {
        Err(Undelivered("there is none".to_owned()))
    }
}

/// A clock that is moved by hand.
struct Hands(Mutex<Timestamp>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("nobody panicked")
    }
}

impl Hands {
    fn wait(&self, seconds: i64) {
        let mut now = self.0.lock().expect("nobody panicked");
        *now = now.checked_add(SignedDuration::from_secs(seconds)).expect("a time");
    }
}

fn channel(courier: Box<dyn Courier>) -> Channel {
    let (at_least, group) = (Severity::Info, Duration::from_secs(10));
    let policy = Policy { at_least, areas: vec![], quiet: None, per_hour: 20, group, remind: None };
    Channel { name: "ops".into(), host: "web-1".into(), policy, courier }
}

#[test]
fn i6_what_could_not_be_sent_waits_on_disk_and_goes_out_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (url, requests) = recorder(|n| if n < 2 { ("503 Busy", "later".into()) } else { ("200 OK", "ok".into()) });
    let way = Way::Slack(Hook { url: Address::Plain(url) });
    let open = || Db::open(&dir.path().join("mesh.db")).expect("opened");
    let clock = Hands(Mutex::new("2026-03-01T12:00:00Z".parse().expect("a time")));
    let mut db = open();
    for (thread, title) in [("a", "first"), ("b", "second")] {
        let (standing, severity, area) = (Standing::Open, Severity::Warning, "web".to_owned());
        let notice = Notice {
            at: clock.now(),
            thread: thread.into(),
            standing,
            severity,
            area,
            title: title.into(),
            text: String::new(),
        };
        db.save_channel("ops", &db.channel("ops").expect("read")).expect("begun");
        db.tell(&notice).expect("told");
    }
    drop(db);
    for _ in 0..6 {
        // As after a restart: nothing is remembered but what is on disk.
        let mut db = open();
        let mut one = channel(courier(&way, dir.path(), Arc::new(NoSecrets)).expect("a courier"));
        step(&mut one, &clock, &mut db, &mut || 1.0).expect("stepped");
        clock.wait(60);
    }
    let bodies: Vec<String> = requests.try_iter().map(|request| text(&request).to_owned()).collect();
    assert_eq!(bodies.len(), 3, "{bodies:?}");
    assert!(bodies.iter().all(|body| body.contains("2 notices") && body.contains("first") && body.contains("second")));
}
