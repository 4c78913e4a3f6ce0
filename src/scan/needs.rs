//! What a text must hold for a rule to match at all: alternatives of literals, and regular expressions that
//! are found somewhere.
//!
//! Everything here errs to one side. What is wrongly demanded loses findings; what is left out only costs a
//! parse.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use ast_grep_core::matcher::{Pattern, PatternNode};
use ast_grep_core::meta_var::MetaVariable;
use ast_grep_core::tree_sitter::LanguageExt;
use regex_syntax::hir::{Hir, HirKind, Repetition};
use serde_json::Value;

use crate::domain::detect::{AstRule, LanguageName};
use crate::domain::limits;
use crate::domain::words::{WordDemand, is_word_byte};

use super::lang::Lang;

/// A text that must be there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Atom {
    /// These bytes.
    Text(String),
    /// These bytes in any ASCII case.
    AnyCase(String),
    /// An identifier of its own, not a part of a longer one.
    Word(String),
    /// Identifiers joined by dots, with white space and comments between them at most.
    Chain(Vec<String>),
    /// A chain, or one identifier, and the bracket that opens its arguments.
    Call(Vec<String>),
}

/// One of these must be there.
pub(super) type Group = Vec<Atom>;

/// All of these must be there; empty demands nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Needs {
    /// Of each group, one literal.
    pub(super) groups: Vec<Group>,
    /// Each is found somewhere.
    pub(super) found: Vec<String>,
}

impl Needs {
    pub(super) fn of_groups(groups: Vec<Group>) -> Self {
        Self { groups, found: Vec::new() }
    }

    fn extend(&mut self, more: Self) {
        self.groups.extend(more.groups);
        self.found.extend(more.found);
    }

    /// The part of it that speaks of whole identifiers alone.
    pub(super) fn words(&self) -> WordDemand {
        let group = |group: &Group| group.iter().map(|atom| atom.words().map(<[String]>::to_vec)).collect();
        WordDemand(self.groups.iter().filter_map(group).collect())
    }
}

/// More alternatives than this filter nothing worth their search.
const GROUP_MAX: usize = 32;
/// Most rule objects that are read for one rule; what is left unread demands nothing.
const READS_MAX: usize = 1_000;
/// Shorter literals, and expressions that can match less, are in every file.
const LITERAL_MIN: usize = 2;
/// Longest regular expression that is searched for, in bytes.
const FOUND_BYTES: usize = 2_048;

impl Atom {
    /// The literal that is searched for; [`super::filter`] checks the rest around it.
    pub(super) fn literal(&self) -> &str {
        match self {
            Self::Text(text) | Self::AnyCase(text) | Self::Word(text) => text,
            Self::Chain(words) | Self::Call(words) => &words[0],
        }
    }

    /// The identifiers that are there with it, when it is made of them.
    fn words(&self) -> Option<&[String]> {
        match self {
            Self::Text(_) | Self::AnyCase(_) => None,
            Self::Word(word) => Some(std::slice::from_ref(word)),
            Self::Chain(words) | Self::Call(words) => Some(words),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Chain(words) | Self::Call(words) => words.iter().map(|word| word.len() + 1).sum(),
            Self::Text(text) | Self::AnyCase(text) | Self::Word(text) => text.len(),
        }
    }
}

/// The needs of "one of these".
fn either(alternatives: Vec<Needs>) -> Needs {
    let mut group = Some(Group::new());
    let mut found = Some(Vec::new());
    for needs in alternatives {
        let strength = |group: &Group| (group.iter().map(Atom::weight).min(), std::cmp::Reverse(group.len()));
        let best = needs.groups.into_iter().max_by_key(strength);
        group = group.zip(best).map(|(group, best)| [group, best].concat());
        let longest = needs.found.into_iter().max_by_key(String::len);
        found = found.zip(longest).map(|(found, longest)| [found, vec![longest]].concat());
    }
    let mut group = group.unwrap_or_default();
    group.sort();
    group.dedup();
    let groups = if group.is_empty() || group.len() > GROUP_MAX { Vec::new() } else { vec![group] };
    let mut found = found.unwrap_or_default();
    found.sort();
    found.dedup();
    let found = match found.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(many.iter().map(|one| format!("(?:{one})")).collect::<Vec<_>>().join("|")),
    };
    Needs { groups, found: found.filter(|found| found.len() <= FOUND_BYTES).into_iter().collect() }
}

/// The needs of a syntax rule.
pub(super) fn of_syntax(rule: &AstRule) -> Needs {
    let lang = Lang::from(rule.language);
    let budget = Cell::new(READS_MAX);
    let (utils, constraints) = (&rule.utils, Some(&rule.constraints));
    let reading = Reading { name: rule.language, lang, utils, constraints, budget: &budget };
    let mut needs = reading.rule(&rule.rule, Place::Within, 0);
    needs.groups.sort();
    needs.groups.dedup();
    needs.found.sort();
    needs.found.dedup();
    needs
}

#[derive(Clone, Copy)]
struct Reading<'r> {
    name: LanguageName,
    lang: Lang,
    utils: &'r BTreeMap<String, Value>,
    /// By variable, what it must be wherever the rule itself binds it.
    constraints: Option<&'r BTreeMap<String, Value>>,
    /// Rule objects that are still read: utility rules that name each other several times multiply.
    budget: &'r Cell<usize>,
}

/// Where what matches a part of a rule lies, seen from the node that is reported. Only there are syntax errors
/// looked for ([`super::syntax`]), and what the parser made up or skipped is not in the text as it should be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is that node, or inside it.
    Within,
    /// It is around it.
    Around,
    /// Anywhere else.
    Beside,
}

impl Place {
    const fn inside(self) -> Self {
        match self {
            Self::Within | Self::Around => Self::Around,
            Self::Beside => Self::Beside,
        }
    }

    const fn has(self) -> Self {
        match self {
            Self::Within => Self::Within,
            Self::Around | Self::Beside => Self::Beside,
        }
    }
}

impl Reading<'_> {
    fn rule(&self, rule: &Value, place: Place, depth: usize) -> Needs {
        let left = self.budget.get();
        let Some(fields) = rule.as_object().filter(|_| left > 0 && depth <= 2 * limits::RULE_DEPTH) else {
            return Needs::default();
        };
        self.budget.set(left - 1);
        let mut needs = Needs::default();
        for (key, value) in fields {
            match key.as_str() {
                "pattern" => needs.extend(self.pattern(value, place, depth)),
                "kind" if place != Place::Beside => {
                    let word = value.as_str().and_then(|kind| keyword(self.name, kind));
                    needs.groups.extend(word.map(|word| vec![Atom::Word(word.to_owned())]));
                }
                "regex" => needs.extend(value.as_str().map(of_regex).unwrap_or_default()),
                "has" => needs.extend(self.rule(value, place.has(), depth + 1)),
                "inside" => needs.extend(self.rule(value, place.inside(), depth + 1)),
                "precedes" | "follows" => needs.extend(self.rule(value, Place::Beside, depth + 1)),
                "all" => {
                    let each = value.as_array().into_iter().flatten();
                    each.for_each(|part| needs.extend(self.rule(part, place, depth + 1)));
                }
                "any" => {
                    let each = value.as_array().into_iter().flatten();
                    needs.extend(either(each.map(|part| self.rule(part, place, depth + 1)).collect()));
                }
                "matches" => {
                    if let Some(util) = value.as_str().and_then(|name| self.utils.get(name)) {
                        needs.extend(self.rule(util, place, depth + 1));
                    }
                }
                _ => {}
            }
        }
        needs
    }

    fn pattern(&self, style: &Value, place: Place, depth: usize) -> Needs {
        let by_shape_only =
            style.get("strictness").is_some_and(|s| s != "cst" && s != "smart" && s != "ast" && s != "relaxed");
        let mut needs = Needs::default();
        if let Some(pattern) = compile_pattern(style, self.lang).filter(|_| !by_shape_only) {
            self.node(&pattern.node, place == Place::Within, &mut needs.groups);
            let mut bound = BTreeSet::new();
            captures(&pattern.node, &mut bound);
            // Where one pattern of several matches, only its own variables are bound. What a constraint binds is held
            // against none.
            let constrained = bound.iter().filter_map(|name| self.constraints?.get(name));
            let unconstrained = Self { constraints: None, ..*self };
            constrained.for_each(|constraint| needs.extend(unconstrained.rule(constraint, place, depth + 1)));
        }
        needs
    }

    fn node(&self, node: &PatternNode, within: bool, needs: &mut Vec<Group>) {
        match node {
            PatternNode::MetaVar { .. } => {}
            PatternNode::Terminal { text, is_named, kind_id } => {
                if *is_named && text.len() >= LITERAL_MIN {
                    let word = self.is_word(*kind_id, text);
                    needs.push(vec![if word { Atom::Word(text.clone()) } else { Atom::Text(text.clone()) }]);
                }
            }
            PatternNode::Internal { children, .. } => {
                let mut words = Vec::new();
                if within && self.chain(node, &mut words) && words.len() > 1 {
                    needs.push(vec![Atom::Chain(words)]);
                    return;
                }
                let mut rest = children.as_slice();
                if within && let Some((callee, words)) = self.call(node) {
                    needs.push(vec![Atom::Call(words)]);
                    self.node(callee, within, needs);
                    rest = &children[1..];
                }
                rest.iter().for_each(|child| self.node(child, within, needs));
            }
        }
    }

    /// What is called, and the last identifiers of it.
    fn call<'n>(&self, node: &'n PatternNode) -> Option<(&'n PatternNode, Vec<String>)> {
        use LanguageName::{JavaScript, Python, Tsx, TypeScript};
        let PatternNode::Internal { kind_id, children } = node else { return None };
        let [callee, PatternNode::Internal { children: arguments, .. }] = children.as_slice() else { return None };
        let opened = matches!(arguments.first(), Some(PatternNode::Terminal { text, .. }) if text == "(");
        if !opened
            || !matches!(self.name, JavaScript | Python | Tsx | TypeScript)
            || !is_call_kind(&self.kind(*kind_id))
        {
            return None;
        }
        let mut words = Vec::new();
        if self.chain(callee, &mut words) {
            return Some((callee, words));
        }
        let PatternNode::Internal { kind_id, children } = callee else { return None };
        let mut last = Vec::new();
        let named = is_chain_kind(&self.kind(*kind_id)) && self.chain(children.last()?, &mut last);
        named.then_some((callee, last))
    }

    fn kind(&self, kind_id: u16) -> String {
        self.lang.get_ts_language().node_kind_for_id(kind_id).unwrap_or_default().to_owned()
    }

    fn is_word(&self, kind_id: u16, text: &str) -> bool {
        use LanguageName::{Go, JavaScript, Python, Rust, Tsx, TypeScript};
        matches!(self.name, Go | JavaScript | Python | Rust | Tsx | TypeScript)
            && self.kind(kind_id).ends_with("identifier")
            && text.bytes().all(is_word_byte)
    }

    /// Collects the identifiers of `a.b.c`; false when it is something else.
    fn chain(&self, node: &PatternNode, words: &mut Vec<String>) -> bool {
        match node {
            PatternNode::MetaVar { .. } => false,
            PatternNode::Terminal { text, is_named, kind_id } => {
                words.push(text.clone());
                *is_named && text.len() >= LITERAL_MIN && self.is_word(*kind_id, text)
            }
            PatternNode::Internal { kind_id, children } => {
                let [left, PatternNode::Terminal { text, is_named: false, .. }, right] = children.as_slice() else {
                    return false;
                };
                is_chain_kind(&self.kind(*kind_id))
                    && text == "."
                    && self.chain(left, words)
                    && self.chain(right, words)
            }
        }
    }
}

/// Compiles a pattern in either of its forms.
pub(super) fn compile_pattern(style: &Value, lang: Lang) -> Option<Pattern> {
    match (style.as_str(), style.get("context").and_then(Value::as_str)) {
        (Some(text), _) => Pattern::try_new(text, lang).ok(),
        (None, Some(context)) => match style.get("selector").and_then(Value::as_str) {
            Some(selector) => Pattern::contextual(context, selector, lang).ok(),
            None => Pattern::try_new(context, lang).ok(),
        },
        (None, None) => None,
    }
}

/// The named variables that a match binds.
fn captures(node: &PatternNode, names: &mut BTreeSet<String>) {
    match node {
        PatternNode::MetaVar { meta_var: MetaVariable::Capture(name, true) } => {
            names.insert(name.clone());
        }
        PatternNode::MetaVar { .. } | PatternNode::Terminal { .. } => {}
        PatternNode::Internal { children, .. } => children.iter().for_each(|child| captures(child, names)),
    }
}

/// Node kinds of `a.b`. A match with a syntax error directly inside one of them is not reported
/// ([`super::syntax`]): the parser may have skipped anything there, and the filter could not follow.
pub(super) fn is_chain_kind(kind: &str) -> bool {
    matches!(kind, "attribute" | "member_expression" | "selector_expression" | "field_expression")
}

/// The word without which there is no node of a kind, where it is rare enough to be worth looking for.
fn keyword(language: LanguageName, kind: &str) -> Option<&'static str> {
    use LanguageName::{Bash, Go, JavaScript, Json, Python, Rust, Toml, Tsx, TypeScript, Yaml};
    Some(match (language, kind) {
        (Python, "except_clause") => "except",
        (Python, "finally_clause") => "finally",
        (Python, "raise_statement") => "raise",
        (Python, "with_statement") => "with",
        (Python, "class_definition") => "class",
        (Python, "lambda") => "lambda",
        (Python, "await") => "await",
        (Python, "continue_statement") => "continue",
        (Python | JavaScript | TypeScript | Tsx, "try_statement") => "try",
        (Python | JavaScript | TypeScript | Tsx, "while_statement") => "while",
        (JavaScript | TypeScript | Tsx, "catch_clause") => "catch",
        (JavaScript | TypeScript | Tsx, "throw_statement") => "throw",
        (JavaScript | TypeScript | Tsx, "await_expression") => "await",
        (Rust, "loop_expression") => "loop",
        (Rust, "while_expression") => "while",
        (Rust, "unsafe_block") => "unsafe",
        (Go, "go_statement") => "go",
        (Go, "defer_statement") => "defer",
        (Go, "for_statement") => "for",
        (Bash | Go | JavaScript | Json | Python | Rust | Toml | Tsx | TypeScript | Yaml, _) => return None,
    })
}

/// Node kinds of `f(x)`, of which the same is true.
pub(super) fn is_call_kind(kind: &str) -> bool {
    matches!(kind, "call" | "call_expression")
}

/// The needs of a regular expression: of text in which it is found somewhere.
pub(super) fn of_regex(pattern: &str) -> Needs {
    let parser = regex_syntax::ParserBuilder::new().nest_limit(limits::REGEX_NEST).build().parse(pattern);
    let Ok(hir) = parser else { return Needs::default() };
    let mut groups = of_hir(&hir);
    groups.retain(|group| group.iter().all(|atom| atom.weight() >= LITERAL_MIN));
    Needs { groups, found: anywhere(&hir).into_iter().collect() }
}

/// The expression as it is found in a text of which what it matches is a part: there, another character may
/// stand where the part begins and ends. `None` where the literals say as much, or nothing does.
fn anywhere(hir: &Hir) -> Option<String> {
    let hir = without_looks(hir);
    let short = hir.properties().minimum_len().is_none_or(|len| len < LITERAL_MIN);
    let text = hir.to_string();
    (!short && !hir.properties().is_alternation_literal() && text.len() <= FOUND_BYTES).then_some(text)
}

fn without_looks(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Look(_) | HirKind::Empty => Hir::empty(),
        HirKind::Literal(_) | HirKind::Class(_) => hir.clone(),
        HirKind::Capture(capture) => without_looks(&capture.sub),
        HirKind::Repetition(repetition) => {
            Hir::repetition(Repetition { sub: Box::new(without_looks(&repetition.sub)), ..repetition.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(without_looks).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(without_looks).collect()),
    }
}

/// A stretch of literal characters while a concatenation is walked.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    any_case: bool,
}

impl Run {
    fn flush(&mut self, needs: &mut Vec<Group>) {
        let run = std::mem::take(self);
        if let Ok(text) = String::from_utf8(run.bytes)
            && text.len() >= LITERAL_MIN
        {
            needs.push(vec![if run.any_case { Atom::AnyCase(text) } else { Atom::Text(text) }]);
        }
    }
}

fn of_hir(hir: &Hir) -> Vec<Group> {
    let mut needs = Vec::new();
    let mut run = Run::default();
    walk_hir(hir, &mut run, &mut needs);
    run.flush(&mut needs);
    needs
}

fn walk_hir(hir: &Hir, run: &mut Run, needs: &mut Vec<Group>) {
    match hir.kind() {
        HirKind::Literal(literal) => run.bytes.extend_from_slice(&literal.0),
        HirKind::Class(class) => match both_cases(class) {
            Some(letter) => {
                run.bytes.push(letter);
                run.any_case = true;
            }
            None => run.flush(needs),
        },
        HirKind::Concat(parts) => parts.iter().for_each(|part| walk_hir(part, run, needs)),
        HirKind::Capture(capture) => walk_hir(&capture.sub, run, needs),
        // Zero-width: what stands before and after it is still next to each other.
        HirKind::Look(_) | HirKind::Empty => {}
        HirKind::Alternation(parts) => {
            run.flush(needs);
            needs.extend(either(parts.iter().map(of_hir).map(Needs::of_groups).collect()).groups);
        }
        HirKind::Repetition(repetition) => {
            run.flush(needs);
            if repetition.min > 0 {
                needs.extend(of_hir(&repetition.sub));
            }
        }
    }
}

/// The letter of a class such as `[aA]` and nothing more. `(?i)k` is not one: it also holds the Kelvin sign.
fn both_cases(class: &regex_syntax::hir::Class) -> Option<u8> {
    let members: Vec<char> = match class {
        regex_syntax::hir::Class::Unicode(class) => {
            let ranges = class.ranges();
            if ranges.len() != 2 || ranges.iter().any(|range| range.start() != range.end()) {
                return None;
            }
            ranges.iter().map(regex_syntax::hir::ClassUnicodeRange::start).collect()
        }
        regex_syntax::hir::Class::Bytes(_) => return None,
    };
    let lower = u8::try_from(members[1]).ok().filter(u8::is_ascii_lowercase)?;
    (members[0] == char::from(lower.to_ascii_uppercase())).then_some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(rule: Value) -> Needs {
        let rule = serde_json::json!({"id": "r", "language": "python", "rule": rule, "message": "m"});
        of_syntax(&serde_json::from_value(rule).expect("a rule"))
    }

    fn syntax(rule: Value) -> Vec<Group> {
        needs(rule).groups
    }

    fn call(words: &[&str]) -> Group {
        vec![Atom::Call(words.iter().map(ToString::to_string).collect())]
    }

    fn text(text: &str) -> Group {
        vec![Atom::Text(text.into())]
    }

    fn word(text: &str) -> Group {
        vec![Atom::Word(text.into())]
    }

    #[test]
    fn patterns_need_their_words_and_chains() {
        assert_eq!(syntax(serde_json::json!({"pattern": "open($P, $M)"})), [word("open"), call(&["open"])]);
        let chain = vec![Atom::Chain(vec!["os".into(), "path".into(), "join".into()])];
        assert_eq!(
            syntax(serde_json::json!({"pattern": "os.path.join($$$A)"})),
            [chain, call(&["os", "path", "join"])]
        );
        assert_eq!(syntax(serde_json::json!({"pattern": "$O.write($X)"})), [word("write"), call(&["write"])]);
        assert_eq!(syntax(serde_json::json!({"pattern": "$A.write"})), [word("write")]);
    }

    #[test]
    fn kinds_need_their_words_where_errors_are_seen() {
        let handler = serde_json::json!({"kind": "except_clause", "inside": {"kind": "try_statement", "has": {"kind": "lambda"}}});
        assert_eq!(syntax(handler), [word("except"), word("try")]);
        let beside = serde_json::json!({"kind": "call", "follows": {"kind": "while_statement"}});
        assert_eq!(syntax(beside), Vec::<Group>::new());
    }

    #[test]
    fn combinations_need_what_all_their_parts_need() {
        let both = serde_json::json!({"any": [{"pattern": "foo($A)"}, {"pattern": "bar($A)"}]});
        assert_eq!(syntax(both), [[call(&["bar"]), call(&["foo"])].concat()]);
        let open = serde_json::json!({"any": [{"pattern": "foo($A)"}, {"kind": "call"}]});
        assert_eq!(needs(open), Needs::default());
        let not = serde_json::json!({"kind": "call", "not": {"pattern": "foo($A)"}});
        assert_eq!(needs(not), Needs::default());
        let signature = serde_json::json!({"pattern": {"context": "foo($A)", "strictness": "signature"}});
        assert_eq!(needs(signature), Needs::default());
        let inside = serde_json::json!({"pattern": "foo()", "inside": {"pattern": "os.bar($$$)", "stopBy": "end"}});
        assert_eq!(syntax(inside), [word("bar"), word("foo"), word("os"), call(&["foo"])]);
    }

    #[test]
    fn a_constraint_counts_where_its_variable_is_bound() {
        let mut rule = serde_json::json!({"id": "r", "language": "python", "message": "m",
            "rule": {"pattern": "open($P)"}, "constraints": {"P": {"regex": "tmp"}}});
        let needs = |rule: &Value| of_syntax(&serde_json::from_value(rule.clone()).expect("a rule")).groups;
        assert_eq!(needs(&rule), [text("tmp"), word("open"), call(&["open"])]);
        rule["rule"] = serde_json::json!({"any": [{"pattern": "open($P)"}, {"pattern": "open($Q, 1)"}]});
        assert_eq!(needs(&rule), [call(&["open"])]);
        rule["rule"] = serde_json::json!({"kind": "call", "has": {"pattern": "x($P)"}, "not": {"pattern": "y($Q)"}});
        rule["constraints"]["Q"] = serde_json::json!({"regex": "never"});
        assert_eq!(needs(&rule), [text("tmp")]);
        // What a constraint binds is not constrained itself.
        rule["constraints"]["P"] = serde_json::json!({"pattern": "lambda: $Q"});
        assert_eq!(needs(&rule), Vec::<Group>::new());
    }

    #[test]
    fn regexes_need_their_inner_literals() {
        let groups = |pattern| of_regex(pattern).groups;
        assert_eq!(groups("ab(cd)+e[0-9]xyz"), [text("ab"), text("cd"), text("xyz")]);
        assert_eq!(groups("(foo|bar)x?"), [vec![Atom::Text("bar".into()), Atom::Text("foo".into())]]);
        assert_eq!(of_regex("(foo|)"), Needs::default());
        assert_eq!(groups("(?i)verify"), [vec![Atom::AnyCase("verify".into())]]);
        assert_eq!(of_regex(r"\bfoo\b"), Needs::of_groups(vec![text("foo")]));
        assert_eq!(groups("(?i)sk"), Vec::<Group>::new());
        assert_eq!(of_regex("a{0,3}"), Needs::default());
    }

    #[test]
    fn a_part_of_a_text_matches_and_so_the_text_holds_it_whatever_stands_around() {
        let found = |needs: &Needs| {
            let [found] = needs.found.as_slice() else { panic!("{needs:?}") };
            regex::Regex::new(found).expect("printed by the parser")
        };
        let handler = found(&of_regex(r"^except( +\(?Exception\)?)? *:\s*pass\s*$"));
        assert!(handler.is_match("try:\n    x()\nexcept Exception:\n    pass # and so on"));
        assert!(!handler.is_match("except Exception:\n    raise"));
        assert!(found(&of_regex(r"\bop[a-z]+\b")).is_match("reopened"));
        let any =
            serde_json::json!({"any": [{"kind": "call", "regex": "ab+c"}, {"kind": "string", "regex": "x[0-9]y"}]});
        let any = found(&needs(any));
        assert!(any.is_match("abbc") && any.is_match("x1y") && !any.is_match("ac xy"));
        let one = serde_json::json!({"any": [{"kind": "call", "regex": "ab+c"}, {"kind": "string"}]});
        assert_eq!(needs(one), Needs::default());
    }
}
