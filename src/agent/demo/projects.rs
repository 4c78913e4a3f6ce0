//! Three small projects of different people's hands, with one mistake in common: a state file that is
//! written in place. Each has a check of its own that loses the state as a real failure would.

/// A project on a host of the demo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Project {
    /// The host.
    pub(super) host: &'static str,
    /// Its folder.
    pub(super) name: &'static str,
    /// The module that holds the mistake.
    pub(super) module: &'static str,
    /// Files and their texts.
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// The command that checks a project.
pub(super) const CHECK: [&str; 2] = ["python3", "check.py"];

/// Where the mistake hurts first, and where a person mends it.
pub(super) const COLLECTOR: Project = Project {
    host: "alpha",
    name: "collector",
    module: "collector.py",
    files: &[("collector.py", COLLECTOR_TEXT), ("check.py", COLLECTOR_CHECK)],
};

/// The module after the person's fix.
pub(super) const COLLECTOR_FIXED: &str = r#"import json
import os

STATE_PATH = "collector-state.json"


def load_state():
    with open(STATE_PATH) as source:
        return json.load(source)


def save_state(state):
    with open(STATE_PATH + ".tmp", "w") as target:
        json.dump(state, target)
        target.flush()
        os.fsync(target.fileno())
    os.replace(STATE_PATH + ".tmp", STATE_PATH)
"#;

/// The other two hosts' projects.
pub(super) const OTHERS: [Project; 2] = [
    Project {
        host: "bravo",
        name: "ledger",
        module: "ledger/book.py",
        files: &[("ledger/__init__.py", ""), ("ledger/book.py", LEDGER_TEXT), ("check.py", LEDGER_CHECK)],
    },
    Project {
        host: "charlie",
        name: "relay",
        module: "relay.py",
        files: &[("relay.py", RELAY_TEXT), ("check.py", RELAY_CHECK)],
    },
];

const COLLECTOR_TEXT: &str = r#"import json

STATE_PATH = "collector-state.json"


def load_state():
    with open(STATE_PATH) as source:
        return json.load(source)


def save_state(state):
    with open(STATE_PATH, "w") as target:
        json.dump(state, target)
"#;

const COLLECTOR_CHECK: &str = r#"import collector

collector.save_state({"seen": 41})
try:
    collector.save_state({"seen": 42, "broken": object()})
except TypeError:
    pass
assert collector.load_state() == {"seen": 41}, "the state is lost"
"#;

const LEDGER_TEXT: &str = r#""""A book of amounts."""

import json


class Book:
    def __init__(self, path):
        self.path = path
        self.amounts = {}

    def read(self):
        with open(self.path) as page:
            self.amounts = json.load(page)

    def store(self):
        # Called after every amount.
        with open(self.path, "w") as page:
            json.dump(self.amounts, page)

    def add(self, name, amount):
        self.amounts[name] = amount
        self.store()
"#;

const LEDGER_CHECK: &str = r#"import json

from ledger.book import Book

book = Book("ledger-state.json")
book.add("rent", 700)
try:
    book.add("food", object())
except TypeError:
    pass
again = Book("ledger-state.json")
try:
    again.read()
except json.JSONDecodeError:
    raise SystemExit("the book is lost")
assert again.amounts == {"rent": 700}, again.amounts
"#;

const RELAY_TEXT: &str = r#"import json
import sys


def remember(cursor, where):
    with open(where, "w") as out:
        json.dump(cursor, out)


def main():
    remember({"line": sum(1 for _ in sys.stdin)}, "cursor.json")


if __name__ == "__main__":
    main()
"#;

const RELAY_CHECK: &str = r#"import json

import relay

relay.remember({"line": 7}, "cursor.json")
try:
    relay.remember({"line": 8, "bad": object()}, "cursor.json")
except TypeError:
    pass
with open("cursor.json") as cursor:
    text = cursor.read()
assert text == json.dumps({"line": 7}), "the cursor is lost: " + repr(text)
"#;
