//! Claims over signals, in CEL: compiled against the catalogue, refused when they cannot fail, and held
//! against what was measured.
//!
//! The part of the language that is taken: comparisons of numbers, `&&`, `||`, `!`, arithmetic, and the
//! functions of [`FUNCTIONS`] over a signal's name. There are no variables, lists or macros, so that a
//! claim's cost is bounded by its length.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cel::Program;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use serde::Serialize;

use super::lesson::{parse_span, span_text};
use super::limits;
use super::series::{BASELINE_WINDOW, History, Range, SLOPE_WINDOW};
use super::signal::{NameError, SeriesName};

/// A function over the readings of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    /// The newest reading.
    Last,
    /// What is usual: the median.
    Baseline,
    /// Change per hour.
    Slope,
    /// The mean.
    Avg,
    /// The least.
    Min,
    /// The most.
    Max,
    /// Growth of a counter.
    Rate,
    /// How many readings there are.
    Count,
    /// Hours until the limit at the present slope.
    Eta,
}

/// Functions over a signal, and whether each takes a window such as `24h`.
pub const FUNCTIONS: [(&str, Function, Window); 9] = [
    ("last", Function::Last, Window::Never),
    ("baseline", Function::Baseline, Window::Optional),
    ("slope", Function::Slope, Window::Optional),
    ("avg", Function::Avg, Window::Required),
    ("min", Function::Min, Window::Required),
    ("max", Function::Max, Window::Required),
    ("rate", Function::Rate, Window::Required),
    ("count", Function::Count, Window::Required),
    ("eta", Function::Eta, Window::Never),
];

/// Whether a function takes a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// Only the signal.
    Never,
    /// The signal, and a window where the default does not fit.
    Optional,
    /// The signal and a window.
    Required,
}

/// Why a claim is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExprError {
    /// Too long or nested too deep to be read at all.
    #[error("expression is longer than {} bytes or nests deeper than {MAX_NESTING}", limits::EXPR_BYTES)]
    TooLarge,
    /// Not CEL.
    #[error("expression is not CEL: {0}")]
    Syntax(String),
    /// A signal that is not in the catalogue, or a subject that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A function that is not in [`FUNCTIONS`].
    #[error("unknown function `{0}`: use last, avg, min, max, rate, slope, baseline, count or eta")]
    UnknownFunction(String),
    /// A function with other arguments than it takes.
    #[error("`{0}` takes a signal name in quotes and, where it looks at a window, a span such as \"24h\"")]
    Arguments(String),
    /// A part of CEL that is not taken.
    #[error("{0} cannot be used in a claim")]
    NotTaken(&'static str),
    /// A number where a truth is needed, or the other way round.
    #[error("{0}")]
    Type(&'static str),
    /// True or false whatever the signals say.
    #[error("expression is constant: every comparison must depend on a signal, or the claim cannot fail")]
    Constant,
}

/// Brackets and signs that may stand within each other; the parser recurses on them.
const MAX_NESTING: usize = 16;

/// What the signals say of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// What was measured does not decide it.
    Unknown,
}

impl Truth {
    /// The truth of what is known.
    #[must_use]
    pub const fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }

    const fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// A claim that compiles against the catalogue and can fail.
#[derive(Clone, PartialEq, Debug)]
pub struct Claim {
    text: String,
    reads: Vec<Read>,
    root: Node,
}

/// One call of a function of [`FUNCTIONS`].
#[derive(Clone, PartialEq, Debug)]
struct Read {
    function: Function,
    series: SeriesName,
    window: Option<Duration>,
}

/// The checked tree. Truths stand above numbers, as [`check`] found them.
#[derive(Clone, PartialEq, Debug)]
enum Node {
    Number(f64),
    Read(Read),
    Arithmetic(Sign, Box<[Node; 2]>),
    Negative(Box<Node>),
    Compare(Comparison, Box<[Node; 2]>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    Plus,
    Minus,
    Times,
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Equal,
    Unequal,
}

impl Claim {
    /// Compiles `text`.
    ///
    /// # Errors
    /// Not CEL, unknown names, wrong types, or constant.
    pub fn compile(text: &str) -> Result<Self, ExprError> {
        if text.len() > limits::EXPR_BYTES || nesting(text) > MAX_NESTING {
            return Err(ExprError::TooLarge);
        }
        let program = Program::compile(text).map_err(|errors| {
            let first = errors.errors.first().map_or_else(|| errors.to_string(), |error| error.msg.clone());
            ExprError::Syntax(super::foreign_text::display_line(&first))
        })?;
        let mut reads = Vec::new();
        let (kind, root) = check(program.expression(), &mut reads)?;
        if kind != Type::Truth {
            return Err(ExprError::Type("the whole expression must be a comparison, not a number"));
        }
        Ok(Self { text: text.to_owned(), reads, root })
    }

    /// The same claim of another subject: `stand_in` in its subjects becomes `subject`. To compile once and ask of each of
    /// many subjects costs next to nothing; to compile for each costs a hundred times as much.
    ///
    /// # Errors
    /// That makes no subject.
    pub fn about(&self, stand_in: &str, subject: &str) -> Result<Self, NameError> {
        let mut claim = self.clone();
        claim.text = claim.text.replace(stand_in, subject);
        let mut turn = |read: &mut Read| -> Result<(), NameError> {
            let known = read.series.subject.as_str();
            if known.contains(stand_in) {
                read.series.subject = known.replace(stand_in, subject).parse()?;
            }
            Ok(())
        };
        claim.reads.iter_mut().try_for_each(&mut turn)?;
        claim.root.each_read(&mut turn)?;
        Ok(claim)
    }

    /// The claim as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signals that it reads, by name, each once.
    #[must_use]
    pub fn signals(&self) -> Vec<&'static str> {
        let mut signals: Vec<_> = self.reads.iter().map(|read| read.series.signal.name).collect();
        signals.sort_unstable();
        signals.dedup();
        signals
    }

    /// The series that it reads, one for each call.
    pub fn series(&self) -> impl Iterator<Item = &SeriesName> {
        self.reads.iter().map(|read| &read.series)
    }

    /// Whether it calls this function and no other.
    #[must_use]
    pub fn only_reads(&self, function: Function) -> bool {
        self.reads.iter().all(|read| read.function == function)
    }

    /// How far back it looks.
    #[must_use]
    pub fn looks_back(&self) -> Duration {
        self.reads.iter().map(Read::looks_back).max().unwrap_or_default()
    }

    /// The signals that it reads, and how far back each; nothing where only the newest reading counts.
    pub fn windows(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.reads.iter().map(|read| {
            let newest = read.function == Function::Last;
            (read.series.signal.name, if newest { Duration::ZERO } else { read.looks_back() })
        })
    }

    /// What was measured says of the claim. A signal that was not measured never supports it.
    #[must_use]
    pub fn evaluate(&self, history: &History, now: i64) -> Truth {
        self.root.truth(&About::it(history, now))
    }

    /// What was measured says of [`Claim::about`], without making that claim where each of its subjects is `stand_in` itself
    /// or another one.
    ///
    /// # Errors
    /// That makes no subject.
    pub fn evaluate_of(&self, stand_in: &str, subject: &str, history: &History, now: i64) -> Result<Truth, NameError> {
        let within = |read: &Read| {
            let known = read.series.subject.as_str();
            known != stand_in && known.contains(stand_in)
        };
        if self.reads.iter().any(within) {
            return Ok(self.about(stand_in, subject)?.evaluate(history, now));
        }
        Ok(self.root.truth(&About { history, now, stand_in, subject }))
    }

    /// What each of its calls reads now, in words: `last("service.rss_mb/web") = 3.0`.
    #[must_use]
    pub fn reading(&self, history: &History, now: i64) -> String {
        let told = self.reads.iter().map(|read| {
            let name = FUNCTIONS.iter().find(|known| known.1 == read.function).map_or("", |known| known.0);
            let range = read.range(&About::it(history, now));
            let value = match range.exact() {
                Some(value) => format!("{value:.1}"),
                None if range == Range::UNKNOWN => "not known".to_owned(),
                None => format!("{:.1} to {:.1}", range.least(), range.most()),
            };
            format!("{name}({}) = {value}", read.series)
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

impl Claim {
    /// Each call of the claim with what it comes to, in words: a number, the bounds of one, or `unknown`.
    #[must_use]
    pub fn readings(&self, history: &History, now: i64) -> BTreeMap<String, String> {
        self.reads.iter().map(|read| (read.to_string(), read.range(&About::it(history, now)).to_string())).collect()
    }
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FUNCTIONS.iter().find(|(_, function, _)| *function == self.function).map_or("", |(name, ..)| name);
        match self.window {
            None => write!(f, "{name}(\"{}\")", self.series),
            Some(window) => write!(f, "{name}(\"{}\", \"{}\")", self.series, span_text(window)),
        }
    }
}

impl Read {
    fn looks_back(&self) -> Duration {
        match (self.window, self.function) {
            (Some(window), _) => window,
            (None, Function::Baseline) => BASELINE_WINDOW,
            (None, _) => SLOPE_WINDOW,
        }
    }

    fn range(&self, about: &About<'_>) -> Range {
        let (signal, subject) = (self.series.signal, self.series.subject.as_str());
        // One without a subject means all subjects; what stands in for one is never empty there.
        let subject = if !subject.is_empty() && subject == about.stand_in { about.subject } else { subject };
        about.history.read(signal, subject, self.function, self.window, about.now)
    }
}

/// What a claim is asked with.
struct About<'a> {
    history: &'a History,
    now: i64,
    /// The subject in whose place `subject` is read.
    stand_in: &'a str,
    subject: &'a str,
}

impl<'a> About<'a> {
    /// The claim as it is.
    const fn it(history: &'a History, now: i64) -> Self {
        Self { history, now, stand_in: "", subject: "" }
    }
}

impl Node {
    fn each_read<E>(&mut self, turn: &mut impl FnMut(&mut Read) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Number(_) => Ok(()),
            Self::Read(read) => turn(read),
            Self::Arithmetic(_, sides) | Self::Compare(_, sides) => {
                sides.iter_mut().try_for_each(|side| side.each_read(turn))
            }
            Self::Negative(part) | Self::Not(part) => part.each_read(turn),
            Self::All(parts) | Self::Any(parts) => parts.iter_mut().try_for_each(|part| part.each_read(turn)),
        }
    }

    fn truth(&self, about: &About<'_>) -> Truth {
        match self {
            Self::Compare(comparison, sides) => {
                let [left, right] = sides.each_ref().map(|side| side.number(about));
                comparison.of(left, right)
            }
            Self::Not(part) => part.truth(about).not(),
            Self::All(parts) => decided(parts, Truth::False, about),
            Self::Any(parts) => decided(parts, Truth::True, about),
            Self::Number(_) | Self::Read(_) | Self::Arithmetic(..) | Self::Negative(_) => Truth::Unknown,
        }
    }

    fn number(&self, about: &About<'_>) -> Range {
        match self {
            Self::Number(number) => Range::exactly(*number),
            Self::Read(read) => read.range(about),
            Self::Negative(part) => part.number(about).negated(),
            Self::Arithmetic(sign, sides) => {
                let [left, right] = sides.each_ref().map(|side| side.number(about));
                match sign {
                    Sign::Plus => left.plus(right),
                    Sign::Minus => left.plus(right.negated()),
                    Sign::Times => left.times(right),
                    Sign::Over => left.over(right),
                }
            }
            Self::Compare(..) | Self::All(_) | Self::Any(_) | Self::Not(_) => Range::UNKNOWN,
        }
    }
}

/// `decider` where one part says so; else unknown where one part is; else the opposite.
fn decided(parts: &[Node], decider: Truth, about: &About<'_>) -> Truth {
    let mut found = decider.not();
    for part in parts {
        match part.truth(about) {
            truth if truth == decider => return decider,
            Truth::Unknown => found = Truth::Unknown,
            Truth::True | Truth::False => {}
        }
    }
    found
}

impl Comparison {
    fn of(self, left: Range, right: Range) -> Truth {
        match self {
            Self::Less => decide(left.most() < right.least(), left.least() >= right.most()),
            Self::LessOrEqual => decide(left.most() <= right.least(), left.least() > right.most()),
            Self::More => Self::Less.of(right, left),
            Self::MoreOrEqual => Self::LessOrEqual.of(right, left),
            Self::Equal => match (left.exact(), right.exact()) {
                (Some(left), Some(right)) => Truth::of(left == right),
                _ => decide(false, left.most() < right.least() || right.most() < left.least()),
            },
            Self::Unequal => Self::Equal.of(left, right).not(),
        }
    }
}

fn decide(holds: bool, fails: bool) -> Truth {
    if holds || fails { Truth::of(holds) } else { Truth::Unknown }
}

/// How deep the parser would recurse at least: brackets that are open, and signs in a row.
fn nesting(text: &str) -> usize {
    let (mut depth, mut signs, mut deepest) = (0_usize, 0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'?' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        signs = if matches!(byte, b'!' | b'-') { signs + 1 } else { 0 };
        deepest = deepest.max(depth + signs);
    }
    deepest
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Truth,
    Number,
}

fn check(node: &IdedExpr, reads: &mut Vec<Read>) -> Result<(Type, Node), ExprError> {
    // Numbers up to 2^53 are exact, and no claim needs larger ones.
    let number = |number: f64| Ok((Type::Number, Node::Number(number)));
    match &node.expr {
        Expr::Literal(LiteralValue::Int(value)) => number(*value.inner() as f64),
        Expr::Literal(LiteralValue::UInt(value)) => number(*value.inner() as f64),
        Expr::Literal(LiteralValue::Double(value)) => number(*value.inner()),
        Expr::Literal(LiteralValue::Boolean(_)) => Err(ExprError::Constant),
        Expr::Literal(_) => Err(ExprError::NotTaken("a text outside of a function")),
        Expr::Call(call) => check_call(call, reads),
        Expr::Ident(_) | Expr::Select(_) => {
            Err(ExprError::NotTaken("a bare name: signals are quoted, as in last(\"..\")"))
        }
        Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => Err(ExprError::NotTaken("a list or map")),
        Expr::Comprehension(_) => Err(ExprError::NotTaken("a macro")),
        Expr::Unspecified => Err(ExprError::Syntax("empty".to_owned())),
    }
}

fn check_call(call: &CallExpr, reads: &mut Vec<Read>) -> Result<(Type, Node), ExprError> {
    if call.target.is_some() {
        return Err(ExprError::NotTaken("a method"));
    }
    let name = call.func_name.as_str();
    let before = reads.len();
    match (name, call.args.as_slice()) {
        ("_&&_" | "_||_", parts) => {
            let parts = parts.iter().map(|part| expect(part, Type::Truth, reads)).collect::<Result<_, _>>()?;
            Ok((Type::Truth, if name == "_&&_" { Node::All(parts) } else { Node::Any(parts) }))
        }
        ("!_", [part]) => Ok((Type::Truth, Node::Not(Box::new(expect(part, Type::Truth, reads)?)))),
        ("-_", [part]) => Ok((Type::Number, Node::Negative(Box::new(expect(part, Type::Number, reads)?)))),
        (_, [left, right]) if let Some(comparison) = comparison(name) => {
            let sides = [expect(left, Type::Number, reads)?, expect(right, Type::Number, reads)?];
            if reads.len() == before || same(left, right) {
                return Err(ExprError::Constant);
            }
            Ok((Type::Truth, Node::Compare(comparison, Box::new(sides))))
        }
        (_, [left, right]) if let Some(sign) = sign(name) => {
            let sides = [expect(left, Type::Number, reads)?, expect(right, Type::Number, reads)?];
            Ok((Type::Number, Node::Arithmetic(sign, Box::new(sides))))
        }
        (name, arguments) => {
            let read = signal_call(name, arguments)?;
            reads.push(read.clone());
            Ok((Type::Number, Node::Read(read)))
        }
    }
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        "_<_" => Comparison::Less,
        "_<=_" => Comparison::LessOrEqual,
        "_>_" => Comparison::More,
        "_>=_" => Comparison::MoreOrEqual,
        "_==_" => Comparison::Equal,
        "_!=_" => Comparison::Unequal,
        _ => return None,
    })
}

fn sign(name: &str) -> Option<Sign> {
    Some(match name {
        "_+_" => Sign::Plus,
        "_-_" => Sign::Minus,
        "_*_" => Sign::Times,
        "_/_" => Sign::Over,
        _ => return None,
    })
}

/// Equal but for the node numbers that the parser gives.
fn same(left: &IdedExpr, right: &IdedExpr) -> bool {
    match (&left.expr, &right.expr) {
        (Expr::Call(left), Expr::Call(right)) => {
            left.func_name == right.func_name
                && left.args.len() == right.args.len()
                && left.args.iter().zip(&right.args).all(|(left, right)| same(left, right))
        }
        (left, right) => left == right,
    }
}

fn expect(node: &IdedExpr, wanted: Type, reads: &mut Vec<Read>) -> Result<Node, ExprError> {
    let (kind, checked) = check(node, reads)?;
    if kind == wanted {
        return Ok(checked);
    }
    Err(ExprError::Type(match wanted {
        Type::Truth => "&&, || and ! take comparisons, not numbers",
        Type::Number => "comparisons and arithmetic take numbers, not comparisons",
    }))
}

fn signal_call(name: &str, arguments: &[IdedExpr]) -> Result<Read, ExprError> {
    let (_, function, window) = FUNCTIONS
        .into_iter()
        .find(|(known, ..)| *known == name)
        .ok_or_else(|| ExprError::UnknownFunction(super::foreign_text::display_line(name)))?;
    let mut texts = arguments.iter().map(|argument| match &argument.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    });
    let bad = || ExprError::Arguments(name.to_owned());
    let series = texts.next().flatten().ok_or_else(bad)?;
    let span = texts.next().map(|text| text.as_deref().and_then(parse_span).ok_or_else(bad)).transpose()?;
    let fits = match window {
        Window::Never => span.is_none(),
        Window::Optional => span.is_none_or(|span| !span.is_zero()),
        Window::Required => span.is_some_and(|span| !span.is_zero()),
    };
    if !fits || texts.next().is_some() {
        return Err(bad());
    }
    Ok(Read { function, series: series.parse()?, window: span })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::signal::Subject;

    fn refusal(text: &str) -> ExprError {
        Claim::compile(text).expect_err(text)
    }

    #[test]
    fn a_claim_is_compiled_once_and_asked_of_many_subjects() {
        let text = r#"last("service.rss_mb/one") > 5 && !(avg("unit.active/one", "5m") < -last("host.uptime_s"))"#;
        let claim = Claim::compile(text).expect("sound");
        let other = claim.about("one", "web").expect("a subject");
        assert_eq!(other, Claim::compile(&text.replace("one", "web")).expect("sound"));
        assert_eq!(claim.about("one", "a b"), Err(NameError::Subject));
    }

    #[test]
    fn a_claim_is_asked_of_a_subject_without_being_made_for_it() {
        let text =
            r#"last("service.rss_mb/one") > 5 && last("log.records/one.log") > 0 && last("host.load.per_core") > 1"#;
        let whole: SeriesName = "log.records/web.log".parse().expect("a name");
        let mut history = History::new();
        let mut note = |name: &SeriesName, value| {
            history.readings_mut(name).add(Duration::from_secs(60), 100, Some(value), 0, 10);
        };
        note(&SeriesName::of("service.rss_mb", "one".parse().expect("a subject")), 1.0);
        note(&SeriesName::of("service.rss_mb", "web".parse().expect("a subject")), 6.0);
        note(&SeriesName::of("host.load.per_core", Subject::default()), 2.0);
        note(&whole, 3.0);
        for (text, expected) in [
            (text.to_owned(), [Truth::False, Truth::True, Truth::Unknown]),
            // Without the one that only begins with it.
            (text.replace(r#"last("log.records/one.log") > 0 && "#, ""), [Truth::False, Truth::True, Truth::Unknown]),
        ] {
            let claim = Claim::compile(&text).expect("sound");
            for (subject, expected) in ["one", "web", "other"].into_iter().zip(expected) {
                let made = claim.about("one", subject).expect("a subject").evaluate(&history, 100);
                let asked = claim.evaluate_of("one", subject, &history, 100).expect("a subject");
                assert_eq!([asked, made], [expected; 2], "{subject}: {text}");
            }
        }
        let claim = Claim::compile(text).expect("sound");
        assert!(claim.evaluate_of("one", "a b", &history, 100).is_err(), "it makes no subject");
    }

    #[test]
    fn claims_over_known_signals_compile_and_name_them() {
        let text = r#"rate("state.parse_failures", "7d") == 0.0 && !(last("service.rss_mb") > 2 * baseline("service.rss_mb"))"#;
        let claim = Claim::compile(text).expect("sound");
        assert_eq!(claim.signals(), ["service.rss_mb", "state.parse_failures"]);
    }

    #[test]
    fn d21_claims_that_cannot_fail_are_refused() {
        for constant in ["true", "1 < 2", r#"last("log.records") == last("log.records")"#, "false || 1 == 1"] {
            assert_eq!(refusal(constant), ExprError::Constant, "{constant}");
        }
        assert_eq!(refusal(r#"last("log.records") > 1 || true"#), ExprError::Constant);
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest_known_one() {
        let refused = refusal(r#"last("host.disk.used_percnt") > 1"#);
        assert!(refused.to_string().ends_with("did you mean `host.disk.used_percent`?"), "{refused}");
        assert!(matches!(refusal(r#"median("log.records") > 1"#), ExprError::UnknownFunction(_)));
        assert!(matches!(refusal(r#"avg("log.records") > 1"#), ExprError::Arguments(_)));
        assert!(matches!(refusal(r#"last("log.records", "1h") > 1"#), ExprError::Arguments(_)));
        assert!(matches!(refusal(r#"avg("log.records", "soon") > 1"#), ExprError::Arguments(_)));
    }

    #[test]
    fn other_parts_of_the_language_are_not_taken() {
        let claims = ["[1].all(x, x > 0)", "x > 1", "{1: 2}[1] > 1", r#""a" < "b""#, r#"last("log.records").y() > 1"#];
        for text in claims {
            assert!(Claim::compile(text).is_err(), "{text}");
        }
        assert!(matches!(refusal(r#"last("log.records")"#), ExprError::Type(_)));
        assert!(matches!(refusal("1 <"), ExprError::Syntax(_)));
        assert!(matches!(refusal(""), ExprError::Syntax(_)));
    }

    #[test]
    fn hostile_nesting_is_refused_before_it_is_parsed() {
        for (open, close) in [("(", ")"), ("[", "]"), ("!", ""), ("-", ""), ("1?1:", "1")] {
            let text = format!("{}1{}", open.repeat(100), close.repeat(100));
            assert_eq!(refusal(&text), ExprError::TooLarge, "{text}");
        }
        let wide = vec!["1"; 250].join("+");
        assert!(Claim::compile(&wide).is_err());
    }
}
