//! A lesson as compiled rules.

use std::collections::HashSet;

use crate::domain::admission;
use crate::domain::detect::extension;
use crate::domain::detect::{Confidence, LanguageName, Rule};
use crate::domain::id::Slug;
use crate::domain::lesson::{Lesson, Severity};

use super::config::{self, ConfigMatcher};
use super::error::CompileError;
use super::line_rule::LineRule;
use super::needs::{self, Atom, Group, Needs};
use super::scope::{Matched, SharedGlobs};
use super::syntax::SyntaxRule;

/// A compiled lesson, without its rules.
pub(super) struct CompiledLesson {
    pub(super) id: Slug,
    /// Which of the engine's globs.
    include: usize,
    exclude: usize,
    languages: Vec<LanguageName>,
}

/// A compiled rule.
pub(super) struct CompiledRule {
    /// Its lesson, by its place in the engine.
    pub(super) lesson: usize,
    pub(super) id: Slug,
    pub(super) severity: Severity,
    pub(super) confidence: Confidence,
    /// A `when_repo` names it: it says whether others count and reports nothing itself.
    pub(super) condition: bool,
    pub(super) body: Body,
}

/// What a rule matches with.
pub(super) enum Body {
    Syntax(SyntaxRule),
    Line(LineRule),
    Config(ConfigMatcher),
}

/// Compiles a lesson after checking its static limits: what those refuse could end this process.
pub(super) fn compile(
    lesson: &Lesson,
    place: usize,
    globs: &mut SharedGlobs,
) -> Result<(CompiledLesson, Vec<(CompiledRule, Needs)>), CompileError> {
    admission::check(&lesson.detect, &lesson.fix, &lesson.tests)?;
    let detect = &lesson.detect;
    let conditions: HashSet<&Slug> =
        detect.when_repo.iter().flat_map(|when| when.any_file.iter().chain(&when.no_file)).collect();
    let hint: Vec<Group> = detect
        .requires_text
        .iter()
        .map(|group| group.iter().map(|text| Atom::AnyCase(text.clone())).collect())
        .collect();
    let mut rules = Vec::with_capacity(detect.rules.len());
    for rule in &detect.rules {
        let edit = |id: &Slug| lesson.fix.edits.iter().find(|edit| edit.rule == *id);
        let template = |id: &Slug| edit(id).and_then(|edit| edit.template.as_deref());
        let (id, severity, confidence, body, mut needs) = match rule {
            Rule::Ast(rule) => {
                let body = Body::Syntax(SyntaxRule::compile(rule, template(&rule.id))?);
                (&rule.id, rule.severity, rule.confidence, body, needs::of_syntax(rule))
            }
            Rule::Regex(rule) => {
                let body = Body::Line(LineRule::compile(rule, template(&rule.id))?);
                (&rule.id, rule.severity, rule.confidence, body, needs::of_regex(&rule.pattern))
            }
            Rule::Config(rule) => {
                let set = edit(&rule.id).and_then(|edit| edit.set.as_ref());
                let body = Body::Config(ConfigMatcher::compile(rule, set)?);
                (&rule.id, rule.severity, rule.confidence, body, Needs::default())
            }
        };
        needs.groups.extend(hint.iter().cloned());
        rules.push((
            CompiledRule {
                lesson: place,
                id: id.clone(),
                severity: severity.unwrap_or(lesson.severity),
                confidence,
                condition: conditions.contains(id),
                body,
            },
            needs,
        ));
    }
    let compiled = CompiledLesson {
        id: lesson.id.clone(),
        include: globs.compile(&detect.scope.include)?,
        exclude: globs.compile(&detect.scope.exclude)?,
        languages: detect.scope.languages.clone(),
    };
    Ok((compiled, rules))
}

/// What is asked of a path once, whatever the number of rules.
pub(super) struct Asked<'p> {
    language: Option<LanguageName>,
    extension: &'p str,
    globs: Matched<'p>,
}

impl<'p> Asked<'p> {
    pub(super) fn of(path: &'p str, globs: &'p SharedGlobs) -> Self {
        Self { language: LanguageName::of_path(path), extension: extension(path), globs: globs.at(path) }
    }
}

impl CompiledLesson {
    /// Whether a rule of this lesson looks at a path.
    pub(super) fn looks_at(&self, rule: &CompiledRule, asked: &Asked<'_>) -> bool {
        let include = asked.globs.of(self.include);
        let included = || include.is_empty() || asked.globs.matches(self.include);
        // A file whose name says no language is read as the rule's own when the lesson names it.
        let unnamed = || asked.language.is_none() && include.names_files() && asked.globs.matches(self.include);
        let mine = match &rule.body {
            Body::Syntax(syntax) => (asked.language == Some(syntax.language) && included()) || unnamed(),
            Body::Line(_) if include.is_empty() && !self.languages.is_empty() => {
                asked.language.is_some_and(|language| self.languages.contains(&language))
            }
            Body::Line(_) => included(),
            Body::Config(matcher) if include.is_empty() => {
                config::extensions(matcher.format).contains(&asked.extension)
            }
            Body::Config(_) => included(),
        };
        mine && !asked.globs.matches(self.exclude)
    }
}
