//! From a region with holes to a syntax rule.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Value, json};

use crate::domain::detect::{AstRule, Confidence, LanguageName};

use super::holes::{self, Holes, Level};
use super::kinds;
use super::names::is_called;
use super::pattern::pattern;
use super::region::Region;
use super::template::{self, Template, template};
use super::tree::Id;
use super::{LearnRefusal, Proposal, Sides};

/// How much a pattern must name: a called name counts two, a keyword one.
const SUBSTANCE: usize = 2;
/// Most calls of the fix that tell mended code from code that is not.
const TELLTALES: usize = 3;

impl Sides<'_> {
    /// The smallest region around this one that can be looked for.
    pub(super) fn grown(&self, mut region: Region) -> Result<Region, LearnRefusal> {
        let line = self.before.lines(&self.before.node(region.before).range).0;
        loop {
            region = self.unwrapped(region);
            let node = self.before.node(region.before);
            let part = kinds::is_callee_field(node.field())
                || self.before.parent(region.before).is_some_and(|parent| kinds::is_chain(self.before.kind(parent)));
            let fits = kinds::can_be_root(&node.kind) && node.named && !node.children.is_empty() && !part;
            if fits {
                let holes = self.holes(&region, Level::Exact);
                if self.substance(&region, &holes) >= SUBSTANCE && self.pattern(&region, &holes, "cst").is_some() {
                    return Ok(region);
                }
            }
            region = match region.lifted(self.before, self.after) {
                Some(lifted) => lifted,
                None if fits => return Err(LearnRefusal::TooCommon { line }),
                None => return Err(LearnRefusal::NoPattern { line }),
            };
        }
    }

    /// A statement that is only an expression on both sides is that expression.
    fn unwrapped(&self, mut region: Region) -> Region {
        while let ([only], [one]) = (self.before.children(region.before), &region.after[..])
            && let [other] = self.after.children(*one)
            && self.before.kind(region.before) == self.after.kind(*one)
            && self.before.node(*only).named
            && !self.before.is_leaf(*only)
            && kinds::can_be_root(self.before.kind(*only))
        {
            region = Region { before: *only, after: vec![*other], ..region.clone() };
        }
        region
    }

    fn holes(&self, region: &Region, level: Level) -> Holes {
        let apart = self.meeting(region).map(|meeting| meeting.names).unwrap_or_default();
        holes::find(self.before, self.after, &self.names, region, level, &apart)
    }

    fn substance(&self, region: &Region, holes: &Holes) -> usize {
        let hidden = |id: Id| {
            let range = &self.before.node(id).range;
            holes.before.iter().any(|(hole, _)| hole.start <= range.start && range.end <= hole.end)
        };
        let shown = region.old_nodes(self.before).filter(|id| !hidden(*id));
        shown
            .map(|id| match self.before.node(id) {
                node if !self.before.is_leaf(id) => {
                    let empty = kinds::is_collection(&node.kind) && self.before.named_children(id).next().is_none();
                    usize::from(empty || *node.kind == *"default_parameter")
                }
                node if node.named
                    && (node.kind.ends_with("identifier")
                        || *node.kind == *"command_name"
                        || *node.kind == *"word") =>
                {
                    2
                }
                _ if self.before.text_of(id).chars().all(char::is_alphabetic) => 1,
                // Of a few statements together, that each changes what it names says something.
                _ if !region.run.is_empty() && is_update(self.before.text_of(id)) => 1,
                _ => 0,
            })
            .sum()
    }

    fn pattern_text(&self, region: &Region, holes: &Holes) -> String {
        let texts: Vec<String> = region.statements().map(|id| self.text_with(id, holes)).collect();
        texts.join("\n")
    }

    fn text_with(&self, id: Id, holes: &Holes) -> String {
        self.before.dedented(&self.before.node(id).range, &holes.before)
    }

    fn pattern(&self, region: &Region, holes: &Holes, strictness: &str) -> Option<Value> {
        pattern(self.language, self.before.kind(region.before), &self.text_with(region.before, holes), strictness)
    }

    /// One statement and, after it in the same list, the others.
    fn sequence(&self, region: &Region, holes: &Holes) -> Option<Value> {
        let mut rule: Option<Value> = None;
        for id in region.statements().rev() {
            let one = pattern(self.language, self.before.kind(id), &self.text_with(id, holes), "cst")?;
            let mut all = vec![json!({ "pattern": one })];
            if let Some((_, kind)) = holes.way_out.as_ref().filter(|(statement, _)| *statement == id) {
                all.push(json!({ "has": { "stopBy": "end", "kind": kind } }));
            }
            all.extend(rule.take().map(|next| json!({ "precedes": { "stopBy": "end", "all": [next] } })));
            rule = Some(if all.len() == 1 { all.remove(0) } else { json!({ "all": all }) });
        }
        rule
    }

    /// The pattern, once in each style of quotes for the strings that it names.
    fn patterns(&self, region: &Region, holes: &Holes, strictness: &str) -> Option<Value> {
        use LanguageName::{JavaScript, Python, Tsx, TypeScript};
        if !region.run.is_empty() {
            return self.sequence(region, holes);
        }
        let one = self.pattern(region, holes, strictness)?;
        let quotes = matches!(self.language, JavaScript | Python | Tsx | TypeScript);
        let mut replaced = holes.before.clone();
        for literal in holes.literals.iter().filter(|_| quotes) {
            let text = &self.before.text[literal.clone()];
            let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
            if inner.contains(['"', '\'', '\\']) {
                continue;
            }
            match text.as_bytes().first() {
                Some(b'"') => replaced.push((literal.clone(), format!("'{inner}'"))),
                Some(b'\'') => replaced.push((literal.clone(), format!("\"{inner}\""))),
                _ => {}
            }
        }
        if replaced.len() == holes.before.len() {
            return Some(json!({ "pattern": one }));
        }
        replaced.sort_by_key(|(range, _)| range.start);
        let text = self.before.dedented(&self.before.node(region.before).range, &replaced);
        let other = pattern(self.language, self.before.kind(region.before), &text, strictness);
        Some(match other {
            Some(other) => json!({ "any": [{ "pattern": one }, { "pattern": other }] }),
            None => json!({ "pattern": one }),
        })
    }

    /// A rule that accounts for every token, with the edit where there can be one.
    pub(super) fn narrow(&self, region: &Region, level: Level, guarded: bool) -> Option<Proposal> {
        let holes = self.holes(region, level);
        if self.substance(region, &holes) < SUBSTANCE || holes.comments {
            return None;
        }
        let mut all = vec![self.patterns(region, &holes, "cst")?];
        all.extend(self.demands(region, &holes));
        all.extend(self.handler(region));
        all.extend(self.wrapped(region));
        all.extend(self.meeting(region).and_then(|meeting| self.met(&meeting, &holes)));
        if guarded {
            all.extend(self.telltales(region));
        }
        let made = match self.also_added {
            true => Err("the commit also adds something beside it".to_owned()),
            false => template(self.language, (self.before, self.after), &self.names, &self.after_names, region, &holes),
        };
        let mut doubt = None;
        let template = match made {
            Ok(template) => {
                doubt = self.doubt(&template);
                all.extend(self.guards(region, &template));
                Some(template)
            }
            Err(why) => {
                doubt = doubt.or(Some(why));
                None
            }
        };
        let confidence = if level == Level::Loose { Confidence::Medium } else { Confidence::High };
        Some(self.proposal(region, &holes, all, template, doubt, ("as-fixed", confidence, true)))
    }

    /// A rule that also takes further statements and arguments, for a person to look at.
    pub(super) fn wide(&self, region: &Region, level: Level) -> Option<Proposal> {
        let mut holes = self.holes(region, level);
        if self.substance(region, &holes) < SUBSTANCE || !region.run.is_empty() {
            return None;
        }
        let mut inner = Vec::new();
        if self.language == LanguageName::Python {
            inner = self.emptied(region, &mut holes);
        } else {
            let open = self.opened(region, &holes);
            holes.before.extend(open);
        }
        holes.before.sort_by_key(|(range, _)| (range.start, range.end));
        let mut all = vec![self.patterns(region, &holes, "relaxed")?];
        all.extend(inner);
        all.extend(self.demands(region, &holes));
        all.extend(self.handler(region));
        all.extend(self.wrapped(region));
        all.extend(self.meeting(region).and_then(|meeting| self.met(&meeting, &holes)));
        all.extend(self.telltales(region));
        let doubt = Some("other statements, arguments or comments stand between".to_owned());
        Some(self.proposal(region, &holes, all, None, doubt, ("same-shape", Confidence::Medium, false)))
    }

    /// Takes the calls out of the statement's own list of statements, and asks for each to be somewhere in it: the
    /// matcher knows no way to have any number of others around them in a list without brackets.
    fn emptied(&self, region: &Region, holes: &mut Holes) -> Vec<Value> {
        let blocks: Vec<Id> = self
            .before
            .named_children(region.before)
            .filter(|id| kinds::is_block(self.before.kind(*id)) && self.before.node(*id).field() == Some("body"))
            .collect();
        let [block] = blocks[..] else { return Vec::new() };
        let mut rules = Vec::new();
        for statement in self.before.named_children(block).filter(|id| !self.before.is_comment(*id)) {
            let mut node = statement;
            while let [only] = self.before.children(node) {
                node = *only;
            }
            let range = self.before.node(node).range.clone();
            let text = self.before.dedented(&range, &holes.before);
            let call = kinds::is_call(self.before.kind(node));
            let Some(pattern) = pattern(self.language, self.before.kind(node), &text, "relaxed").filter(|_| call)
            else {
                return Vec::new();
            };
            rules.push(json!({ "has": { "stopBy": "end", "pattern": pattern } }));
        }
        let range = self.before.node(block).range.clone();
        holes.before.retain(|(hole, _)| hole.end <= range.start || hole.start >= range.end);
        holes.before.push((range, "$$$".to_owned()));
        rules
    }

    /// Room for further statements at both ends of each list of statements in the region.
    fn opened(&self, region: &Region, holes: &Holes) -> Vec<(Range<usize>, String)> {
        let text = &self.before.text;
        let lead = |at: usize| {
            let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
            let line = &text[start..];
            &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
        };
        let base = lead(self.before.node(region.before).range.start).len();
        let mut room = Vec::new();
        let blocks = self.before.below(region.before).filter(|id| {
            // In Rust a lone name is no statement, and so no hole for any number of them.
            *id != region.before && kinds::is_block(self.before.kind(*id)) && self.language != LanguageName::Rust
        });
        for block in blocks {
            let statements: Vec<Id> = self
                .before
                .named_children(block)
                .filter(|id| !self.before.is_comment(*id) && !kinds::is_block(self.before.kind(*id)))
                .collect();
            let (Some(first), Some(last)) = (statements.first(), statements.last()) else { continue };
            let (start, end) = (self.before.node(*first).range.start, self.before.node(*last).range.end);
            let own_line = text[..start].trim_end_matches([' ', '\t']).ends_with('\n');
            let hole = |at: usize, name: &str| {
                holes.before.iter().any(|(range, with)| with.starts_with(name) && range.start <= at && at <= range.end)
            };
            if !own_line || hole(start, "$$$BODY") || hole(end, "$$$BODY") {
                continue;
            }
            let indent = lead(start).get(base..).unwrap_or_default();
            room.push((start..start, format!("$$$\n{indent}")));
            room.push((end..end, format!("\n{indent}$$$")));
        }
        room
    }

    fn proposal(
        &self,
        region: &Region,
        holes: &Holes,
        mut all: Vec<Value>,
        template: Option<Template>,
        doubt: Option<String>,
        (id, confidence, exact): (&str, Confidence, bool),
    ) -> Proposal {
        let rule = if all.len() == 1 { all.remove(0) } else { json!({ "all": all }) };
        let text = self.pattern_text(region, holes);
        let shown = template::first_line(&text);
        let constraints: BTreeMap<String, Value> = holes.constraints.clone();
        Proposal {
            rule: AstRule {
                id: id.parse().expect("a constant slug"),
                language: self.language,
                rule,
                constraints,
                utils: BTreeMap::new(),
                severity: None,
                confidence,
                message: format!(
                    "`{}` has the form of a mistake that was fixed",
                    shown.trim_end_matches([':', '{', ' '])
                ),
            },
            pattern: text,
            imports: template.as_ref().map(|template| template.imports.clone()).unwrap_or_default(),
            template: template.map(|template| template.text),
            doubt,
            exact,
        }
    }

    /// Options that the open end of a list must still hold.
    fn demands(&self, region: &Region, holes: &Holes) -> Vec<Value> {
        let one = |demand: &holes::Demand| {
            let list = self
                .before
                .children(demand.call)
                .iter()
                .copied()
                .find(|id| kinds::is_arguments(self.before.kind(*id)))?;
            let (call, list) = (self.before.node(demand.call).range.clone(), self.before.node(list).range.clone());
            let hidden: Vec<_> = holes.before.iter().filter(|(range, _)| range.end <= list.start).cloned().collect();
            let callee = self.before.dedented(&(call.start..list.start), &hidden);
            let text = format!("{callee}({})", demand.arguments);
            let pattern = pattern(self.language, self.before.kind(demand.call), &text, "relaxed")?;
            Some(if demand.call == region.before {
                json!({ "pattern": pattern })
            } else {
                json!({ "has": { "stopBy": "end", "pattern": pattern } })
            })
        };
        holes.demands.iter().filter_map(one).collect()
    }

    /// A small thing inside an error handler is the mistake only there.
    fn handler(&self, region: &Region) -> Option<Value> {
        let inside = self
            .before
            .above(region.before)
            .take_while(|id| !kinds::is_function(self.before.kind(*id)))
            .find(|id| kinds::is_handler(self.before.kind(*id)))?;
        Some(json!({ "inside": { "stopBy": "end", "kind": self.before.kind(inside) } }))
    }

    /// Where the fix only puts something around the replaced text: that it is not there already.
    fn wrapped(&self, region: &Region) -> Option<Value> {
        let shape = self.before.node(region.before).shape;
        let inner = region.after.iter().flat_map(|id| self.after.below(*id));
        let inner = inner.filter(|id| self.after.node(*id).shape == shape).find(|id| !region.after.contains(id))?;
        let around = self.after.parent(inner).filter(|around| kinds::is_wrapper(self.after.kind(*around)))?;
        Some(json!({ "not": { "inside": { "kind": self.after.kind(around) } } }))
    }

    /// That the function around a match has something: `None` for a match outside of any.
    fn in_function(&self, region: &Region, has: &Value) -> Option<Value> {
        self.before.above(region.before).find(|id| kinds::is_function(self.before.kind(*id)))?;
        Some(in_function(self.language, has))
    }

    /// What must hold around a match for the edit to be right there.
    fn guards(&self, region: &Region, template: &Template) -> Vec<Value> {
        let mut guards = Vec::new();
        if !template.fresh.is_empty() {
            let names = template.fresh.join("|");
            let has = json!({ "stopBy": "end", "kind": "identifier", "regex": format!("^({names})$") });
            guards.extend(self.in_function(region, &has).map(|rule| json!({ "not": rule })));
        }
        for need in &template.needs {
            let regex =
                format!(r"^(export |pub |async |static |const |let |var |def |class |fn |function )*{need}\s*[=:(]");
            guards
                .push(json!({ "inside": { "stopBy": "end", "kind": self.before.kind(0), "has": { "regex": regex } } }));
        }
        guards
    }

    /// Why an edit is not made without asking although it can be.
    fn doubt(&self, template: &Template) -> Option<String> {
        if let Some(line) = template.imports.iter().find(|line| !kinds::is_standard(self.language, line)) {
            return Some(format!("it relies on `{line}`, which is not part of the language"));
        }
        let declares = !matches!(self.language, LanguageName::Python | LanguageName::Rust | LanguageName::Bash);
        if let Some(name) = template.fresh.first().filter(|_| declares) {
            return Some(format!("it declares `{name}`, which the place may have already"));
        }
        template.needs.first().map(|need| format!("it relies on `{need}` of the same file"))
    }

    /// Names that the file must bind for the edit of a region.
    pub(super) fn needs(&self, region: &Region) -> Vec<String> {
        let holes = self.holes(region, Level::Shaped);
        let made = template(self.language, (self.before, self.after), &self.names, &self.after_names, region, &holes);
        made.map(|template| template.needs).unwrap_or_default()
    }

    /// Signs that a place is mended already, by what the fix added.
    fn telltales(&self, region: &Region) -> Vec<Value> {
        let kind = self.before.kind(region.before);
        let main = region.after.iter().copied().find(|id| self.after.kind(*id) == kind);
        let known: Vec<u64> = region.old_nodes(self.before).map(|id| self.before.node(id).shape).collect();
        let mut signs = Vec::new();
        for top in &region.after {
            for id in self.after.below(*top) {
                let node = self.after.node(id);
                let sign = if kinds::is_call(&node.kind) {
                    let Some(callee) = self
                        .after
                        .children(id)
                        .iter()
                        .copied()
                        .find(|id| kinds::is_callee_field(self.after.node(*id).field()))
                    else {
                        continue;
                    };
                    if known.contains(&self.after.node(callee).shape) {
                        continue;
                    }
                    let text = self.after.text_of(callee);
                    let head = self.after.below(callee).find(|id| self.after.is_leaf(*id)).unwrap_or(callee);
                    let local = !self.after_names.is_kept(self.after.text_of(head), is_called(self.after, head));
                    let last = text.rsplit('.').next().unwrap_or(text);
                    let regex = if local && text.contains('.') {
                        format!(r"^[A-Za-z_.]+\.{}\(", regex_syntax::escape(last))
                    } else {
                        format!(r"^{}\(", regex_syntax::escape(text))
                    };
                    json!({ "kind": node.kind, "regex": regex })
                } else if *node.kind == *"keyword_argument" {
                    let Some(name) = self.after.child(id, "name").map(|name| self.after.text_of(name)) else {
                        continue;
                    };
                    let old = self.before.below(region.before).any(|id| {
                        self.before.kind(id) == "keyword_argument" && self.before.text_of(id).starts_with(name)
                    });
                    if old {
                        continue;
                    }
                    json!({ "kind": node.kind, "regex": format!(r"^{name}\s*=") })
                } else {
                    continue;
                };
                let mut has = sign;
                has["stopBy"] = json!("end");
                let within = main.is_none_or(|main| main == *top);
                let rule = match self.in_function(region, &has).filter(|_| !within) {
                    Some(rule) => json!({ "not": rule }),
                    None if within => json!({ "not": { "has": has } }),
                    None => continue,
                };
                if !signs.contains(&rule) {
                    signs.push(rule);
                }
            }
        }
        signs.truncate(TELLTALES);
        signs
    }
}

/// A rule that the function around a node has something.
pub(super) fn in_function(language: LanguageName, has: &Value) -> Value {
    match kinds::functions(language) {
        [kind] => json!({ "inside": { "stopBy": "end", "kind": kind, "has": has } }),
        kinds => {
            let kinds: Vec<Value> = kinds.iter().map(|kind| json!({ "kind": kind })).collect();
            json!({ "inside": { "stopBy": "end", "any": kinds, "has": has } })
        }
    }
}

/// An operator that changes what stands before it.
fn is_update(text: &str) -> bool {
    matches!(text, "+=" | "-=" | "*=" | "/=" | "%=" | "<<=" | ">>=" | "|=" | "&=" | "^=")
}
