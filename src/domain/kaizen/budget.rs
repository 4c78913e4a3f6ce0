//! How much may be asked of a model in a day, and how its words are counted beforehand.

/// What a model may cost within 24 h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Most calls.
    pub calls: u64,
    /// Most tokens, of questions and answers together.
    pub tokens: u64,
}

/// What it has cost within 24 h.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spent {
    /// Calls that were begun.
    pub calls: u64,
    /// Tokens, as the server counted them, or as they were expected where it did not.
    pub tokens: u64,
}

/// Tokens that a text comes to at most, as a rule: one for three bytes.
///
/// Tokenisers make about one of four bytes of English prose and of two to three bytes of paths, numbers and JSON, of
/// which facts are made. None is shipped: it would be another one for each model.
#[must_use]
pub const fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(3)
}

impl Budget {
    /// Whether a call of this many tokens may be begun.
    ///
    /// # Errors
    /// What is used up, in one sentence.
    pub fn allow(&self, spent: Spent, wanted: u64) -> Result<(), String> {
        if spent.calls >= self.calls {
            return Err(format!("{} calls were made within 24 h, and {} are allowed", spent.calls, self.calls));
        }
        if spent.tokens.saturating_add(wanted) > self.tokens {
            return Err(format!(
                "{} tokens were used within 24 h, {wanted} more are wanted, and {} are allowed",
                spent.tokens, self.tokens
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e15_a_call_that_might_pass_the_budget_is_not_begun() {
        let budget = Budget { calls: 2, tokens: 100 };
        let spent = |calls, tokens| Spent { calls, tokens };
        assert_eq!(budget.allow(spent(1, 60), 40), Ok(()));
        assert!(budget.allow(spent(1, 60), 41).expect_err("too many").contains("60 tokens"));
        assert!(budget.allow(spent(2, 0), 1).expect_err("too many").contains("2 calls"));
        assert!(Budget { calls: 0, tokens: 9 }.allow(Spent::default(), 1).is_err());
        assert_eq!((tokens(""), tokens("abcd"), tokens("äöü")), (0, 2, 2));
    }
}
