//! What is wrong with a service that the router needs, as an operator is told it. Not an error: whoever
//! checks goes on and tells everything that is wrong.

/// One thing that is wrong with a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which: `kafka`, `cql`, `postgres`, `redis`.
    pub service: &'static str,
    /// Whether the router cannot work with it; a warning otherwise.
    pub fatal: bool,
    /// What is wrong, in one sentence with its figures.
    pub what: String,
    /// What to do about it, in one sentence.
    pub advice: String,
}

impl Problem {
    /// One with which the router cannot work.
    pub(crate) fn fatal(
        service: &'static str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            service,
            fatal: true,
            what: what.into(),
            advice: advice.into(),
        }
    }

    /// One with which it works.
    pub(crate) fn warning(
        service: &'static str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            fatal: false,
            ..Self::fatal(service, what, advice)
        }
    }
}
