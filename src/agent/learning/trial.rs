//! Tries proposals on real files, in the process where patterns may run, and keeps the most general that holds.

use std::collections::BTreeMap;
use std::path::Path;

use super::{ALSO_HITS, Draft, History, LearnError, TESTS, is_test};
use crate::agent::authoring::washed;
use crate::domain::detect::{
    Detect, DetectLimits, ENGINE, Edit, Fix, FixCheck, FixClass, Negative, Positive, Rule, Scope, Tests,
};
use crate::domain::lesson::Lesson;
use crate::domain::limits;
use crate::ports::{Admission, Auditor, Mended};
use crate::scan::learn::{Learned, Proposal};
use crate::store::files;
use crate::sys::repo::history::ChangedFile;

/// What proposals are tried on.
pub(super) struct Material<'m> {
    pub(super) path: &'m str,
    pub(super) before: &'m str,
    pub(super) after: &'m str,
    pub(super) learned: &'m Learned,
    pub(super) old_tree: &'m [(String, String)],
    pub(super) new_tree: &'m [(String, String)],
    pub(super) past: &'m [Vec<ChangedFile>],
}

/// What a lesson is made of once its patterns are chosen.
pub(super) struct Found {
    pub(super) learned: Learned,
    pub(super) chosen: Vec<Proposal>,
    pub(super) detect: Detect,
    pub(super) fix: Fix,
    pub(super) tests: Tests,
}

/// What was seen of one proposal.
#[derive(Default)]
struct Seen {
    old_places: Vec<u32>,
    mended_place: bool,
    also: Vec<(String, u32)>,
    past: BTreeMap<usize, (usize, usize)>,
}

/// Chooses patterns, proves the lesson that `words` makes of them, and returns it as a draft.
pub(super) fn run(
    auditor: &mut dyn Auditor,
    work: &Path,
    material: &Material<'_>,
    words: impl Fn(&Found) -> Lesson,
) -> Result<Draft, LearnError> {
    let learned = material.learned;
    let found = |chosen: Vec<Proposal>, class| Found {
        detect: detect(material, &chosen),
        fix: fix(&chosen, class),
        tests: untried_tests(material),
        learned: learned.clone(),
        chosen,
    };
    let singles: Vec<Lesson> = learned
        .proposals
        .iter()
        .enumerate()
        .map(|(at, proposal)| {
            let mut single = words(&found(vec![proposal.clone()], FixClass::None));
            single.fix.edits.clear();
            single.fix.ensure_import.clear();
            single.id = format!("try-{at}").parse().expect("a plain name");
            single
        })
        .collect();
    let seen = survey(auditor, work, material, &singles)?;
    let holds = |at: &usize| {
        let seen = &seen[*at];
        seen.old_places.len() >= learned.places.len() && !seen.mended_place && seen.also.len() <= ALSO_HITS
    };
    let good: Vec<usize> = (0..learned.proposals.len()).filter(holds).collect();
    let best = |test: &dyn Fn(&Proposal) -> bool| good.iter().copied().rev().find(|at| test(&learned.proposals[*at]));
    let with_edit = best(&|proposal| proposal.template.is_some());
    let exact = best(&|proposal| proposal.exact);
    let wide = best(&|proposal| !proposal.exact).or(exact.filter(|exact| with_edit.is_some_and(|edit| edit < *exact)));
    let mut sets: Vec<Vec<usize>> = Vec::new();
    match (with_edit, wide) {
        (Some(edit), Some(wide)) => sets.extend([vec![edit, wide], vec![edit]]),
        (Some(edit), None) => sets.push(vec![edit]),
        (None, _) => {}
    }
    sets.extend([wide, exact].into_iter().flatten().map(|at| vec![at]));
    if sets.is_empty() {
        return Err(LearnError::NoPattern { why: why_none(&seen, learned.places.len()) });
    }
    let mut last = LearnError::NoPattern { why: "none was tried".to_owned() };
    for set in sets {
        let mut chosen: Vec<Proposal> = set.iter().map(|at| learned.proposals[*at].clone()).collect();
        if let [first, second] = &mut chosen[..]
            && first.rule.id == second.rule.id
        {
            second.rule.id = "same-shape".parse().expect("a constant slug");
        }
        match prove(auditor, work, material, found(chosen, FixClass::Safe), &words) {
            Ok((lesson, reproduces, doubt)) => {
                let mut also: Vec<(String, u32)> = set.iter().flat_map(|at| seen[*at].also.clone()).collect();
                also.sort();
                also.dedup();
                return Ok(Draft {
                    pattern: learned.proposals[set[0]].pattern.clone(),
                    example: (learned.examples.before.clone(), learned.examples.after.clone()),
                    history: history(material, &seen[*set.last().unwrap_or(&set[0])]),
                    commit: String::new(),
                    path: material.path.to_owned(),
                    lesson,
                    also,
                    reproduces,
                    doubt,
                    untried: 0,
                });
            }
            Err(error @ (LearnError::NoPattern { .. } | LearnError::NotAdmitted(_) | LearnError::Lesson(_))) => {
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn why_none(seen: &[Seen], places: usize) -> String {
    if seen.iter().all(|seen| seen.old_places.len() < places) {
        return "none hits the place that was fixed".to_owned();
    }
    if seen.iter().filter(|seen| seen.old_places.len() >= places).all(|seen| seen.mended_place) {
        return "each also hits the code after the fix".to_owned();
    }
    let least = seen.iter().map(|seen| seen.also.len()).min().unwrap_or_default();
    format!("the best one still hits {least} other places, which is more than a mistake would have")
}

fn history(material: &Material<'_>, seen: &Seen) -> History {
    let count = |test: fn(&(usize, usize)) -> bool| seen.past.values().filter(|counts| test(counts)).count();
    History {
        commits: material.past.len(),
        removed: count(|(before, after)| before > after),
        introduced: count(|(before, after)| before < after),
    }
}

/// Runs every proposal over the commit, its parent, and the commits before, all at once.
fn survey(
    auditor: &mut dyn Auditor,
    work: &Path,
    material: &Material<'_>,
    lessons: &[Lesson],
) -> Result<Vec<Seen>, LearnError> {
    let root = work.join("survey");
    for (side, tree) in [("old", material.old_tree), ("new", material.new_tree)] {
        for (path, text) in tree {
            put(&root.join(side), path, text)?;
        }
    }
    put(&root.join("old"), material.path, material.before)?;
    put(&root.join("new"), material.path, material.after)?;
    for (at, commit) in material.past.iter().enumerate() {
        for file in commit {
            for (side, text) in [("b", &file.before), ("a", &file.after)] {
                if let Some(text) = text {
                    put(&root.join(format!("past/{at}/{side}")), &file.path, text)?;
                }
            }
        }
    }
    let report = auditor.scan(&root, lessons, &mut |_| ())?;
    let mut seen: Vec<Seen> = lessons.iter().map(|_| Seen::default()).collect();
    if report.refused.len() == lessons.len()
        && let Some((_, why)) = report.refused.first()
    {
        return Err(LearnError::NotAdmitted(why.clone()));
    }
    for finding in &report.findings {
        let Some(at) = lessons.iter().position(|lesson| lesson.id == finding.lesson) else { continue };
        let seen = &mut seen[at];
        let overlaps = |(first, last): (u32, u32)| finding.line <= last && first <= finding.end_line;
        let places = &material.learned.places;
        if let Some(path) = finding.path.strip_prefix("old/") {
            if path == material.path {
                let hit = places.iter().filter(|(old, _)| overlaps(*old)).map(|(old, _)| old.0);
                seen.old_places.extend(hit);
                seen.old_places.sort_unstable();
                seen.old_places.dedup();
            }
        } else if let Some(path) = finding.path.strip_prefix("new/") {
            if path == material.path && places.iter().any(|(_, new)| overlaps(*new)) {
                seen.mended_place = true;
            } else {
                seen.also.push((path.to_owned(), finding.line));
            }
        } else if let Some((commit, rest)) = finding.path.strip_prefix("past/").and_then(|rest| rest.split_once('/')) {
            let counts = seen.past.entry(commit.parse().unwrap_or_default()).or_default();
            if rest.starts_with("b/") {
                counts.0 += 1;
            } else {
                counts.1 += 1;
            }
        }
    }
    Ok(seen)
}

/// Writes a text below `root`. Git holds no path that leads out.
fn put(root: &Path, path: &str, text: &str) -> Result<(), LearnError> {
    if path.split('/').any(|part| matches!(part, "" | "." | ".." | ".git")) {
        return Ok(());
    }
    let path = root.join(path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(files::FileError::io("make", folder))?;
    }
    Ok(std::fs::write(&path, text).map_err(files::FileError::io("write", &path))?)
}

fn detect(material: &Material<'_>, chosen: &[Proposal]) -> Detect {
    let exclude = if is_test(material.path) { Vec::new() } else { TESTS.map(str::to_owned).to_vec() };
    Detect {
        engine: ENGINE.to_owned(),
        scope: Scope { include: Vec::new(), exclude, languages: vec![material.learned.language] },
        requires_text: Vec::new(),
        rules: chosen.iter().map(|proposal| Rule::Ast(proposal.rule.clone())).collect(),
        when_repo: None,
        limits: DetectLimits::default(),
    }
}

fn fix(chosen: &[Proposal], class: FixClass) -> Fix {
    let edits: Vec<Edit> = chosen
        .iter()
        .filter_map(|proposal| {
            let template = Some(proposal.template.clone()?);
            Some(Edit { rule: proposal.rule.id.clone(), template, set: None })
        })
        .collect();
    let doubtful = chosen.iter().any(|proposal| proposal.template.is_some() && proposal.doubt.is_some());
    Fix {
        class: match class {
            FixClass::Safe if edits.is_empty() => FixClass::None,
            FixClass::Safe if doubtful => FixClass::Review,
            class => class,
        },
        ensure_import: chosen
            .iter()
            .filter(|proposal| proposal.template.is_some())
            .flat_map(|p| p.imports.clone())
            .collect(),
        edits,
        check: vec![FixCheck::Parse, FixCheck::Idempotent, FixCheck::Conserve],
        max_files: 5,
        max_lines: 60,
    }
}

/// The example's path: the name of the file, without the folders it is in.
fn example_path(material: &Material<'_>, stem: &str) -> String {
    let extension = material.path.rsplit('.').next().unwrap_or_default();
    format!("{stem}.{extension}")
}

/// Texts that may become examples, each with its name.
fn candidates(material: &Material<'_>) -> Vec<(String, String)> {
    let examples = &material.learned.examples;
    let mut texts = vec![("before", &examples.before), ("respelled", &examples.respelled)];
    let whole = material.before.to_owned();
    if whole.len() <= limits::TEST_BYTES {
        texts.push(("whole", &whole));
    }
    texts.extend(examples.crowded.iter().map(|text| ("crowded", text)));
    texts
        .into_iter()
        .enumerate()
        .map(|(at, (name, text))| {
            (
                example_path(
                    material,
                    &format!("{name}{}", if name == "crowded" { at.to_string() } else { String::new() }),
                ),
                washed(text),
            )
        })
        .filter(|(_, text)| text.len() <= limits::TEST_BYTES)
        .collect()
}

fn nearly(material: &Material<'_>) -> Vec<(String, String)> {
    let examples = &material.learned.examples;
    let near = examples.near_misses.iter().enumerate().map(|(at, text)| (format!("near{at}"), text));
    std::iter::once(("repaired".to_owned(), &examples.after))
        .chain(near)
        .map(|(name, text)| (example_path(material, &name), washed(text)))
        .filter(|(_, text)| text.len() <= limits::TEST_BYTES)
        .collect()
}

/// Placeholders with which a lesson passes the static limits before it was tried.
fn untried_tests(material: &Material<'_>) -> Tests {
    let path = example_path(material, "untried");
    let positive =
        Positive { path: path.clone(), code: "x".to_owned(), count: 1, at: vec![], fixed: None, fix_refused: true };
    let negative = Negative { path, code: "x".to_owned() };
    Tests { positive: vec![positive.clone(), positive], negative: vec![negative.clone(), negative] }
}

/// The lines of a text without white space, sorted: an import may stand elsewhere.
fn lines_of(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort_unstable();
    lines
}

/// Finds out which examples hold, writes them into the lesson, and has it admitted.
fn prove(
    auditor: &mut dyn Auditor,
    work: &Path,
    material: &Material<'_>,
    mut found: Found,
    words: &impl Fn(&Found) -> Lesson,
) -> Result<(Lesson, bool, Option<String>), LearnError> {
    let mut doubt = found.chosen.first().and_then(|proposal| proposal.doubt.clone());
    let trial = words(&found);
    trial.check()?;
    let root = work.join(format!(
        "examples-{}",
        found.chosen.iter().map(|p| format!("{:?}", p.rule.confidence)).collect::<String>()
    ));
    let (hits, misses) = (candidates(material), nearly(material));
    for (path, text) in hits.iter().chain(&misses) {
        put(&root, path, text)?;
    }
    let report = auditor.scan(&root, std::slice::from_ref(&trial), &mut |_| ())?;
    let lines = |path: &str| -> Vec<u32> {
        report.findings.iter().filter(|finding| finding.path == path).map(|finding| finding.line).collect()
    };
    let mut tests = Tests { positive: Vec::new(), negative: Vec::new() };
    let plain = |path: &str| path.starts_with("before.") || path.starts_with("respelled.");
    let mut odd = Vec::new();
    for (path, code) in &hits {
        let at = lines(path);
        let enough = tests.positive.len() >= 2 && path.starts_with("whole.");
        if at.is_empty() || enough || tests.positive.len() > 4 {
            continue;
        }
        let (mut fixed, mut fix_refused) = (None, false);
        if !found.fix.edits.is_empty() {
            match auditor.mend(&trial, path, code, None)? {
                Mended::Text(text) if text.len() <= limits::TEST_BYTES => fixed = Some(text),
                Mended::Text(_) => continue,
                Mended::Refused(why) => {
                    fix_refused = true;
                    if plain(path) {
                        odd.push(why);
                    }
                }
                Mended::Nothing => fix_refused = true,
            }
        }
        let count = u32::try_from(at.len()).unwrap_or(u32::MAX);
        tests.positive.push(Positive { path: path.clone(), code: code.clone(), count, at, fixed, fix_refused });
    }
    for (path, code) in &misses {
        let repaired = path.starts_with("repaired.");
        if !lines(path).is_empty() {
            if repaired {
                return Err(LearnError::NoPattern { why: "the code after the fix is still hit".to_owned() });
            }
            continue;
        }
        if tests.negative.len() < 3 {
            tests.negative.push(Negative { path: path.clone(), code: code.clone() });
        }
    }
    if tests.positive.len() < 2 || !hits.iter().any(|(path, _)| plain(path) && !lines(path).is_empty()) {
        return Err(LearnError::NoPattern { why: "it holds in the file but not in an example made of it".to_owned() });
    }
    if tests.negative.len() < 2 {
        let path = example_path(material, "fixed");
        let fixed = tests.positive.iter().find_map(|positive| positive.fixed.clone()).unwrap_or_default();
        tests.negative.push(Negative { path, code: fixed });
    }
    let mut reproduces = false;
    if !found.fix.edits.is_empty() {
        if let Some(why) = odd.pop() {
            return Err(LearnError::NoPattern { why: format!("its fix is refused: {why}") });
        }
        reproduces = match auditor.mend(&trial, material.path, material.before, None)? {
            Mended::Text(text) => lines_of(&text) == lines_of(material.after),
            Mended::Refused(_) | Mended::Nothing => false,
        };
        if !reproduces && found.fix.class == FixClass::Safe {
            found.fix.class = FixClass::Review;
            doubt = doubt.or(Some("it does not make of the old file exactly what the commit made of it".to_owned()));
        }
    }
    found.tests = tests;
    let lesson = words(&found);
    lesson.check()?;
    match auditor.admit(&lesson)? {
        Admission::Admitted => Ok((lesson, reproduces, doubt)),
        Admission::Refused(why) => Err(LearnError::NotAdmitted(why)),
    }
}
