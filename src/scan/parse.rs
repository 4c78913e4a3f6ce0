//! One text as syntax trees, each language at most once, within time, depth and size.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ast_grep_core::AstGrep;
use ast_grep_core::tree_sitter::{LanguageExt, StrDoc};
use rustix::time::{ClockId, clock_gettime};
use tree_sitter::{ParseOptions, Parser};

use crate::domain::detect::LanguageName;
use crate::domain::limits;

use super::error::FileRefusal;
use super::lang::Lang;

/// A parsed text.
pub(super) type Parsed = AstGrep<StrDoc<Lang>>;
/// A node of it.
pub(super) type Node<'t> = ast_grep_core::Node<'t, StrDoc<Lang>>;

/// The processor time of this thread. Work is bounded by it where a loaded host must not change the outcome.
pub(super) fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Parses within [`limits::AUDIT_PARSE`] and the file limits.
pub(super) fn parse(language: LanguageName, text: &str) -> Result<Parsed, FileRefusal> {
    let parsed = parse_unmeasured(language, text)?;
    measure(&parsed, |_| {})?;
    Ok(parsed)
}

fn parse_unmeasured(language: LanguageName, text: &str) -> Result<Parsed, FileRefusal> {
    let lang = Lang::from(language);
    let mut parser = Parser::new();
    parser.set_language(&lang.get_ts_language()).expect("grammars of this build fit its parser, a test parses each");
    let (began, start) = (Instant::now(), cpu_time());
    // The parser asks thousands of times for one file, and only the wall clock is read without a system call.
    let late = || began.elapsed() > limits::AUDIT_PARSE && cpu_time().saturating_sub(start) > limits::AUDIT_PARSE;
    let mut stop = |_: &_| if late() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let options = ParseOptions::new().progress_callback(&mut stop);
    let bytes = text.as_bytes();
    let mut read = |offset: usize, _| bytes.get(offset..).unwrap_or_default();
    let tree = parser.parse_with_options(&mut read, None, Some(options)).ok_or(FileRefusal::ParseTimeout)?;
    Ok(AstGrep::doc(StrDoc { src: text.to_owned(), lang, tree }))
}

/// Shows every node to `visit`, and refuses a tree that could exhaust the stack or the time of a matcher.
fn measure<'t>(parsed: &'t Parsed, mut visit: impl FnMut(tree_sitter::Node<'t>)) -> Result<(), FileRefusal> {
    let mut cursor = parsed.root().get_inner_node().walk();
    let (mut depth, mut nodes) = (1, 1);
    loop {
        visit(cursor.node());
        if cursor.goto_first_child() {
            depth += 1;
        } else {
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return Ok(());
                }
                depth -= 1;
            }
        }
        nodes += 1;
        if depth > limits::AUDIT_TREE_DEPTH {
            return Err(FileRefusal::TooDeep);
        }
        if nodes > limits::AUDIT_TREE_NODES {
            return Err(FileRefusal::TooManyNodes);
        }
    }
}

/// A tree that nobody has looked at: what it holds is known only once it was measured.
pub(super) struct Fresh(Parsed);

impl Fresh {
    /// The nodes of these kinds, in the order of the text.
    pub(super) fn pick(&self, wanted: impl Fn(u16) -> bool) -> Result<Vec<Node<'_>>, FileRefusal> {
        let mut picked = Vec::new();
        measure(&self.0, |node| {
            if wanted(node.kind_id()) {
                picked.push(self.0.adopt(node));
            }
        })?;
        Ok(picked)
    }
}

/// The trees of one text, made on first use.
pub(super) struct Trees<'t> {
    text: &'t str,
    made: Vec<(LanguageName, Parsed)>,
}

impl<'t> Trees<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, made: Vec::new() }
    }

    /// The tree in a language.
    pub(super) fn get(&mut self, language: LanguageName) -> Result<&Parsed, FileRefusal> {
        let at = match self.made.iter().position(|(made, _)| *made == language) {
            Some(at) => at,
            None => {
                self.made.push((language, parse(language, self.text)?));
                self.made.len() - 1
            }
        };
        Ok(&self.made[at].1)
    }

    /// The tree in a language, taken out; give it back once it was picked from.
    pub(super) fn take(&mut self, language: LanguageName) -> Result<Fresh, FileRefusal> {
        match self.made.iter().position(|(made, _)| *made == language) {
            Some(at) => Ok(Fresh(self.made.swap_remove(at).1)),
            None => parse_unmeasured(language, self.text).map(Fresh),
        }
    }

    /// Keeps a tree for whoever asks next.
    pub(super) fn give_back(&mut self, language: LanguageName, fresh: Fresh) {
        self.made.push((language, fresh.0));
    }

    /// A language that was parsed already.
    pub(super) fn any(&self) -> Option<LanguageName> {
        self.made.first().map(|(language, _)| *language)
    }
}

/// True for the node kinds that hold a comment, in every grammar of this build.
pub(super) fn is_comment(node: &Node<'_>) -> bool {
    node.is_named() && node.kind().ends_with("comment")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t19_a_deep_file_is_refused_before_it_is_matched() {
        let deep = format!("x = {}1{}\n", "(".repeat(1_100), ")".repeat(1_100));
        assert_eq!(parse(LanguageName::Python, &deep).map(drop), Err(FileRefusal::TooDeep));
        let ok = format!("x = {}1{}\n", "(".repeat(900), ")".repeat(900));
        assert!(parse(LanguageName::Python, &ok).is_ok());
    }

    #[test]
    fn t19_a_tree_of_too_many_nodes_is_refused() {
        let wide = "a\n".repeat(limits::AUDIT_TREE_NODES / 2 + 10);
        let refusal = parse(LanguageName::Python, &wide).map(drop).expect_err("too many nodes or too slow");
        assert!(matches!(refusal, FileRefusal::TooManyNodes | FileRefusal::ParseTimeout), "{refusal:?}");
    }

    #[test]
    fn comments_of_every_language_are_known() {
        use LanguageName::{Bash, Go, JavaScript, Json, Python, Rust, Toml, Tsx, TypeScript, Yaml};
        let texts = [
            (Bash, "# c\n"),
            (Go, "package a\n// c\n"),
            (JavaScript, "// c\n"),
            (Json, "// c\n{}"),
            (Python, "# c\n"),
            (Rust, "/* c */\n"),
            (Toml, "# c\n"),
            (Tsx, "/* c */\n"),
            (TypeScript, "// c\n"),
            (Yaml, "# c\na: 1\n"),
        ];
        for (language, text) in texts {
            let parsed = parse(language, text).expect("small");
            assert!(parsed.root().dfs().any(|node| is_comment(&node)), "{language:?}");
        }
    }
}
