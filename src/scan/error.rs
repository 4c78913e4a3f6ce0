//! Why a lesson, a file, a fix or a proof is refused.

use crate::domain::admission::DetectError;
use crate::domain::detect::LanguageName;
use crate::domain::id::Slug;
use crate::domain::limits;

/// Why a lesson does not compile.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Refused by shape, before anything is compiled.
    #[error("refused by the static limits")]
    Static(#[from] DetectError),
    /// A syntax rule that the matcher does not accept.
    #[error("syntax rule `{rule}` does not compile: {cause}")]
    Syntax {
        /// The rule.
        rule: Slug,
        /// What the matcher says, in one line safe to show.
        cause: String,
    },
    /// A syntax rule that could match any node, so that no index can serve it.
    #[error("syntax rule `{rule}` names no kind of node: add `kind` or `pattern`")]
    NoKind {
        /// The rule.
        rule: Slug,
    },
    /// A regular expression that is wrong or too large.
    #[error("regular expression of rule `{rule}` does not compile: {cause}")]
    Regex {
        /// The rule.
        rule: Slug,
        /// What the compiler says, in one line safe to show.
        cause: String,
    },
    /// A capture group that the expression does not have.
    #[error("rule `{rule}` reports group {group}, which its expression does not have")]
    NoGroup {
        /// The rule.
        rule: Slug,
        /// The group.
        group: u8,
    },
    /// A template names a variable that the rule does not bind; it would vanish from the output.
    #[error("the template for rule `{rule}` uses `{name}`, which the rule does not bind")]
    UnboundVariable {
        /// The rule.
        rule: Slug,
        /// The variable.
        name: String,
    },
    /// A glob that is not one.
    #[error("glob `{glob}` in `detect.scope` does not compile")]
    Glob {
        /// The glob, safe to show.
        glob: String,
        /// What is wrong.
        #[source]
        cause: ignore::Error,
    },
}

/// Why a file is not scanned to its end. What was found until then is not reported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileRefusal {
    /// The parser took too long.
    #[error("parsing took longer than {} ms", limits::AUDIT_PARSE.as_millis())]
    ParseTimeout,
    /// The syntax tree is too deep to match without risk to the stack.
    #[error("syntax tree is deeper than {}", limits::AUDIT_TREE_DEPTH)]
    TooDeep,
    /// The syntax tree has too many nodes.
    #[error("syntax tree has more than {} nodes", limits::AUDIT_TREE_NODES)]
    TooManyNodes,
    /// The deadline passed; `lesson` was being matched.
    #[error("time is up{}", lesson.as_ref().map(|l| format!(" while matching lesson `{l}`")).unwrap_or_default())]
    Overrun {
        /// The lesson that was being matched, where there was one.
        lesson: Option<Slug>,
    },
    /// A NUL byte: not a text.
    #[error("file is not text")]
    NotText,
}

/// Why a fix is not made.
#[derive(Debug, thiserror::Error)]
pub enum MendRefusal {
    /// The lesson does not compile.
    #[error("the lesson does not compile")]
    Compile(#[from] CompileError),
    /// The file, or the mended file, cannot be scanned.
    #[error("the file cannot be scanned")]
    File(#[from] FileRefusal),
    /// A key cannot be set in this file.
    #[error("cannot set `{path}`: {why}")]
    CannotSet {
        /// The key.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// An import cannot be added in this language.
    #[error("cannot add an import to a {language:?} file")]
    CannotImport {
        /// The language.
        language: Option<LanguageName>,
    },
    /// The mended file grew too much.
    #[error("the fix adds {got} bytes, at most {max}")]
    TooLarge {
        /// Bytes added.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The fix changes too many lines.
    #[error("the fix changes {got} lines, the lesson allows {max}")]
    TooManyLines {
        /// Lines removed and added.
        got: usize,
        /// Lines allowed.
        max: usize,
    },
    /// Guard `parse`.
    #[error("the mended file has {after} syntax errors, before it had {before}")]
    Parse {
        /// Errors before.
        before: usize,
        /// Errors after.
        after: usize,
    },
    /// Guard `conserve`.
    #[error("the fix loses what the rule does not name: {}", lost.join(", "))]
    Conserve {
        /// The first few lost tokens and comments, safe to show.
        lost: Vec<String>,
    },
    /// Guard `idempotent`.
    #[error("rule `{rule}` still matches the mended place at line {line}")]
    Idempotent {
        /// The rule.
        rule: Slug,
        /// The line in the mended file, from 1.
        line: u32,
    },
    /// The fix silences a checker instead of mending.
    #[error("the fix adds the suppression comment `{marker}`")]
    Suppresses {
        /// The marker.
        marker: &'static str,
    },
}

/// Why a lesson does not prove itself.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// It does not compile.
    #[error("the lesson does not compile")]
    Compile(#[from] CompileError),
    /// An example is not looked at: outside the scope or of another language.
    #[error("no rule looks at `{path}` of {example}: check `detect.scope`")]
    OutOfScope {
        /// Which example, such as `tests.positive[0]`.
        example: String,
        /// Its path, safe to show.
        path: String,
    },
    /// An example cannot be scanned.
    #[error("{example} cannot be scanned")]
    File {
        /// Which example.
        example: String,
        /// Why not.
        #[source]
        cause: FileRefusal,
    },
    /// Another number of findings than the example says.
    #[error("{example} has {got} findings, expected {expected}")]
    Count {
        /// Which example.
        example: String,
        /// Findings expected.
        expected: u32,
        /// Findings found.
        got: usize,
    },
    /// Findings at other lines than the example says.
    #[error("{example} has findings at lines {got:?}, expected {expected:?}")]
    Lines {
        /// Which example.
        example: String,
        /// Lines expected.
        expected: Vec<u32>,
        /// Lines found.
        got: Vec<u32>,
    },
    /// The literal filter or `requires_text` loses a finding.
    #[error("{example} has {without} findings, but {with} behind the literal filter: check `requires_text`")]
    Filter {
        /// Which example.
        example: String,
        /// Findings with the filter.
        with: usize,
        /// Findings without it.
        without: usize,
    },
    /// The fix is refused where the example has a mended file.
    #[error("the fix of {example} is refused")]
    Mend {
        /// Which example.
        example: String,
        /// Why.
        #[source]
        cause: MendRefusal,
    },
    /// The fix gives another file than the example says.
    #[error("the fix of {example} gives another file than `fixed`, first at line {line}")]
    Fixed {
        /// Which example.
        example: String,
        /// The first line that differs, from 1; 0 when the fix changes nothing.
        line: usize,
    },
    /// The fix is made where the example says that it must be refused.
    #[error("the fix of {example} is made, but `fix_refused` says that it must not be")]
    NotRefused {
        /// Which example.
        example: String,
    },
    /// Too slow on a stress file.
    #[error("too slow on the stress file `{file}`: more than {} ms", limits::STRESS_FILE.as_millis())]
    Stress {
        /// Which stress file.
        file: &'static str,
    },
}
