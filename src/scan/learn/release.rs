//! A call that was put in before a way out: what was taken earlier has to be given back there as well.

use std::collections::BTreeMap;

use serde_json::json;

use crate::domain::detect::{AstRule, Confidence, LanguageName};

use super::diff::Hunk;
use super::kinds;
use super::pattern::pattern;
use super::region::{Region, told};
use super::rule::in_function;
use super::tree::{Id, Tree};
use super::{Proposal, Sides};

/// A statement that calls a method, and on what.
struct Call {
    statement: Id,
    /// What it is called on, as a shape.
    receiver: u64,
    method: String,
    /// The text with `$X` in the place of the receiver.
    text: String,
}

fn call_of(tree: &Tree, statement: Id) -> Option<Call> {
    let [call] = tree.named_children(statement).collect::<Vec<_>>()[..] else { return None };
    if tree.kind(statement) != "expression_statement" || !kinds::is_call(tree.kind(call)) {
        return None;
    }
    let callee = tree.children(call).iter().copied().find(|id| kinds::is_callee_field(tree.node(*id).field()))?;
    let parts: Vec<Id> = tree.named_children(callee).collect();
    let [receiver, method] = parts[..] else { return None };
    if !kinds::is_chain(tree.kind(callee)) {
        return None;
    }
    let range = tree.node(statement).range.clone();
    let text = tree.dedented(&range, &[(tree.node(receiver).range.clone(), "$X".to_owned())]);
    let method = tree.text_of(method).to_owned();
    Some(Call { statement, receiver: tree.node(receiver).shape, method, text })
}

/// The way out, the call that was put in before it, and the calls that take and give back elsewhere.
struct Release {
    way_out: Id,
    taken: Call,
    given_back: Call,
}

impl Sides<'_> {
    fn release(&self, hunks: &[Hunk]) -> Option<Release> {
        let changes: Vec<(&Hunk, Vec<Id>, Vec<Id>)> = hunks
            .iter()
            .filter_map(|hunk| told(self.before, self.after, hunk).map(|(old, new)| (hunk, old, new)))
            .collect();
        let [(hunk, old, new)] = &changes[..] else { return None };
        let ([], [added]) = (&old[..], &new[..]) else { return None };
        let added_call = call_of(self.after, *added)?;
        let siblings: Vec<Id> = self.after.named_children(hunk.parents.1).collect();
        let next = siblings.get(siblings.iter().position(|id| id == added)? + 1)?;
        let shape = self.after.node(*next).shape;
        let way_out = self.before.named_children(hunk.parents.0).find(|id| self.before.node(*id).shape == shape)?;
        if !kinds::is_jump(self.before.kind(way_out)) {
            return None;
        }
        let function = self.before.above(way_out).find(|id| kinds::is_function(self.before.kind(*id)))?;
        let calls: Vec<Call> = self
            .before
            .below(function)
            .filter_map(|id| call_of(self.before, id))
            .filter(|call| call.receiver == added_call.receiver)
            .collect();
        let start = |call: &Call| self.before.node(call.statement).range.start;
        let at = self.before.node(way_out).range.start;
        let (earlier, later): (Vec<Call>, Vec<Call>) = calls.into_iter().partition(|call| start(call) < at);
        let taken = earlier.into_iter().rev().find(|call| call.method != added_call.method)?;
        let given_back = later.into_iter().find(|call| call.method == added_call.method)?;
        Some(Release { way_out, taken, given_back })
    }

    /// The region of a change that is nothing but such a call.
    pub(super) fn release_region(&self, hunks: &[Hunk]) -> Option<Region> {
        let release = self.release(hunks)?;
        let hunk = hunks.iter().find(|hunk| told(self.before, self.after, hunk).is_some())?;
        let siblings: Vec<Id> = self.after.named_children(hunk.parents.1).collect();
        let shape = self.before.node(release.way_out).shape;
        let at = siblings.iter().position(|id| hunk.after.contains(id))?;
        let next = siblings.get(at + 1).filter(|id| self.after.node(**id).shape == shape)?;
        Some(Region::new(release.way_out, vec![siblings[at], *next], Some(hunk.parents)))
    }

    /// The way out that is taken between the two calls, without the second one.
    pub(super) fn released(&self, hunks: &[Hunk]) -> Option<Proposal> {
        let Release { way_out, taken, given_back } = self.release(hunks)?;
        let statement = |call: &Call| {
            pattern(self.language, self.before.kind(call.statement), &call.text, "cst")
                .map(|pattern| json!({ "stopBy": "end", "pattern": pattern }))
        };
        let (taken_rule, given_rule) = (statement(&taken)?, statement(&given_back)?);
        let given = pattern(self.language, "call_expression", given_back.text.trim_end_matches(';'), "cst")
            .or_else(|| pattern(self.language, "call", &given_back.text, "cst"))?;
        let mut all = vec![
            json!({ "kind": self.before.kind(way_out) }),
            json!({ "inside": { "stopBy": "end", "follows": taken_rule } }),
            json!({ "inside": { "stopBy": "end", "precedes": given_rule.clone() } }),
            json!({ "not": { "follows": given_rule } }),
        ];
        if self.language == LanguageName::Go {
            // One that is deferred is given back on every way out.
            let has = json!({ "stopBy": "end", "kind": "defer_statement", "has": { "pattern": given } });
            all.push(json!({ "not": in_function(self.language, &has) }));
        }
        let said = format!("{} … {} … {}", taken.text, self.before.text_of(way_out), given_back.text);
        Some(Proposal {
            rule: AstRule {
                id: "same-shape".parse().expect("a constant slug"),
                language: self.language,
                rule: json!({ "all": all }),
                constraints: BTreeMap::new(),
                utils: BTreeMap::new(),
                severity: None,
                confidence: Confidence::Medium,
                message: format!("leaves between `{}` and `{}`", taken.text, given_back.text),
            },
            pattern: said,
            template: None,
            doubt: Some("what is given back is bound outside of the replaced text".to_owned()),
            imports: Vec::new(),
            exact: false,
        })
    }
}
