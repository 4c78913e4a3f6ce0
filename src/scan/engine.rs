//! The compiled lessons and the scan of one file.

use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;
use std::time::Duration;

use crate::domain::detect::LanguageName;
use crate::domain::finding::{Finding, Fingerprint};
use crate::domain::id::Slug;
use crate::domain::lesson::Lesson;
use crate::domain::limits;
use crate::domain::words::{WordDemand, WordDemands, Words};

use super::compile::{Asked, Body, CompiledLesson, CompiledRule, compile};
use super::config;
use super::error::{CompileError, FileRefusal};
use super::filter::Filter;
use super::hit::Hit;
use super::needs::Needs;
use super::parse::{Trees, cpu_time};
use super::place::Lines;
use super::scope::SharedGlobs;
use super::suppress::{self, Mark};

/// The processor time of one thread after which its scan stops: on a loaded host, waiting costs nobody a scan.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Duration,
    /// Another thread has another clock.
    of_this_thread: PhantomData<*const ()>,
}

impl Deadline {
    /// The deadline that is `limit` from now, for this thread.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self { at: cpu_time() + limit, of_this_thread: PhantomData }
    }

    /// True once it has passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        cpu_time() >= self.at
    }
}

/// The rules that care about a file because of its path, and of its identifiers once it was narrowed.
#[derive(Clone, Debug)]
pub struct Interest {
    rules: Vec<usize>,
}

/// The rules that can match a file because of its text, and whether to look for suppression comments.
#[derive(Clone, Debug)]
pub struct Candidates {
    rules: Vec<usize>,
    marks: bool,
}

impl Candidates {
    pub(super) const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// What was found in one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileReport {
    /// By position; suppressed ones included and marked. Rules that a `when_repo` names are conditions
    /// and have no findings. At most one more per lesson than [`limits::FINDINGS_PER_LESSON`].
    pub findings: Vec<Finding>,
    /// Every (lesson, rule) that matches here, suppressed or not: what `when_repo` is judged by.
    pub matched: Vec<(Slug, Slug)>,
    /// Comments that suppress nothing: their line, from 1, and why.
    pub idle_suppressions: Vec<(u32, String)>,
    /// True when the file was parsed.
    pub parsed: bool,
}

/// A compiled set of lessons. Compile once, share by reference between threads.
pub struct Engine {
    lessons: Vec<CompiledLesson>,
    rules: Vec<CompiledRule>,
    globs: SharedGlobs,
    /// By language and node kind, the syntax rules that can match there.
    kinds: HashMap<LanguageName, Vec<Vec<usize>>>,
    filter: Filter,
    /// By rule, and last of a suppression comment.
    words: Vec<WordDemand>,
    demands: WordDemands,
}

/// A scan before it is a report: what was matched, with its edits.
pub(super) struct Scan {
    /// By position, then rule; one for each range and lesson; conditions left out. Same order as `findings`.
    pub(super) hits: Vec<Hit>,
    pub(super) report: FileReport,
}

impl Engine {
    /// Compiles; a lesson that does not compile is left out and named.
    #[must_use]
    pub fn compile(lessons: &[Lesson]) -> (Self, Vec<(Slug, CompileError)>) {
        let mut engine = Self {
            lessons: Vec::new(),
            rules: Vec::new(),
            globs: SharedGlobs::default(),
            kinds: HashMap::new(),
            filter: Filter::default(),
            words: Vec::new(),
            demands: WordDemands::default(),
        };
        let (mut refused, mut all_needs) = (Vec::new(), Vec::new());
        for lesson in lessons {
            match compile(lesson, engine.lessons.len(), &mut engine.globs) {
                Ok((lesson, rules)) => {
                    engine.lessons.push(lesson);
                    for (rule, needs) in rules {
                        engine.rules.push(rule);
                        all_needs.push(needs);
                    }
                }
                Err(error) => refused.push((lesson.id.clone(), error)),
            }
        }
        for (at, rule) in engine.rules.iter().enumerate() {
            if let Body::Syntax(syntax) = &rule.body {
                let by_kind = engine.kinds.entry(syntax.language).or_default();
                for kind in syntax.kinds() {
                    if by_kind.len() <= kind {
                        by_kind.resize(kind + 1, Vec::new());
                    }
                    by_kind[kind].push(at);
                }
            }
        }
        engine.filter = Filter::build(&all_needs);
        engine.words = all_needs.iter().map(Needs::words).chain([suppress::words()]).collect();
        engine.demands = WordDemands::of(&engine.words);
        (engine, refused)
    }

    /// Which rules care about a file at this root-relative path (parts by `/`), before it is read.
    /// `None`: nobody.
    #[must_use]
    pub fn interest(&self, path: &str) -> Option<Interest> {
        let asked = Asked::of(path, &self.globs);
        let looks = |(_, rule): &(usize, &CompiledRule)| self.lessons[rule.lesson].looks_at(rule, &asked);
        let rules: Vec<usize> = self.rules.iter().enumerate().filter(looks).map(|(at, _)| at).collect();
        (!rules.is_empty()).then_some(Interest { rules })
    }

    /// Leaves of those the ones that a text with these identifiers can concern. `None`: nobody, and no suppression comment
    /// is there.
    #[must_use]
    pub fn narrow(&self, interest: Interest, words: &Words) -> Option<Interest> {
        let met = self.demands.met_by(words);
        let rules: Vec<usize> = interest.rules.into_iter().filter(|rule| met[*rule]).collect();
        (!rules.is_empty() || met.last() == Some(&true)).then_some(Interest { rules })
    }

    /// The literal filter: which of those can match these bytes at all. `None`: no need to scan.
    #[must_use]
    pub fn candidates(&self, interest: &Interest, bytes: &[u8]) -> Option<Candidates> {
        let present = self.filter.search(bytes);
        let allowed = |rule: &usize| self.filter.allows(*rule, &present);
        let rules: Vec<usize> = interest.rules.iter().copied().filter(allowed).collect();
        (present.marker || !rules.is_empty()).then_some(Candidates { rules, marks: present.marker })
    }

    /// What each rule demands of the identifiers of a file, and what a suppression comment does. A file that meets none of these
    /// need not be scanned.
    #[must_use]
    pub fn word_demands(&self) -> &[WordDemand] {
        &self.words
    }

    /// As [`Self::candidates`] without the filter, for the proof that the filter loses nothing.
    #[must_use]
    pub fn all_candidates(&self, interest: &Interest) -> Candidates {
        Candidates { rules: interest.rules.clone(), marks: true }
    }

    /// The rules that read a language, or those that read plain lines.
    pub(super) fn reading(&self, language: Option<LanguageName>) -> Candidates {
        let reads = |rule: &CompiledRule| match &rule.body {
            Body::Syntax(syntax) => Some(syntax.language) == language,
            Body::Config(matcher) => config::language(matcher.format) == language,
            Body::Line(_) => language.is_none(),
        };
        let rules = (0..self.rules.len()).filter(|at| reads(&self.rules[*at])).collect();
        Candidates { rules, marks: false }
    }

    /// Matches all candidate rules; parses at most once per language.
    ///
    /// # Errors
    /// The file cannot be scanned to its end by `deadline` or within the file limits.
    pub fn scan(
        &self,
        path: &str,
        text: &str,
        candidates: &Candidates,
        deadline: Deadline,
    ) -> Result<FileReport, FileRefusal> {
        self.look(path, text, candidates, deadline, false).map(|scan| scan.report)
    }

    /// As [`Self::scan`], keeping the matches, with their edits when asked.
    pub(super) fn look(
        &self,
        path: &str,
        text: &str,
        candidates: &Candidates,
        deadline: Deadline,
        edits: bool,
    ) -> Result<Scan, FileRefusal> {
        if text.contains('\0') {
            return Err(FileRefusal::NotText);
        }
        let lines = Lines::of(text);
        let mut trees = Trees::new(text);
        let mut taken =
            Taken { engine: self, hits: Vec::new(), per_lesson: vec![0; self.lessons.len()], matched: HashSet::new() };
        let mut languages: Vec<LanguageName> = Vec::new();
        let mut wanted = vec![false; self.rules.len()];
        for &at in &candidates.rules {
            let rule = &self.rules[at];
            let overrun = || FileRefusal::Overrun { lesson: Some(self.lessons[rule.lesson].id.clone()) };
            match &rule.body {
                Body::Syntax(syntax) => {
                    wanted[at] = true;
                    if !languages.contains(&syntax.language) {
                        languages.push(syntax.language);
                    }
                }
                Body::Line(line) => {
                    line.each(at, &lines, edits, deadline, |hit| taken.take(hit)).map_err(|()| overrun())?;
                }
                Body::Config(matcher) => {
                    if let Some(hit) = matcher.find(at, text, &lines, &mut trees, edits)? {
                        taken.take(hit);
                    }
                    if deadline.passed() {
                        return Err(overrun());
                    }
                }
            }
        }
        for language in languages {
            self.walk(language, &wanted, &mut trees, deadline, edits, &mut taken)?;
        }
        let marks = if candidates.marks && text.contains("-ignore") {
            self.marks(path, text, &lines, &mut trees)?
        } else {
            Vec::new()
        };
        Ok(self.report(path, text, &lines, taken, marks, trees.any().is_some()))
    }

    /// One walk over a tree; at each node the rules that can match its kind.
    fn walk(
        &self,
        language: LanguageName,
        wanted: &[bool],
        trees: &mut Trees<'_>,
        deadline: Deadline,
        edits: bool,
        taken: &mut Taken<'_>,
    ) -> Result<(), FileRefusal> {
        let Some(by_kind) = self.kinds.get(&language) else { return Ok(()) };
        let rules = |kind: u16| by_kind.get(usize::from(kind)).into_iter().flatten().filter(|at| wanted[**at]);
        let tree = trees.take(language)?;
        let nodes = tree.pick(|kind| rules(kind).next().is_some())?;
        if deadline.passed() {
            return Err(FileRefusal::Overrun { lesson: None });
        }
        let mut tried = 0_u32;
        for node in &nodes {
            for &at in rules(node.kind_id()) {
                let Body::Syntax(syntax) = &self.rules[at].body else { continue };
                if let Some(hit) = syntax.at(at, node, edits) {
                    taken.take(hit);
                }
                tried = tried.wrapping_add(1);
                if tried.is_multiple_of(8) && deadline.passed() {
                    let lesson = self.lessons[self.rules[at].lesson].id.clone();
                    return Err(FileRefusal::Overrun { lesson: Some(lesson) });
                }
            }
        }
        drop(nodes);
        trees.give_back(language, tree);
        Ok(())
    }

    fn marks(
        &self,
        path: &str,
        text: &str,
        lines: &Lines<'_>,
        trees: &mut Trees<'_>,
    ) -> Result<Vec<Mark>, FileRefusal> {
        if !suppress::MARKERS.iter().any(|marker| text.contains(marker)) {
            return Ok(Vec::new());
        }
        match LanguageName::of_path(path).or_else(|| trees.any()) {
            Some(language) => Ok(suppress::in_tree(trees.get(language)?, text, lines)),
            None => Ok(suppress::in_lines(text, lines)),
        }
    }

    fn report(
        &self,
        path: &str,
        text: &str,
        lines: &Lines<'_>,
        taken: Taken<'_>,
        mut marks: Vec<Mark>,
        parsed: bool,
    ) -> Scan {
        let Taken { mut hits, matched, .. } = taken;
        hits.sort_by_key(|hit| (hit.range.start, hit.range.end, hit.rule));
        let mut seen = HashSet::new();
        hits.retain(|hit| seen.insert((hit.range.clone(), self.rules[hit.rule].lesson)));
        let mut occurrences: HashMap<(usize, String), u32> = HashMap::new();
        let mut findings = Vec::with_capacity(hits.len());
        for hit in &hits {
            let rule = &self.rules[hit.rule];
            let lesson = &self.lessons[rule.lesson].id;
            let matched = text.get(hit.range.clone()).unwrap_or_default();
            let folded = matched.split_whitespace().collect::<Vec<_>>().join(" ");
            let occurrence = occurrences.entry((hit.rule, folded)).or_insert(0);
            findings.push(Finding {
                lesson: lesson.clone(),
                rule: rule.id.clone(),
                severity: rule.severity,
                confidence: rule.confidence,
                path: path.to_owned(),
                line: lines.line(hit.range.start),
                column: lines.column(hit.range.start),
                end_line: lines.end_line(&hit.range),
                message: hit.message.clone(),
                fingerprint: Fingerprint::of(lesson, &rule.id, path, matched, *occurrence),
                suppressed: None,
            });
            *occurrence += 1;
        }
        suppress::apply(&mut marks, &mut findings);
        let known = |slug: &Slug| self.lessons.iter().any(|lesson| lesson.id == *slug);
        let mut matched: Vec<usize> = matched.into_iter().collect();
        matched.sort_unstable();
        let name = |at: usize| (self.lessons[self.rules[at].lesson].id.clone(), self.rules[at].id.clone());
        let report = FileReport {
            findings,
            matched: matched.into_iter().map(name).collect(),
            idle_suppressions: suppress::idle(&marks, known),
            parsed,
        };
        Scan { hits, report }
    }
}

/// The matches of one file so far.
struct Taken<'e> {
    engine: &'e Engine,
    hits: Vec<Hit>,
    per_lesson: Vec<u32>,
    matched: HashSet<usize>,
}

impl Taken<'_> {
    /// Keeps a match; false when its rule has nothing more to say about this file.
    fn take(&mut self, hit: Hit) -> bool {
        let rule = &self.engine.rules[hit.rule];
        self.matched.insert(hit.rule);
        if rule.condition {
            return false;
        }
        let count = &mut self.per_lesson[rule.lesson];
        *count += 1;
        // One more than is ever reported, so that the caller sees that it is cut.
        if *count > limits::FINDINGS_PER_LESSON + 1 {
            return false;
        }
        self.hits.push(hit);
        true
    }
}
