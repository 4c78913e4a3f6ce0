//! The shape of a syntax rule: which keys, how many, how deep, and no way back.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::super::detect::AstRule;
use super::super::{foreign_text, limits};
use super::{DetectError, Limit, form, within};

/// What is counted over all rules of a lesson.
#[derive(Default)]
pub(super) struct Count {
    nodes: usize,
    regexes: usize,
    utils: usize,
}

impl Count {
    pub(super) fn regex(&mut self, at: &str) -> Result<(), DetectError> {
        self.regexes += 1;
        within(Limit::Regexes, at, self.regexes, limits::RULE_REGEXES)
    }
}

/// Checks one syntax rule.
pub(super) fn check(rule: &AstRule, at: &str, count: &mut Count) -> Result<(), DetectError> {
    count.utils += rule.utils.len();
    within(Limit::Utils, format!("{at}.utils"), count.utils, limits::RULE_UTILS)?;
    let mut walk = Walk { count, utils: &rule.utils, variables: Vec::new() };
    walk.rule(&rule.rule, &format!("{at}.rule"), 1, false)?;
    for (name, util) in &rule.utils {
        form(format!("{at}.utils"), "utility rules named by letters, digits, '-' and '_'", is_plain(name, "-"))?;
        walk.rule(util, &format!("{at}.utils.{name}"), 1, false)?;
    }
    for (name, constraint) in &rule.constraints {
        let upper = is_plain(name, "") && !name.bytes().any(|byte| byte.is_ascii_lowercase());
        form(format!("{at}.constraints"), "conditions on variables such as `NAME`", upper)?;
        walk.rule(constraint, &format!("{at}.constraints.{name}"), 1, false)?;
    }
    // The matcher ignores a constraint on `$$$NAME` without a word.
    if let Some(name) = rule.constraints.keys().find(|name| walk.variables.contains(name)) {
        let expected = "on single variables: `$$$NAME` cannot be constrained";
        return Err(DetectError::Form { at: format!("{at}.constraints.{name}"), expected });
    }
    let mut reach = Reach { utils: &rule.utils, known: HashMap::new() };
    for (part, value) in
        std::iter::once(("rule", &rule.rule)).chain(rule.constraints.values().map(|value| ("constraints", value)))
    {
        let relations = reach.of(value, &mut Vec::new())?;
        within(Limit::UnboundedRelations, format!("{at}.{part}"), relations, limits::RULE_UNBOUNDED_RELATIONS)?;
    }
    for name in rule.utils.keys() {
        let relations = reach.util(name, &mut Vec::new())?;
        within(Limit::UnboundedRelations, format!("{at}.utils.{name}"), relations, limits::RULE_UNBOUNDED_RELATIONS)?;
    }
    Ok(())
}

fn is_plain(name: &str, also: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || also.contains(c))
}

struct Walk<'r, 'c> {
    count: &'c mut Count,
    utils: &'r BTreeMap<String, Value>,
    /// Names of `$$$` variables.
    variables: Vec<String>,
}

impl Walk<'_, '_> {
    fn rule(&mut self, rule: &Value, at: &str, depth: usize, relation: bool) -> Result<(), DetectError> {
        within(Limit::RuleDepth, at, depth, limits::RULE_DEPTH)?;
        self.count.nodes += 1;
        within(Limit::RuleNodes, at, self.count.nodes, limits::RULE_NODES)?;
        let fields = rule.as_object().ok_or_else(|| DetectError::Form { at: at.into(), expected: "a rule object" })?;
        for (key, value) in fields {
            let inner = format!("{at}.{key}");
            match key.as_str() {
                "pattern" => self.pattern(value, &inner)?,
                // The matcher reads selectors here, with descendants and `:has()`; those would pass all limits.
                "kind" => form(inner, "one kind name", value.as_str().is_some_and(|kind| is_plain(kind, "")))?,
                "regex" => self.regex(value, &inner)?,
                "inside" | "has" | "precedes" | "follows" => self.rule(value, &inner, depth + 1, true)?,
                "not" => self.rule(value, &inner, depth + 1, false)?,
                "all" | "any" => {
                    let expected = "a list of rules";
                    let parts = value.as_array().ok_or_else(|| DetectError::Form { at: inner.clone(), expected })?;
                    form(&inner, "a list of rules, not an empty one", !parts.is_empty())?;
                    for (index, part) in parts.iter().enumerate() {
                        self.rule(part, &format!("{inner}[{index}]"), depth + 1, false)?;
                    }
                }
                "matches" => {
                    let name = value.as_str().unwrap_or_default();
                    if !self.utils.contains_key(name) {
                        let name = foreign_text::display_line(name).chars().take(64).collect();
                        return Err(DetectError::Unknown { at: inner, name });
                    }
                }
                "field" if relation => form(inner, "one field name", value.as_str().is_some_and(|f| is_plain(f, "")))?,
                "stopBy" if relation => match value.as_str() {
                    Some(word) => form(inner, "`neighbor`, `end` or a rule", matches!(word, "neighbor" | "end"))?,
                    None => self.rule(value, &inner, depth + 1, false)?,
                },
                _ => {
                    let key = foreign_text::display_line(key).chars().take(64).collect();
                    return Err(DetectError::UnknownKey { at: at.into(), key });
                }
            }
        }
        Ok(())
    }

    fn pattern(&mut self, style: &Value, at: &str) -> Result<(), DetectError> {
        let expected = "a pattern, or a table of `context`, `selector` and `strictness`";
        let wrong = || DetectError::Form { at: at.to_owned(), expected };
        let text = match style {
            Value::String(text) => text,
            Value::Object(fields) => {
                for (key, value) in fields {
                    let value = value.as_str().ok_or_else(wrong)?;
                    match key.as_str() {
                        "context" => {}
                        "selector" => form(format!("{at}.selector"), "one kind name", is_plain(value, ""))?,
                        "strictness" => form(
                            format!("{at}.strictness"),
                            "`cst`, `smart`, `ast`, `relaxed` or `signature`",
                            matches!(value, "cst" | "smart" | "ast" | "relaxed" | "signature"),
                        )?,
                        _ => return Err(wrong()),
                    }
                }
                fields.get("context").and_then(Value::as_str).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
        within(Limit::PatternBytes, at, text.len(), limits::PATTERN_BYTES)?;
        within(Limit::PatternBrackets, at, bracket_depth(text), limits::PATTERN_BRACKETS)?;
        let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        self.variables.extend(text.split("$$$").skip(1).map(name));
        Ok(())
    }

    fn regex(&mut self, value: &Value, at: &str) -> Result<(), DetectError> {
        let expected = "a regular expression";
        let text = value.as_str().ok_or_else(|| DetectError::Form { at: at.into(), expected })?;
        within(Limit::RegexBytes, at, text.len(), limits::REGEX_BYTES)?;
        self.count.regex(at)
    }
}

/// Most brackets open at once. Closing ones that close nothing do not pay for later ones.
fn bracket_depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' | '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// How many relations that reach past a neighbour stand one inside the other, through utility rules too.
struct Reach<'r> {
    utils: &'r BTreeMap<String, Value>,
    known: HashMap<&'r str, usize>,
}

impl<'r> Reach<'r> {
    fn of(&mut self, rule: &'r Value, path: &mut Vec<&'r str>) -> Result<usize, DetectError> {
        let mut most = 0;
        for (key, value) in rule.as_object().into_iter().flatten() {
            let reach = match key.as_str() {
                "inside" | "has" | "precedes" | "follows" => {
                    let near = value.get("stopBy").is_none_or(|stop| stop == "neighbor");
                    self.of(value, path)? + usize::from(!near)
                }
                "not" | "stopBy" => self.of(value, path)?,
                "all" | "any" => {
                    let mut most = 0;
                    for part in value.as_array().into_iter().flatten() {
                        most = most.max(self.of(part, path)?);
                    }
                    most
                }
                "matches" => value.as_str().map_or(Ok(0), |name| self.util(name, path))?,
                _ => 0,
            };
            most = most.max(reach);
        }
        Ok(most)
    }

    fn util(&mut self, name: &'r str, path: &mut Vec<&'r str>) -> Result<usize, DetectError> {
        if let Some(known) = self.known.get(name) {
            return Ok(*known);
        }
        if path.contains(&name) {
            return Err(DetectError::UtilCycle { util: foreign_text::display_line(name) });
        }
        let Some(util) = self.utils.get(name) else { return Ok(0) };
        path.push(name);
        let reach = self.of(util, path)?;
        path.pop();
        self.known.insert(name, reach);
        Ok(reach)
    }
}

/// Whether every match is accounted for to its last token: the rule is one on a kind of node, or its
/// pattern is of strictness `cst`. Others skip comments and trailing statements, which a fix would delete.
pub(super) fn matches_whole(rule: &AstRule) -> bool {
    whole(&rule.rule)
}

fn whole(rule: &Value) -> bool {
    let list = |key: &str| rule.get(key).and_then(Value::as_array);
    rule.get("kind").is_some()
        || rule.get("pattern").and_then(|style| style.get("strictness")).is_some_and(|strictness| strictness == "cst")
        || list("all").is_some_and(|parts| parts.iter().any(whole))
        || list("any").is_some_and(|parts| parts.iter().all(whole))
}
