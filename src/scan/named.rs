//! The tokens that a rule names itself: what its fix may replace.

use std::collections::HashMap;

use ast_grep_core::matcher::PatternNode;
use regex_syntax::hir::{Hir, HirKind};
use serde_json::Value;

use crate::domain::detect::AstRule;
use crate::domain::limits;

use super::lang::Lang;
use super::needs::compile_pattern;

/// Tokens, with how often they are there.
pub(super) type Tokens = HashMap<String, usize>;

fn add(tokens: &mut Tokens, token: &str) {
    if !token.is_empty() {
        *tokens.entry(token.to_owned()).or_insert(0) += 1;
    }
}

/// The literal tokens of the patterns of a syntax rule, other than those it must not match.
pub(super) fn by_syntax(rule: &AstRule) -> Tokens {
    let mut tokens = Tokens::new();
    let lang = Lang::from(rule.language);
    rule.utils.values().chain([&rule.rule]).for_each(|rule| patterns(rule, lang, &mut tokens));
    tokens
}

fn patterns(rule: &Value, lang: Lang, tokens: &mut Tokens) {
    let Some(fields) = rule.as_object() else { return };
    for (key, value) in fields {
        match key.as_str() {
            "pattern" => {
                if let Some(pattern) = compile_pattern(value, lang) {
                    terminals(&pattern.node, tokens);
                }
            }
            // What stands around the match is not replaced with it.
            "has" => patterns(value, lang, tokens),
            "all" | "any" => value.as_array().into_iter().flatten().for_each(|part| patterns(part, lang, tokens)),
            _ => {}
        }
    }
}

fn terminals(node: &PatternNode, tokens: &mut Tokens) {
    match node {
        PatternNode::MetaVar { .. } => {}
        PatternNode::Terminal { text, .. } => add(tokens, text),
        PatternNode::Internal { children, .. } => children.iter().for_each(|child| terminals(child, tokens)),
    }
}

/// The literals of a regular expression, and the words in them.
pub(super) fn by_regex(pattern: &str) -> Tokens {
    let mut tokens = Tokens::new();
    let parser = regex_syntax::ParserBuilder::new().nest_limit(limits::REGEX_NEST).build().parse(pattern);
    if let Ok(hir) = parser {
        literals(&hir, &mut tokens);
    }
    tokens
}

fn literals(hir: &Hir, tokens: &mut Tokens) {
    match hir.kind() {
        HirKind::Literal(literal) => add_value(&String::from_utf8_lossy(&literal.0), tokens),
        HirKind::Capture(capture) => literals(&capture.sub, tokens),
        HirKind::Repetition(repetition) => literals(&repetition.sub, tokens),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().for_each(|part| literals(part, tokens)),
        HirKind::Class(_) | HirKind::Look(_) | HirKind::Empty => {}
    }
}

/// A configuration value that is replaced, its words, and its form without quotes.
pub(super) fn by_value(value: &str) -> Tokens {
    let mut tokens = Tokens::new();
    add_value(value, &mut tokens);
    add(&mut tokens, value.trim_matches(['"', '\'']));
    tokens
}

fn add_value(value: &str, tokens: &mut Tokens) {
    let value = value.trim();
    add(tokens, value);
    split(value).filter(|word| *word != value).for_each(|word| add(tokens, word));
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The words and the comment lines of a text without a grammar.
pub(super) fn words(text: &str) -> Tokens {
    let mut tokens = Tokens::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) || line.starts_with("//") {
            add(&mut tokens, line);
        } else {
            split(line).for_each(|word| add(&mut tokens, word));
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_its_terminals_and_an_expression_its_words() {
        let rule = serde_json::json!({"id": "r", "language": "python", "message": "m",
            "rule": {"pattern": "open($P, 'w')", "not": {"pattern": "close()"}, "inside": {"pattern": "run()"}}});
        let tokens = by_syntax(&serde_json::from_value(rule).expect("a rule"));
        assert!(tokens.contains_key("open") && tokens.contains_key("w"));
        assert!(!tokens.contains_key("close") && !tokens.contains_key("run"));
        let tokens = by_regex(r"yaml\.load\((\w+)\)");
        assert!(tokens.contains_key("yaml") && tokens.contains_key("load"));
    }
}
