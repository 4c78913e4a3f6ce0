//! Every bound on foreign input, in one place. Source: `docs/threat-model.md`, "Limits".

use std::time::Duration;

/// Largest envelope file that is read, in bytes.
pub const ENVELOPE_BYTES: usize = 96 * 1024;
/// Largest signed payload, in bytes.
pub const PAYLOAD_BYTES: usize = 64 * 1024;
/// Largest `head.json` or `join.json`, in bytes.
pub const HEAD_BYTES: usize = 16 * 1024;
/// Largest roster file, in bytes.
pub const ROSTER_BYTES: usize = 1024 * 1024;
/// Most admins that a roster may name.
pub const ROSTER_ADMINS: usize = 16;
/// Most hosts that a roster may name, and most keys that it may revoke.
pub const ROSTER_HOSTS: usize = 2_048;
/// Most roster versions that are walked in one cycle.
pub const ROSTER_STEPS: u64 = 64;
/// Most requests to be enrolled that are read at a time.
pub const REQUESTS: usize = 256;
/// Deepest nesting of a JSON document.
pub const JSON_DEPTH: usize = 16;
/// Longest string in a JSON document, in bytes.
pub const JSON_STRING_BYTES: usize = 8 * 1024;
/// Longest string in an envelope: the payload in base64 is one string.
pub const ENVELOPE_STRING_BYTES: usize = ENVELOPE_BYTES;
/// Longest array in a JSON document, in elements.
pub const JSON_ARRAY_LEN: usize = 64;
/// Largest integer in a signed document, 2^53-1, so that every JSON reader sees the same number.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Most entries taken from one peer in one cycle.
pub const ENTRIES_PER_PEER_PER_CYCLE: u64 = 256;
/// Most entries kept of one peer.
pub const ENTRIES_PER_PEER: u64 = 20_000;
/// Most lessons of one peer that are copied into the inbox folder in one cycle, the newest of them: making a
/// file costs as much as verifying and storing several entries, and a flood would fill the disk with names.
pub const INBOX_COPIES_PER_CYCLE: usize = 8;
/// Most fork proofs of one peer that wait for the entries they name.
pub const FORK_CLAIMS: u32 = 64;
/// Most entries that are published because one peer saw others in their place.
pub const EVIDENCE_PER_PEER: u32 = 8;
/// Most refused documents that are kept for people.
pub const REFUSALS_KEPT: u32 = 256;
/// Most bytes one fetch may receive.
pub const FETCH_BYTES: u64 = 16 * 1024 * 1024;
/// Most objects one fetch may receive.
pub const FETCH_OBJECTS: u64 = 100_000;
/// Address space of the process that speaks to a git server, in bytes.
pub const FETCH_ADDRESS_SPACE: u64 = 512 * 1024 * 1024;
/// CPU time of the process that speaks to a git server.
pub const FETCH_CPU: Duration = Duration::from_secs(60);
/// Wall time of the process that speaks to a git server.
pub const FETCH_WALL: Duration = Duration::from_secs(120);

/// Largest commit object of the shared branch that is parsed, in bytes.
pub const COMMIT_BYTES: usize = 64 * 1024;
/// Largest directory of the shared branch that is parsed, in bytes: about 60,000 hosts below one prefix.
pub const TREE_BYTES: usize = 4 * 1024 * 1024;
/// Largest file of the shared branch that anybody reads, in bytes.
pub const LARGEST_FILE: usize = ROSTER_BYTES;
/// Most log directories of one host that are opened in search of an entry beyond a hole.
pub const LOG_CHUNKS_SEARCHED: usize = 64;
/// Received packs after which they are put into one: libgit2 never joins them.
pub const CACHE_PACKS: usize = 256;
/// Objects in files of their own after which they are put into one pack.
pub const CACHE_LOOSE: usize = 10_000;
/// Most objects that are put into one pack: more would take too long for the process that does it.
pub const JOINED_OBJECTS: usize = 500_000;
/// Time to reach a git server.
pub const CONNECT: Duration = Duration::from_secs(15);
/// Time a git server may be silent in the middle of a conversation.
pub const SERVER_SILENCE: Duration = Duration::from_secs(60);
/// Most tries to push against other pushers.
pub const PUSH_TRIES: u32 = 12;
/// Refusals of the same push, with nobody else's push in between, that are believed.
pub const PUSH_REFUSALS: u32 = 3;
/// Longest text of a server that is kept, in characters.
pub const SERVER_TEXT_CHARS: usize = 400;

/// Largest lesson `detect` part, in bytes of JSON.
pub const DETECT_BYTES: usize = 16 * 1024;
/// Most rules in one lesson.
pub const DETECT_RULES: usize = 8;
/// Most include or exclude globs in a lesson's scope.
pub const SCOPE_GLOBS: usize = 16;
/// Longest glob, in bytes.
pub const GLOB_BYTES: usize = 128;
/// Deepest nesting of a syntax rule.
pub const RULE_DEPTH: usize = 12;
/// Most rule nodes in one lesson.
pub const RULE_NODES: usize = 96;
/// Most regular expressions in one lesson.
pub const RULE_REGEXES: usize = 16;
/// Longest regular expression inside a syntax rule, in bytes.
pub const REGEX_BYTES: usize = 256;
/// Largest compiled regular expression, in bytes.
pub const REGEX_COMPILED_BYTES: usize = 1024 * 1024;
/// Deepest nesting of a regular expression.
pub const REGEX_NEST: u32 = 32;
/// Longest syntax pattern, in bytes.
pub const PATTERN_BYTES: usize = 1024;
/// Deepest bracket nesting of a syntax pattern.
pub const PATTERN_BRACKETS: usize = 32;
/// Most utility rules in one lesson.
pub const RULE_UTILS: usize = 8;
/// Most nested relations that reach past a neighbour.
pub const RULE_UNBOUNDED_RELATIONS: usize = 3;
/// Longest fix template, in bytes.
pub const FIX_TEMPLATE_BYTES: usize = 4 * 1024;
/// Largest text one fix may produce, in bytes.
pub const FIX_OUTPUT_BYTES: usize = 64 * 1024;
/// Most examples in one lesson.
pub const TESTS: usize = 32;
/// Longest example, in bytes.
pub const TEST_BYTES: usize = 4 * 1024;
/// Longest CEL expression, in bytes.
pub const EXPR_BYTES: usize = 512;
/// Most findings one lesson may report in one repository, whatever it asks for.
pub const FINDINGS_PER_LESSON: u32 = 200;

/// Largest file that is audited, in bytes.
pub const AUDIT_FILE_BYTES: u64 = 1024 * 1024;
/// Time to parse one file.
pub const AUDIT_PARSE: Duration = Duration::from_millis(250);
/// Deepest syntax tree that is matched.
pub const AUDIT_TREE_DEPTH: usize = 1_000;
/// Largest syntax tree that is matched, in nodes.
pub const AUDIT_TREE_NODES: usize = 500_000;
/// Time a lesson may need for one stress file at admission.
pub const STRESS_FILE: Duration = Duration::from_millis(250);
/// Address space of the audit worker, in bytes.
pub const WORKER_ADDRESS_SPACE: u64 = 512 * 1024 * 1024;
/// Time without a sign of progress after which the audit worker is killed.
pub const WORKER_SILENCE: Duration = Duration::from_secs(1);
/// Kills of the audit worker after which a lesson is disabled here.
pub const WORKER_KILLS: u32 = 3;
