//! A small lesson that is honest to the last example.

use mesh::domain::lesson::Lesson;

const SAMPLE: &str = r##"
id = "yaml-load-of-text"
rev = 1
title = "yaml.load builds any object that the text asks for"
scope = "python/io"
severity = "error"
risk = "low"
when = "YAML is read with yaml.load and no loader is named"
prefer = "yaml.safe_load, which knows plain values only"
because = "The default loader of older versions runs constructors that the text names. A loader passed by keyword is not looked at."
evidence = ["a configuration file that started a shell"]

[falsifiable]
claim = "no more files fail to parse than before"
expr = 'avg("state.parse_failures", "24h") <= 1'
within = "7d"

[retired_when]
claim = "no host finds it any more"
expr = 'max("audit.findings", "24h") < 1'
after = "2031-01-01T00:00:00Z"

[detect]
engine = "ast-grep/0.51"
requires_text = [["yaml.load"]]

[detect.scope]
include = ["**/*.py"]
languages = ["python"]

[[detect.rules]]
id = "load-without-loader"
mode = "ast"
language = "python"
message = "yaml.load($TEXT) builds any object that the text asks for"
confidence = "high"
rule = { pattern = { context = "yaml.load($TEXT)", strictness = "cst" } }

[fix]
class = "safe"

[[fix.edits]]
for = "load-without-loader"
template = "yaml.safe_load($TEXT)"

[[tests.positive]]
path = "a.py"
code = """
import yaml
config = yaml.load(text)
"""
at = [2]
fixed = """
import yaml
config = yaml.safe_load(text)
"""

[[tests.positive]]
path = "b.py"
code = """
import yaml

def read(path):
    with open(path) as file:
        return yaml.load(file.read())  # the whole file
"""
at = [5]
fixed = """
import yaml

def read(path):
    with open(path) as file:
        return yaml.safe_load(file.read())  # the whole file
"""

[[tests.positive]]
path = "c.py"
code = """
import yaml
rows = [yaml.load(row) for row in rows if not row.startswith("#")]
"""
at = [2]
fixed = """
import yaml
rows = [yaml.safe_load(row) for row in rows if not row.startswith("#")]
"""

[[tests.negative]]
path = "a.py"
code = """
import yaml
config = yaml.safe_load(text)
"""

[[tests.negative]]
path = "d.py"
code = """
import json
config = json.load(file)
"""

[[tests.negative]]
path = "e.py"
code = """
import yaml
config = yaml.load(text, Loader=yaml.SafeLoader)
"""
"##;

/// The sample lesson under another name.
pub(crate) fn lesson(id: &str) -> Lesson {
    let mut lesson: Lesson = toml::from_str(SAMPLE).expect("the sample has the shape of a lesson");
    lesson.id = id.parse().expect("a slug");
    lesson.check().expect("the sample keeps the limits");
    lesson
}
