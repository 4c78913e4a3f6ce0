//! The static limits of a lesson's detection, fix and examples: the first layer against hostile patterns.
//!
//! By shape alone, compiling nothing. What passes may still be slow; what would end the process that
//! compiles or matches it may not pass.

mod import;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use super::detect::{ConfigRule, Detect, ENGINE, Fix, FixClass, LanguageName, RegexRule, Rule, Tests};
use super::foreign_text;
use super::id::Slug;
use super::limits;

/// Most groups of `requires_text`, and most texts in a group.
const HINTS: usize = 8;
/// Longest text of `requires_text`, key path, example path, import line and value of a key, in bytes.
const SHORT_BYTES: usize = 128;
/// Longest message, in bytes.
const MESSAGE_BYTES: usize = 512;
/// Most conditions of a configuration rule.
const CONDITIONS: usize = 16;
/// Most import lines.
const IMPORTS: usize = 8;
/// Most files that a lesson may ask to touch with one fix.
const FIX_FILES: usize = 50;
/// Most lines that a lesson may ask to change with one fix.
const FIX_LINES: usize = 600;

/// What is limited in number or size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of `detect` as JSON.
    DetectBytes,
    /// Rules.
    Rules,
    /// Globs of one list.
    Globs,
    /// Bytes of a glob.
    GlobBytes,
    /// Groups, or texts of a group, of `requires_text`.
    RequiredTexts,
    /// Bytes of a short text: a path, a key, a line.
    TextBytes,
    /// Bytes of a message.
    MessageBytes,
    /// Nesting of a syntax rule.
    RuleDepth,
    /// Rule objects in all syntax rules.
    RuleNodes,
    /// Regular expressions in all rules.
    Regexes,
    /// Bytes of a regular expression.
    RegexBytes,
    /// Bytes of a pattern.
    PatternBytes,
    /// Open brackets in a pattern.
    PatternBrackets,
    /// Utility rules of all rules.
    Utils,
    /// Relations that reach past a neighbour, one inside the other.
    UnboundedRelations,
    /// Conditions of a configuration rule.
    Conditions,
    /// `max_findings_per_repo`.
    Findings,
    /// Bytes of a template.
    TemplateBytes,
    /// Import lines.
    Imports,
    /// `max_files`.
    FixFiles,
    /// `max_lines`.
    FixLines,
    /// Examples.
    Tests,
    /// Bytes of an example.
    TestBytes,
}

impl Limit {
    const fn what(self) -> &'static str {
        match self {
            Self::DetectBytes => "bytes of JSON",
            Self::Rules => "rules",
            Self::Globs => "globs",
            Self::GlobBytes | Self::TextBytes | Self::MessageBytes => "bytes",
            Self::RequiredTexts => "texts",
            Self::RuleDepth => "levels of nested rules",
            Self::RuleNodes => "rule objects",
            Self::Regexes => "regular expressions",
            Self::RegexBytes => "bytes of regular expression",
            Self::PatternBytes => "bytes of pattern",
            Self::PatternBrackets => "nested brackets",
            Self::Utils => "utility rules",
            Self::UnboundedRelations => "nested relations that reach past a neighbour",
            Self::Conditions => "conditions",
            Self::Findings => "findings",
            Self::TemplateBytes => "bytes of template",
            Self::Imports => "import lines",
            Self::FixFiles => "files",
            Self::FixLines => "lines",
            Self::Tests => "examples",
            Self::TestBytes => "bytes of example",
        }
    }
}

/// Why a detection is refused by shape alone. `at` says where, such as `detect.rules[0].rule.has`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DetectError {
    /// Written for another engine.
    #[error("`detect.engine` is not {ENGINE}, the only engine of this build")]
    Engine,
    /// A limit is broken.
    #[error("`{at}` has {got} {}, at most {max}", limit.what())]
    Limit {
        /// Which limit.
        limit: Limit,
        /// Where.
        at: String,
        /// What was found.
        got: usize,
        /// What is allowed.
        max: usize,
    },
    /// Too few of something.
    #[error("`{at}` has {got}, at least {min} are needed")]
    TooFew {
        /// Where.
        at: String,
        /// What was found.
        got: usize,
        /// What is needed.
        min: usize,
    },
    /// A key of a syntax rule that is not known or not allowed here.
    #[error("`{at}` holds the key `{key}`, which is not allowed")]
    UnknownKey {
        /// Where.
        at: String,
        /// The key, safe to show.
        key: String,
    },
    /// A value of another form.
    #[error("`{at}` must be {expected}")]
    Form {
        /// Where.
        at: String,
        /// Its form.
        expected: &'static str,
    },
    /// A utility rule that leads back to itself.
    #[error("the utility rule `{util}` leads back to itself")]
    UtilCycle {
        /// Its name, safe to show.
        util: String,
    },
    /// A name that stands for nothing.
    #[error("`{at}` names `{name}`, which does not exist")]
    Unknown {
        /// Where.
        at: String,
        /// The name, safe to show.
        name: String,
    },
    /// A name used twice.
    #[error("`{at}` has `{name}` twice")]
    Repeated {
        /// Where.
        at: String,
        /// The name.
        name: Slug,
    },
    /// A text with a character that may not be shown.
    #[error("`{at}` holds a forbidden character")]
    Text {
        /// Where.
        at: String,
        /// Which character.
        #[source]
        cause: foreign_text::ForbiddenChar,
    },
}

fn within(limit: Limit, at: impl Into<String>, got: usize, max: usize) -> Result<(), DetectError> {
    if got > max { Err(DetectError::Limit { limit, at: at.into(), got, max }) } else { Ok(()) }
}

fn form(at: impl Into<String>, expected: &'static str, holds: bool) -> Result<(), DetectError> {
    if holds { Ok(()) } else { Err(DetectError::Form { at: at.into(), expected }) }
}

fn line(at: &str, text: &str) -> Result<(), DetectError> {
    within(Limit::TextBytes, at, text.len(), SHORT_BYTES)?;
    form(at, "one line of text", !text.trim().is_empty() && !text.contains('\n'))?;
    foreign_text::check(text).map_err(|cause| DetectError::Text { at: at.to_owned(), cause })
}

/// Checks the static limits.
///
/// # Errors
/// The first limit that is broken.
pub fn check(detect: &Detect, fix: &Fix, tests: &Tests) -> Result<(), DetectError> {
    if detect.engine != ENGINE {
        return Err(DetectError::Engine);
    }
    check_scope(detect)?;
    if detect.rules.is_empty() {
        return Err(DetectError::TooFew { at: "detect.rules".into(), got: 0, min: 1 });
    }
    within(Limit::Rules, "detect.rules", detect.rules.len(), limits::DETECT_RULES)?;
    let mut count = rule::Count::default();
    let mut ids = HashSet::new();
    for (index, rule) in detect.rules.iter().enumerate() {
        let at = format!("detect.rules[{index}]");
        if !ids.insert(rule_id(rule)) {
            return Err(DetectError::Repeated { at: "detect.rules".into(), name: rule_id(rule).clone() });
        }
        let text = match rule {
            Rule::Ast(rule) => {
                rule::check(rule, &at, &mut count)?;
                &rule.message
            }
            Rule::Regex(rule) => {
                check_regex(rule, &at, &mut count)?;
                &rule.message
            }
            Rule::Config(rule) => {
                check_config(rule, &at, &mut count)?;
                &rule.message
            }
        };
        let at = format!("{at}.message");
        within(Limit::MessageBytes, &at, text.len(), MESSAGE_BYTES)?;
        form(&at, "a text", !text.trim().is_empty())?;
        foreign_text::check(text).map_err(|cause| DetectError::Text { at, cause })?;
    }
    // After the walk above, which ends at the depth limit: writing a deep value would recurse as deep.
    let bytes = serde_json::to_vec(detect).map_or(usize::MAX, |json| json.len());
    within(Limit::DetectBytes, "detect", bytes, limits::DETECT_BYTES)?;
    let findings = usize::try_from(detect.limits.max_findings_per_repo).unwrap_or(usize::MAX);
    let most = usize::try_from(limits::FINDINGS_PER_LESSON).unwrap_or(usize::MAX);
    within(Limit::Findings, "detect.limits.max_findings_per_repo", findings, most)?;
    form("detect.limits.max_findings_per_repo", "1 or more", findings > 0)?;
    check_when_repo(detect)?;
    check_fix(detect, fix)?;
    check_tests(fix, tests)
}

const fn rule_id(rule: &Rule) -> &Slug {
    match rule {
        Rule::Ast(rule) => &rule.id,
        Rule::Regex(rule) => &rule.id,
        Rule::Config(rule) => &rule.id,
    }
}

fn check_scope(detect: &Detect) -> Result<(), DetectError> {
    for (at, globs) in
        [("detect.scope.include", &detect.scope.include), ("detect.scope.exclude", &detect.scope.exclude)]
    {
        within(Limit::Globs, at, globs.len(), limits::SCOPE_GLOBS)?;
        for (index, glob) in globs.iter().enumerate() {
            let at = format!("{at}[{index}]");
            within(Limit::GlobBytes, &at, glob.len(), limits::GLOB_BYTES)?;
            foreign_text::check(glob).map_err(|cause| DetectError::Text { at: at.clone(), cause })?;
            let climbs = glob.split('/').any(|part| part == "..");
            let plain = !glob.trim().is_empty() && glob.trim() == glob && !glob.starts_with(['!', '#']);
            let expected = "a glob without braces, backslashes, `..`, and `!` or `#` in front";
            form(at, expected, plain && !climbs && !glob.contains(['{', '}', '\\', '\n']))?;
        }
    }
    within(Limit::Globs, "detect.scope.languages", detect.scope.languages.len(), limits::SCOPE_GLOBS)?;
    within(Limit::RequiredTexts, "detect.requires_text", detect.requires_text.len(), HINTS)?;
    for (index, group) in detect.requires_text.iter().enumerate() {
        let at = format!("detect.requires_text[{index}]");
        within(Limit::RequiredTexts, &at, group.len(), HINTS)?;
        form(&at, "a group of texts", !group.is_empty())?;
        for text in group {
            line(&at, text)?;
            form(&at, "ASCII texts", text.is_ascii())?;
        }
    }
    Ok(())
}

fn check_regex(rule: &RegexRule, at: &str, count: &mut rule::Count) -> Result<(), DetectError> {
    let at = format!("{at}.pattern");
    within(Limit::RegexBytes, &at, rule.pattern.len(), limits::PATTERN_BYTES)?;
    form(&at, "a regular expression", !rule.pattern.is_empty())?;
    count.regex(&at)
}

fn check_config(rule: &ConfigRule, at: &str, count: &mut rule::Count) -> Result<(), DetectError> {
    let all = format!("{at}.all");
    if rule.all.is_empty() {
        return Err(DetectError::TooFew { at: all, got: 0, min: 1 });
    }
    within(Limit::Conditions, &all, rule.all.len(), CONDITIONS)?;
    line(&format!("{at}.report"), &rule.report)?;
    for (index, key) in rule.all.iter().enumerate() {
        let at = format!("{all}[{index}]");
        line(&format!("{at}.path"), &key.path)?;
        let tests = [key.absent, key.equals.is_some(), key.regex.is_some()].iter().filter(|is| **is).count();
        form(&at, "a path with at most one of `absent`, `equals` and `regex`", tests <= 1)?;
        if let Some(text) = &key.equals {
            within(Limit::TextBytes, format!("{at}.equals"), text.len(), MESSAGE_BYTES)?;
        }
        if let Some(pattern) = &key.regex {
            let at = format!("{at}.regex");
            within(Limit::RegexBytes, &at, pattern.len(), limits::REGEX_BYTES)?;
            count.regex(&at)?;
        }
    }
    Ok(())
}

fn check_when_repo(detect: &Detect) -> Result<(), DetectError> {
    let Some(when) = &detect.when_repo else { return Ok(()) };
    let named: HashSet<&Slug> = when.any_file.iter().chain(&when.no_file).collect();
    for name in &named {
        if !detect.rules.iter().any(|rule| rule_id(rule) == *name) {
            return Err(DetectError::Unknown { at: "detect.when_repo".into(), name: name.to_string() });
        }
    }
    let reporting = detect.rules.iter().any(|rule| !named.contains(rule_id(rule)));
    form("detect.when_repo", "a condition that leaves a rule to report something", reporting)
}

fn check_fix(detect: &Detect, fix: &Fix) -> Result<(), DetectError> {
    let mut mended = HashSet::new();
    let mut languages = HashSet::new();
    for (index, edit) in fix.edits.iter().enumerate() {
        let at = format!("fix.edits[{index}]");
        let Some((place, rule)) = detect.rules.iter().enumerate().find(|(_, rule)| *rule_id(rule) == edit.rule) else {
            return Err(DetectError::Unknown { at: format!("{at}.for"), name: edit.rule.to_string() });
        };
        if !mended.insert(&edit.rule) {
            return Err(DetectError::Repeated { at: "fix.edits".into(), name: edit.rule.clone() });
        }
        match (rule, &edit.template, &edit.set) {
            (Rule::Ast(_) | Rule::Regex(_), Some(template), None) => {
                let at = format!("{at}.template");
                within(Limit::TemplateBytes, &at, template.len(), limits::FIX_TEMPLATE_BYTES)?;
                foreign_text::check(template).map_err(|cause| DetectError::Text { at, cause })?;
            }
            (Rule::Config(_), None, Some(set)) => {
                line(&format!("{at}.set.path"), &set.path)?;
                form(format!("{at}.set.path"), "a path of section and key", set.path.contains('.'))?;
                line(&format!("{at}.set.value"), &set.value)?;
            }
            _ => {
                let expected = "`template` for a syntax or regex rule, `set` for a config rule, and only one of them";
                return Err(DetectError::Form { at, expected });
            }
        }
        if let Rule::Ast(rule) = rule {
            languages.insert(rule.language);
            if fix.class == FixClass::Safe {
                let expected = "a `kind` or a pattern of strictness `cst`: others skip what the fix would then delete";
                form(format!("detect.rules[{place}].rule"), expected, rule::matches_whole(rule))?;
            }
        } else {
            languages.extend(detect.scope.languages.iter().copied());
        }
    }
    match fix.class {
        FixClass::Safe => form("fix.edits", "one edit or more when the class is safe", !fix.edits.is_empty())?,
        FixClass::None => form("fix.edits", "empty when the class is none", fix.edits.is_empty())?,
        FixClass::Review => {}
    }
    for (limit, at, got, max) in [
        (Limit::FixFiles, "fix.max_files", fix.max_files, FIX_FILES),
        (Limit::FixLines, "fix.max_lines", fix.max_lines, FIX_LINES),
    ] {
        within(limit, at, usize::try_from(got).unwrap_or(usize::MAX), max)?;
        form(at, "1 or more", got > 0)?;
    }
    check_imports(fix, &languages)
}

fn check_imports(fix: &Fix, languages: &HashSet<LanguageName>) -> Result<(), DetectError> {
    within(Limit::Imports, "fix.ensure_import", fix.ensure_import.len(), IMPORTS)?;
    for (index, text) in fix.ensure_import.iter().enumerate() {
        let at = format!("fix.ensure_import[{index}]");
        line(&at, text)?;
        let fits = !languages.is_empty() && languages.iter().all(|language| import::is_import(*language, text));
        form(at, "one plain import line of the language that the edits mend", fits)?;
    }
    Ok(())
}

fn check_tests(fix: &Fix, tests: &Tests) -> Result<(), DetectError> {
    for (at, got) in [("tests.positive", tests.positive.len()), ("tests.negative", tests.negative.len())] {
        if got < 2 {
            return Err(DetectError::TooFew { at: at.into(), got, min: 2 });
        }
    }
    within(Limit::Tests, "tests", tests.positive.len() + tests.negative.len(), limits::TESTS)?;
    let example = |at: &str, path: &str, code: &str| {
        within(Limit::TestBytes, format!("{at}.code"), code.len(), limits::TEST_BYTES)?;
        let at = format!("{at}.path");
        line(&at, path)?;
        let inside =
            !path.starts_with('/') && !path.contains('\\') && path.split('/').all(|p| !matches!(p, "" | "." | ".."));
        form(at, "a path below the root", inside)
    };
    for (index, positive) in tests.positive.iter().enumerate() {
        let at = format!("tests.positive[{index}]");
        example(&at, &positive.path, &positive.code)?;
        form(format!("{at}.count"), "1 or more", positive.count > 0)?;
        let fixed = positive.fixed.as_deref();
        within(Limit::TestBytes, format!("{at}.fixed"), fixed.map_or(0, str::len), limits::TEST_BYTES)?;
        form(&at, "with `fixed` or `fix_refused`, not both", fixed.is_none() || !positive.fix_refused)?;
        let told = fixed.is_some() || positive.fix_refused || fix.class != FixClass::Safe;
        form(&at, "with `fixed` or `fix_refused`, because the fix is safe", told)?;
    }
    for (index, negative) in tests.negative.iter().enumerate() {
        example(&format!("tests.negative[{index}]"), &negative.path, &negative.code)?;
    }
    Ok(())
}
