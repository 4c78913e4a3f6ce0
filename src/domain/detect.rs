//! What a lesson looks for and how it mends it, as typed data with static limits.
//!
//! This is the first of four layers against hostile or slow patterns: it refuses by shape alone, and
//! compiles nothing. The other three (stress run, limited worker, file limits) are in the audit worker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::Slug;
use super::lesson::Severity;

/// The engine string that this build understands, and part of every cache key.
pub const ENGINE: &str = "ast-grep/0.51";

/// Languages whose grammar is built in. A lesson for any other is refused by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LanguageName {
    /// Bash and POSIX shell.
    Bash,
    /// Go.
    Go,
    /// JavaScript, with JSX.
    JavaScript,
    /// JSON.
    Json,
    /// Python 3.
    Python,
    /// Rust.
    Rust,
    /// TOML.
    Toml,
    /// TypeScript with JSX.
    Tsx,
    /// TypeScript.
    TypeScript,
    /// YAML.
    Yaml,
}

impl LanguageName {
    /// The language of a file by its name.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        Some(match extension(path) {
            "bash" | "sh" => Self::Bash,
            "go" => Self::Go,
            "cjs" | "js" | "jsx" | "mjs" => Self::JavaScript,
            "json" => Self::Json,
            "py" | "pyi" | "pyw" => Self::Python,
            "rs" => Self::Rust,
            "toml" => Self::Toml,
            "tsx" => Self::Tsx,
            "cts" | "mts" | "ts" => Self::TypeScript,
            "yaml" | "yml" => Self::Yaml,
            _ => return None,
        })
    }
}

/// The part after the last dot of the last part of a path; empty where there is none.
#[must_use]
pub fn extension(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or("", |(_, extension)| extension)
}

/// What the mistake looks like.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detect {
    /// The engine it was written for, such as `ast-grep/0.51`; another major is refused.
    pub engine: String,
    /// Which files are looked at.
    #[serde(default)]
    pub scope: Scope,
    /// A hint: each group needs one of its texts in the file (ASCII, any case), else it is not parsed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_text: Vec<Vec<String>>,
    /// Any of these may match.
    pub rules: Vec<Rule>,
    /// A condition on the whole repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_repo: Option<WhenRepo>,
    /// Bounds the author asks for; never above ours.
    #[serde(default)]
    pub limits: DetectLimits,
}

/// Which files a lesson looks at. Globs are gitignore-style without braces, relative to the root.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Files must match one of these; empty means every file of the rule's language.
    #[serde(default)]
    pub include: Vec<String>,
    /// Files must match none of these.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Languages, for people and for `not applicable here`.
    #[serde(default)]
    pub languages: Vec<LanguageName>,
}

/// One thing to look for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
pub enum Rule {
    /// A syntax rule, matched on the parsed file.
    Ast(AstRule),
    /// A regular expression, matched line by line in linear time.
    Regex(RegexRule),
    /// A condition on the keys of a configuration file.
    Config(ConfigRule),
}

/// A syntax rule; `rule`, `constraints` and `utils` are ast-grep's.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AstRule {
    /// Its name within the lesson.
    pub id: Slug,
    /// The language it is parsed as.
    pub language: LanguageName,
    /// The rule object.
    pub rule: Value,
    /// Conditions on single metavariables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub constraints: BTreeMap<String, Value>,
    /// Named rules that `matches` refers to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub utils: BTreeMap<String, Value>,
    /// Severity of its findings; the lesson's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// How sure a match is.
    #[serde(default)]
    pub confidence: Confidence,
    /// What is said of a match; `$NAME` is replaced by what it matched.
    pub message: String,
}

/// A regular expression rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegexRule {
    /// Its name within the lesson.
    pub id: Slug,
    /// The expression, of the `regex` crate.
    pub pattern: String,
    /// The capture group that is the finding; 0 is the whole match.
    #[serde(default)]
    pub group: u8,
    /// Severity of its findings; the lesson's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// How sure a match is.
    #[serde(default)]
    pub confidence: Confidence,
    /// What is said of a match.
    pub message: String,
}

/// A configuration query: the file matches when all conditions hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigRule {
    /// Its name within the lesson.
    pub id: Slug,
    /// How the file is read.
    pub format: ConfigFormat,
    /// Conditions, all of which must hold.
    pub all: Vec<KeyCondition>,
    /// The key or section whose line is reported.
    pub report: String,
    /// Severity of its findings; the lesson's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// How sure a match is.
    #[serde(default)]
    pub confidence: Confidence,
    /// What is said of a match.
    pub message: String,
}

/// A condition on one key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCondition {
    /// The dotted path of the key, such as `Service.Restart`.
    pub path: String,
    /// True: the condition holds when the key is not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// The value, as text, is exactly this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// The value, as text, matches this expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

/// How a configuration file is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigFormat {
    /// A systemd unit: repeated keys, no quoting, `;` and `#` comments.
    Systemd,
    /// INI.
    Ini,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// How sure a match is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A guess that a person checks.
    Low,
    /// Usually right.
    #[default]
    Medium,
    /// Right as far as syntax can tell.
    High,
}

/// A condition on the whole repository, by rule name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenRepo {
    /// Findings count only when one of these rules matches somewhere in the repository.
    #[serde(default)]
    pub any_file: Vec<Slug>,
    /// Findings count only when none of these rules matches anywhere in the repository.
    #[serde(default)]
    pub no_file: Vec<Slug>,
}

/// Bounds that the author asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectLimits {
    /// Most findings in one repository.
    pub max_findings_per_repo: u32,
}

impl Default for DetectLimits {
    fn default() -> Self {
        Self { max_findings_per_repo: super::limits::FINDINGS_PER_LESSON }
    }
}

/// Whether and how a finding is mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FixClass {
    /// Seeded as a commit on its own branch at once.
    Safe,
    /// Listed with its diff; made only when a person says so.
    #[default]
    Review,
    /// No fix; a person writes it.
    None,
}

impl FixClass {
    /// The word for it in files and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Review => "review",
            Self::None => "none",
        }
    }
}

/// How the mistake is mended: typed edits of the matches, no command ever.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fix {
    /// Whether it may be seeded without asking.
    #[serde(default)]
    pub class: FixClass,
    /// One edit for each rule that it mends.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// Whole import lines that the edits rely on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ensure_import: Vec<String>,
    /// For the record; all three always run.
    #[serde(default = "all_checks")]
    pub check: Vec<FixCheck>,
    /// Most files one fix may touch.
    #[serde(default = "default_max_files")]
    pub max_files: u32,
    /// Most lines one fix may change.
    #[serde(default = "default_max_lines")]
    pub max_lines: u32,
}

fn all_checks() -> Vec<FixCheck> {
    vec![FixCheck::Parse, FixCheck::Idempotent, FixCheck::Conserve]
}

const fn default_max_files() -> u32 {
    5
}

const fn default_max_lines() -> u32 {
    60
}

/// A check of a mended file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FixCheck {
    /// No new syntax error.
    Parse,
    /// The mistake is gone and a second run changes nothing.
    Idempotent,
    /// No token or comment is lost that the pattern does not name.
    Conserve,
}

/// One edit: of a syntax or regex match by `template`, of a configuration file by `set`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The rule whose matches it mends.
    #[serde(rename = "for")]
    pub rule: Slug,
    /// What replaces the match; metavariables stand for what they matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The key to set in a configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SetKey>,
}

/// A key to set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetKey {
    /// The dotted path of the key.
    pub path: String,
    /// Its value, as text in the file's own format.
    pub value: String,
}

/// The examples of a lesson.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tests {
    /// Each must be found.
    pub positive: Vec<Positive>,
    /// None may be found.
    pub negative: Vec<Negative>,
}

/// An example of the mistake.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Positive {
    /// The path the code is at, for the scope.
    pub path: String,
    /// The file.
    pub code: String,
    /// How many findings it gives.
    #[serde(default = "one")]
    pub count: u32,
    /// The lines of the findings, from 1; unchecked when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<u32>,
    /// The file after the fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// True: the fix must refuse this file, because it would lose something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fix_refused: bool,
}

const fn one() -> u32 {
    1
}

/// An example that is right as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Negative {
    /// The path the code is at, for the scope.
    pub path: String,
    /// The file.
    pub code: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_told_by_the_last_ending_of_the_name() {
        assert_eq!(LanguageName::of_path("a/b.py"), Some(LanguageName::Python));
        assert_eq!(LanguageName::of_path("a.py/b"), None);
        assert_eq!(extension("a/.py"), "");
    }
}
