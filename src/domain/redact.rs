//! What is taken out of a text before it leaves the host: secrets, addresses, host names, home paths.

use std::sync::LazyLock;

use regex::{Captures, Regex, RegexSet};

/// What must not leave this host besides what is recognised by its shape.
#[derive(Clone, Debug, Default)]
pub struct Private {
    /// Names of this host, its domain and its user.
    pub words: Vec<String>,
    /// Folders, such as the user's home.
    pub paths: Vec<String>,
}

/// What replaces what was taken out.
const SECRET: &str = "[secret]";

struct Shape {
    pattern: Regex,
    replacement: &'static str,
}

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let shape = |pattern: &str, replacement| Shape {
        pattern: Regex::new(pattern).expect("a constant pattern, compiled in a test"),
        replacement,
    };
    vec![
        shape(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", SECRET),
        shape(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,})\b", SECRET),
        shape(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", SECRET),
        shape(r"\bxox[abprs]-[A-Za-z0-9-]{10,}", SECRET),
        shape(r"\bsk-[A-Za-z0-9_-]{20,}", SECRET),
        shape(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}", SECRET),
        shape(r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{8,}=*", "Bearer [secret]"),
        shape(r"(?i)([a-z][a-z0-9+.-]*://)[^/\s:@]+:[^/\s@]+@", "${1}[secret]@"),
        shape(
            r#"(?i)\b([a-z0-9_.-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)[a-z0-9_.-]*["']?\s*[:=]\s*)(["'])[^"'\n]{4,}["']"#,
            "${1}${2}[secret]${2}",
        ),
        shape(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+\b", "[mail]"),
        shape(r"(?:/home|/Users)/[A-Za-z0-9._-]+", "~"),
        shape(r"(?i)\bC:\\Users\\[A-Za-z0-9._-]+", "~"),
        shape(r"/root\b", "~"),
    ]
});

static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b|(?:\b[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?::(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)\b|\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b")
        .expect("a constant pattern, compiled in a test")
});

/// Addresses that name no machine of anybody.
fn is_public_knowledge(address: &str) -> bool {
    use std::net::IpAddr;
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_unspecified() || ip.is_documentation(),
        // `a::b` is also a path in several languages.
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unspecified() || address.len() < 8,
        Err(_) => !address.contains(':') || address.len() < 6,
    }
}

/// `text` without what must not leave this host.
#[must_use]
pub fn redact(text: &str, private: &Private) -> String {
    let mut clean = text.to_owned();
    for path in private.paths.iter().filter(|path| path.len() > 2) {
        clean = clean.replace(path.as_str(), "~");
    }
    for shape in SHAPES.iter() {
        clean = shape.pattern.replace_all(&clean, shape.replacement).into_owned();
    }
    clean = ADDRESS
        .replace_all(&clean, |found: &Captures<'_>| {
            let address = &found[0];
            if is_public_knowledge(address) { address.to_owned() } else { "[address]".to_owned() }
        })
        .into_owned();
    for word in private.words.iter().filter(|word| word.len() > 2) {
        let pattern = format!(r"(?i)\b{}\b", regex::escape(word));
        if let Ok(pattern) = Regex::new(&pattern) {
            clean = pattern.replace_all(&clean, "[host]").into_owned();
        }
    }
    clean
}

/// [`redact`] for text that is no code, such as lines of logs and of unit files: a secret needs no quotes there, and what
/// looks random is taken for one.
#[must_use]
pub fn redact_words(text: &str, private: &Private) -> String {
    static WORDS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
        [
            r#"(?i)\b([a-z0-9_.-]*(?:password|passwd|passphrase|pwd|secret|token|credential|cookie|auth|api[_-]?key|access[_-]?key|private[_-]?key)[a-z0-9_.-]*["']?\s*[:=]\s*)(?:(?:basic|bearer|digest)\s+)?["']?[^\s"',;]+"#,
            r"(?i)((?:^|\s)--?[a-z0-9-]*(?:password|passwd|secret|token|key)[a-z0-9-]*[ =])\S+",
            r"[A-Za-z0-9+_]{24,}={0,2}",
        ]
        .map(|pattern| Regex::new(pattern).expect("a constant pattern, compiled in a test"))
    });
    let clean = redact(text, private);
    let clean = WORDS[0].replace_all(&clean, "${1}[secret]");
    let clean = WORDS[1].replace_all(&clean, "${1}[secret]");
    let random = |found: &Captures<'_>| {
        let token = &found[0];
        let looks_random = token.bytes().any(|b| b.is_ascii_digit());
        if looks_random { SECRET.to_owned() } else { token.to_owned() }
    };
    WORDS[2].replace_all(&clean, random).into_owned()
}

/// Whether `text` still holds something that has the shape of a secret.
#[must_use]
pub fn looks_secret(text: &str) -> bool {
    static SECRETS: LazyLock<RegexSet> = LazyLock::new(|| {
        let patterns = SHAPES.iter().filter(|shape| shape.replacement.contains(SECRET));
        RegexSet::new(patterns.map(|shape| shape.pattern.as_str())).expect("constant patterns, compiled in a test")
    });
    redact(text, &Private::default()) != text && SECRETS.is_match(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f13_planted_secrets_addresses_names_and_home_paths_are_taken_out() {
        let private = Private { words: vec!["db-prod-3".to_owned()], paths: vec!["/srv/people/ann".to_owned()] };
        let planted = [
            "ghp_0123456789abcdefghijABCDEFGHIJ012345",
            "AKIAABCDEFGHIJKLMNOP",
            "password = \"hunter22\"",
            "api_key: 'abcd1234'",
            "https://ann:hunter22@git.example.org/x",
            "Authorization: Bearer abcdefgh12345678",
            "10.20.30.40",
            "fe80::1ff:fe23:4567:890a",
            "00:1b:44:11:3a:b7",
            "ann@example.org",
            "/home/ann/app.py",
            "/srv/people/ann/app.py",
            "on DB-prod-3 today",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----",
        ];
        let needles = [
            "0123456789abcdef",
            "AKIA",
            "hunter22",
            "abcd1234",
            "abcdefgh1",
            "10.20",
            "fe80",
            "1b:44",
            "ann",
            "prod-3",
            "abc\n",
        ];
        for text in planted {
            let clean = redact(text, &private);
            assert!(!needles.iter().any(|needle| clean.contains(needle)), "{text} -> {clean}");
            assert_eq!(redact(&clean, &private), clean, "redaction is stable");
        }
    }

    #[test]
    fn f13_in_logs_and_unit_files_a_secret_needs_no_quotes() {
        for text in [
            "Environment=DB_PASSWORD=hunter22 A=b",
            "login failed: password: hunter22, retrying",
            "GET /x?token=hunter22&a=1",
            "Authorization: Basic hunter22",
            "client --api-key hunter22 --verbose",
            "client --password=hunter22",
            "session 0123456789abcdef0123456789abcdefhunter22",
            "key c2VjcmV0IHNlY3JldCBzZWNyZXQ1c2VjcmV0hunter22",
        ] {
            let clean = redact_words(text, &Private::default());
            assert!(!clean.contains("hunter22"), "{text} -> {clean}");
            assert_eq!(redact_words(&clean, &Private::default()), clean, "redaction is stable");
        }
        let plain = "web exited with 127 after 12 s; PATH=/usr/bin:/bin in /etc/systemd/system/service.d/10-path.conf";
        assert_eq!(redact_words(plain, &Private::default()), plain);
    }

    #[test]
    fn ordinary_code_is_left_alone() {
        let code = "with open(path, \"w\") as f:\n    json.dump(state, f)\n# 127.0.0.1 std::fs::write v1.2.3 12:30:45 a::b token = load()\n";
        assert_eq!(redact(code, &Private::default()), code);
    }
}
