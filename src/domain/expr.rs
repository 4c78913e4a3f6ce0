//! Claims over signals, in CEL: compiled against the catalogue, and refused when they cannot fail.
//!
//! The part of the language that is taken: comparisons of numbers, `&&`, `||`, `!`, arithmetic, and the
//! functions of [`FUNCTIONS`] over a signal's name. There are no variables, lists or macros, so that a
//! claim's cost is bounded by its length.

use cel::Program;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};

use super::lesson::parse_span;
use super::limits;
use super::signal;

/// Functions over a signal, and whether each takes a window such as `24h`.
pub const FUNCTIONS: [(&str, Window); 9] = [
    ("last", Window::Never),
    ("baseline", Window::Optional),
    ("slope", Window::Optional),
    ("avg", Window::Required),
    ("min", Window::Required),
    ("max", Window::Required),
    ("rate", Window::Required),
    ("count", Window::Required),
    ("eta", Window::Never),
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
    /// A signal that is not in the catalogue.
    #[error("unknown signal `{name}`{}", hint.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default())]
    UnknownSignal {
        /// The name.
        name: String,
        /// The nearest known one.
        hint: Option<&'static str>,
    },
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

/// A claim that compiles against the catalogue and can fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    text: String,
    signals: Vec<&'static str>,
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
        let mut signals = Vec::new();
        if check(program.expression(), &mut signals)? != Type::Truth {
            return Err(ExprError::Type("the whole expression must be a comparison, not a number"));
        }
        signals.sort_unstable();
        signals.dedup();
        Ok(Self { text: text.to_owned(), signals })
    }

    /// The claim as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signals that it reads, by name.
    #[must_use]
    pub fn signals(&self) -> &[&'static str] {
        &self.signals
    }
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

fn check(node: &IdedExpr, signals: &mut Vec<&'static str>) -> Result<Type, ExprError> {
    match &node.expr {
        Expr::Literal(LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_)) => Ok(Type::Number),
        Expr::Literal(LiteralValue::Boolean(_)) => Err(ExprError::Constant),
        Expr::Literal(_) => Err(ExprError::NotTaken("a text outside of a function")),
        Expr::Call(call) => check_call(call, signals),
        Expr::Ident(_) | Expr::Select(_) => {
            Err(ExprError::NotTaken("a bare name: signals are quoted, as in last(\"..\")"))
        }
        Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => Err(ExprError::NotTaken("a list or map")),
        Expr::Comprehension(_) => Err(ExprError::NotTaken("a macro")),
        Expr::Unspecified => Err(ExprError::Syntax("empty".to_owned())),
    }
}

fn check_call(call: &CallExpr, signals: &mut Vec<&'static str>) -> Result<Type, ExprError> {
    if call.target.is_some() {
        return Err(ExprError::NotTaken("a method"));
    }
    let before = signals.len();
    match (call.func_name.as_str(), call.args.as_slice()) {
        ("_&&_" | "_||_", parts) => {
            for part in parts {
                expect(part, Type::Truth, signals)?;
            }
            Ok(Type::Truth)
        }
        ("!_", [part]) => expect(part, Type::Truth, signals),
        ("_<_" | "_<=_" | "_>_" | "_>=_" | "_==_" | "_!=_", [left, right]) => {
            expect(left, Type::Number, signals)?;
            expect(right, Type::Number, signals)?;
            if signals.len() == before || same(left, right) {
                return Err(ExprError::Constant);
            }
            Ok(Type::Truth)
        }
        ("_+_" | "_-_" | "_*_" | "_/_", [left, right]) => {
            expect(left, Type::Number, signals)?;
            expect(right, Type::Number, signals)
        }
        ("-_", [part]) => expect(part, Type::Number, signals),
        (name, arguments) => {
            signals.push(signal_call(name, arguments)?);
            Ok(Type::Number)
        }
    }
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

fn expect(node: &IdedExpr, wanted: Type, signals: &mut Vec<&'static str>) -> Result<Type, ExprError> {
    if check(node, signals)? == wanted {
        return Ok(wanted);
    }
    Err(ExprError::Type(match wanted {
        Type::Truth => "&&, || and ! take comparisons, not numbers",
        Type::Number => "comparisons and arithmetic take numbers, not comparisons",
    }))
}

fn signal_call(name: &str, arguments: &[IdedExpr]) -> Result<&'static str, ExprError> {
    let (_, window) = FUNCTIONS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| ExprError::UnknownFunction(super::foreign_text::display_line(name)))?;
    let mut texts = arguments.iter().map(|argument| match &argument.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    });
    let bad = || ExprError::Arguments(name.to_owned());
    let signal = texts.next().flatten().ok_or_else(bad)?;
    let span = texts.next().map(|text| text.as_deref().and_then(parse_span).ok_or_else(bad)).transpose()?;
    let fits = match window {
        Window::Never => span.is_none(),
        Window::Optional => true,
        Window::Required => span.is_some(),
    };
    if !fits || texts.next().is_some() {
        return Err(bad());
    }
    signal::find(&signal).map(|signal| signal.name).ok_or_else(|| ExprError::UnknownSignal {
        hint: signal::nearest(&signal),
        name: super::foreign_text::display_line(&signal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> ExprError {
        Claim::compile(text).expect_err(text)
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
