//! Generated files that make a slow rule show itself: many, deep, wide.

use std::fmt::Write;

use crate::domain::detect::LanguageName;

/// A stress file; `language` is `None` for plain lines, which rules without a grammar read.
pub(super) struct StressFile {
    pub(super) name: &'static str,
    pub(super) language: Option<LanguageName>,
    pub(super) text: String,
}

/// How a language spells what is repeated.
struct Spelling {
    language: LanguageName,
    names: [&'static str; 5],
    before: &'static str,
    after: &'static str,
    assignment: fn(usize) -> String,
    statement: fn(usize) -> String,
    /// Opens, holds and closes one level, and how many levels fit below the depth limit.
    deep: (&'static str, &'static str, &'static str, &'static str, usize),
    arguments: (&'static str, &'static str, &'static str),
    function: fn(usize) -> String,
}

const STATEMENTS: usize = 2_000;
const FUNCTIONS: usize = 300;

/// Five files for each language and two of plain lines.
pub(super) fn files() -> impl Iterator<Item = StressFile> {
    SPELLINGS.iter().flat_map(spell).chain(plain())
}

fn repeat(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut all, at| {
        all.push_str(&one(at));
        all
    })
}

fn spell(s: &'static Spelling) -> Vec<StressFile> {
    let (head, open, core, close, levels) = s.deep;
    let (call, separator, end) = s.arguments;
    let bodies = [
        format!("{}{}{}", s.before, repeat(STATEMENTS, s.assignment), s.after),
        format!("{}{}{}", s.before, repeat(STATEMENTS, s.statement), s.after),
        format!("{}{head}{}{core}{}\n{}", s.before, open.repeat(levels), close.repeat(levels), s.after),
        format!("{}{call}{}z{end}\n{}", s.before, repeat(STATEMENTS, |at| format!("a{at}{separator}")), s.after),
        repeat(FUNCTIONS, s.function),
    ];
    let file = |(name, text)| StressFile { name, language: Some(s.language), text };
    s.names.into_iter().zip(bodies).map(file).collect()
}

fn plain() -> [StressFile; 2] {
    let lines = repeat(4 * STATEMENTS, |at| format!("key{at} = value {at} aaaaaaaaaaaaaaaaaaaaaaaa\n"));
    let mut long = String::new();
    for at in 0..STATEMENTS {
        write!(long, "word{at}=aaaa aaaa; ").expect("a String takes all");
    }
    [
        StressFile { name: "lines.txt", language: None, text: lines },
        StressFile { name: "long-line.txt", language: None, text: long },
    ]
}

macro_rules! script {
    ($language:ident, $names:expr) => {
        Spelling {
            language: LanguageName::$language,
            names: $names,
            before: "",
            after: "",
            assignment: |at| format!("a{at} = {at};\n"),
            statement: |at| format!("f(a, {at});\n"),
            deep: ("x = ", "(", "1", ")", 900),
            arguments: ("f(", ", ", ");"),
            function: |at| format!("function f{at}(a, b) {{\n  const x = a + b;\n  return g(x, 'w');\n}}\n"),
        }
    };
}

static SPELLINGS: [Spelling; 10] = [
    Spelling {
        language: LanguageName::Python,
        names: ["assignments.py", "statements.py", "deep.py", "arguments.py", "functions.py"],
        before: "",
        after: "",
        assignment: |at| format!("a{at} = {at}\n"),
        statement: |at| format!("f(a, {at})\n"),
        deep: ("x = ", "(", "1", ")", 900),
        arguments: ("f(", ", ", ")"),
        function: |at| format!("def f{at}(a, b):\n    x = a + b\n    with open(x, 'w') as f:\n        f.write(x)\n"),
    },
    Spelling {
        language: LanguageName::Rust,
        names: ["assignments.rs", "statements.rs", "deep.rs", "arguments.rs", "functions.rs"],
        before: "fn main() {\n",
        after: "}\n",
        assignment: |at| format!("    let a{at} = {at};\n"),
        statement: |at| format!("    f(a, {at});\n"),
        deep: ("    x = ", "(", "1", ")", 900),
        arguments: ("    f(", ", ", ");"),
        function: |at| format!("fn f{at}(a: u8, b: u8) -> u8 {{\n    let x = a + b;\n    g(x, \"w\")\n}}\n"),
    },
    script!(JavaScript, ["assignments.js", "statements.js", "deep.js", "arguments.js", "functions.js"]),
    script!(TypeScript, ["assignments.ts", "statements.ts", "deep.ts", "arguments.ts", "functions.ts"]),
    script!(Tsx, ["assignments.tsx", "statements.tsx", "deep.tsx", "arguments.tsx", "functions.tsx"]),
    Spelling {
        language: LanguageName::Go,
        names: ["assignments.go", "statements.go", "deep.go", "arguments.go", "functions.go"],
        before: "package p\n\nfunc main() {\n",
        after: "}\n",
        assignment: |at| format!("\ta{at} := {at}\n"),
        statement: |at| format!("\tf(a, {at})\n"),
        deep: ("\tx = ", "(", "1", ")", 900),
        arguments: ("\tf(", ", ", ")"),
        function: |at| format!("func f{at}(a int, b int) int {{\n\tx := a + b\n\treturn g(x, \"w\")\n}}\n"),
    },
    Spelling {
        language: LanguageName::Bash,
        names: ["assignments.sh", "statements.sh", "deep.sh", "arguments.sh", "functions.sh"],
        before: "",
        after: "",
        assignment: |at| format!("a{at}={at}\n"),
        statement: |at| format!("f a {at}\n"),
        deep: ("x=1\n", "( ", "f", " )", 800),
        arguments: ("f ", " ", ""),
        function: |at| format!("f{at}() {{\n  x=\"$1\"\n  g \"$x\" | h\n}}\n"),
    },
    Spelling {
        language: LanguageName::Json,
        names: ["assignments.json", "statements.json", "deep.json", "arguments.json", "functions.json"],
        before: "[\n",
        after: "0]\n",
        assignment: |at| format!("{{\"a{at}\": {at}}},\n"),
        statement: |at| format!("[\"f\", {at}],\n"),
        deep: ("", "[", "1", "]", 900),
        arguments: ("[\"", "\", \"", "\"],"),
        function: |at| format!("{{\"name\": \"f{at}\", \"arguments\": [1, 2], \"body\": {{\"x\": \"w\"}}}}\n"),
    },
    Spelling {
        language: LanguageName::Yaml,
        names: ["assignments.yaml", "statements.yaml", "deep.yaml", "arguments.yaml", "functions.yaml"],
        before: "",
        after: "",
        assignment: |at| format!("a{at}: {at}\n"),
        statement: |at| format!("- f: {at}\n"),
        deep: ("x: ", "[", "1", "]", 400),
        arguments: ("f: [", ", ", "]"),
        function: |at| format!("f{at}:\n  arguments: [a, b]\n  body:\n    x: w\n"),
    },
    Spelling {
        language: LanguageName::Toml,
        names: ["assignments.toml", "statements.toml", "deep.toml", "arguments.toml", "functions.toml"],
        before: "",
        after: "",
        assignment: |at| format!("a{at} = {at}\n"),
        statement: |at| format!("[[f]]\na = {at}\n"),
        deep: ("x = ", "[", "1", "]", 900),
        arguments: ("f = [\"", "\", \"", "\"]"),
        function: |at| format!("[f{at}]\narguments = [1, 2]\nbody = {{ x = \"w\" }}\n"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::parse::parse;

    #[test]
    fn every_stress_file_is_within_the_file_limits_and_deep_ones_are_deep() {
        for file in files() {
            let Some(language) = file.language else { continue };
            let parsed = parse(language, &file.text).unwrap_or_else(|refusal| panic!("{}: {refusal}", file.name));
            if file.name.starts_with("deep") {
                let deepest = parsed.root().dfs().map(|node| node.ancestors().count()).max().unwrap_or(0);
                assert!(deepest > 700, "{} is {deepest} deep", file.name);
            } else {
                assert!(parsed.root().dfs().count() > 1_000, "{}", file.name);
            }
        }
    }
}
