//! The gate between language names and grammars: only what is built in has a value here.
//!
//! The matcher crate panics when it is asked for a grammar that was left out of the build, and its own
//! name parser accepts all names; a lesson never reaches that parser.

use std::borrow::Cow;

use ast_grep_core::Language;
use ast_grep_core::matcher::{Pattern, PatternBuilder, PatternError};
use ast_grep_core::meta_var::MetaVariable;
use ast_grep_core::tree_sitter::{LanguageExt, StrDoc, TSLanguage};
use ast_grep_language::SupportLang;

use crate::domain::detect::LanguageName;

/// A language whose grammar is built in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lang {
    /// One of the matcher's own.
    Bundled(SupportLang),
    /// TOML, whose grammar the matcher does not know.
    Toml,
}

impl From<LanguageName> for Lang {
    fn from(name: LanguageName) -> Self {
        match name {
            LanguageName::Bash => Self::Bundled(SupportLang::Bash),
            LanguageName::Go => Self::Bundled(SupportLang::Go),
            LanguageName::JavaScript => Self::Bundled(SupportLang::JavaScript),
            LanguageName::Json => Self::Bundled(SupportLang::Json),
            LanguageName::Python => Self::Bundled(SupportLang::Python),
            LanguageName::Rust => Self::Bundled(SupportLang::Rust),
            LanguageName::Toml => Self::Toml,
            LanguageName::Tsx => Self::Bundled(SupportLang::Tsx),
            LanguageName::TypeScript => Self::Bundled(SupportLang::TypeScript),
            LanguageName::Yaml => Self::Bundled(SupportLang::Yaml),
        }
    }
}

/// Stands for `$` in TOML, where a bare key may start with it.
const TOML_EXPANDO: char = '_';

impl Language for Lang {
    fn pre_process_pattern<'q>(&self, query: &'q str) -> Cow<'q, str> {
        match self {
            Self::Bundled(lang) => lang.pre_process_pattern(query),
            Self::Toml => {
                let mut out = String::with_capacity(query.len());
                let mut rest = query;
                while let Some(at) = rest.find('$') {
                    out.push_str(&rest[..at]);
                    let run = rest[at..].len() - rest[at..].trim_start_matches('$').len();
                    let named = rest[at + run..].starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
                    let sigil = if named || run == 3 { TOML_EXPANDO } else { '$' };
                    out.extend(std::iter::repeat_n(sigil, run));
                    rest = &rest[at + run..];
                }
                out.push_str(rest);
                Cow::Owned(out)
            }
        }
    }

    fn meta_var_char(&self) -> char {
        match self {
            Self::Bundled(lang) => lang.meta_var_char(),
            Self::Toml => '$',
        }
    }

    fn expando_char(&self) -> char {
        match self {
            Self::Bundled(lang) => lang.expando_char(),
            Self::Toml => TOML_EXPANDO,
        }
    }

    fn extract_meta_var(&self, source: &str) -> Option<MetaVariable> {
        match self {
            Self::Bundled(lang) => lang.extract_meta_var(source),
            // A key such as `_x` or `__` is a key; `_X` is what the expando made of `$X`.
            Self::Toml => {
                let name = source.trim_start_matches(TOML_EXPANDO);
                let dollars = "$".repeat(source.len() - name.len());
                let upper = name.starts_with(|c: char| c.is_ascii_uppercase());
                let known = upper || (name.is_empty() && dollars.len() == 3);
                known.then(|| SupportLang::Json.extract_meta_var(&format!("{dollars}{name}"))).flatten()
            }
        }
    }

    fn kind_to_id(&self, kind: &str) -> u16 {
        match self {
            Self::Bundled(lang) => lang.kind_to_id(kind),
            Self::Toml => self.get_ts_language().id_for_node_kind(kind, true),
        }
    }

    fn field_to_id(&self, field: &str) -> Option<u16> {
        match self {
            Self::Bundled(lang) => lang.field_to_id(field),
            Self::Toml => self.get_ts_language().field_id_for_name(field).map(std::num::NonZero::get),
        }
    }

    fn build_pattern(&self, builder: &PatternBuilder) -> Result<Pattern, PatternError> {
        match self {
            Self::Bundled(lang) => lang.build_pattern(builder),
            Self::Toml => builder.build(|source| StrDoc::try_new(source, *self)),
        }
    }
}

impl LanguageExt for Lang {
    fn get_ts_language(&self) -> TSLanguage {
        match self {
            Self::Bundled(lang) => lang.get_ts_language(),
            Self::Toml => tree_sitter_toml_ng::LANGUAGE.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ast_grep_core::matcher::MatcherExt;

    use super::*;

    #[test]
    fn every_named_language_has_its_grammar() {
        use LanguageName::{Bash, Go, JavaScript, Json, Python, Rust, Toml, Tsx, TypeScript, Yaml};
        for name in [Bash, Go, JavaScript, Json, Python, Rust, Toml, Tsx, TypeScript, Yaml] {
            assert!(Lang::from(name).get_ts_language().node_kind_count() > 10, "{name:?}");
        }
    }

    #[test]
    fn a_toml_pattern_binds_its_variable() {
        let lang = Lang::Toml;
        let pattern = Pattern::try_new("$KEY = true", lang).expect("a pattern");
        let root = lang.ast_grep("[a]\nnet_x = true\n_y = 1\n");
        let found = pattern.find_node(root.root()).expect("a match");
        assert_eq!(found.get_env().get_match("KEY").map(|node| node.text().to_string()), Some("net_x".into()));
    }
}
