//! What the checks of the services found, in lines for an operator.

use rookery_router::problem::Problem;

/// What was found of one service.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Which: as in [`Problem::service`].
    pub service: &'static str,
    /// Where it is, without secrets.
    pub place: String,
    /// What is wrong; nothing, where it is well.
    pub problems: Vec<Problem>,
}

impl Checked {
    /// How much of it the router cannot work with.
    pub fn fatal(&self) -> usize {
        self.problems.iter().filter(|problem| problem.fatal).count()
    }

    /// A line per problem and one for what to do, or one line where there is none.
    pub fn lines(&self) -> Vec<String> {
        let Self { service, place, .. } = self;
        if self.problems.is_empty() {
            return vec![format!("ok       {service:<9} {place}")];
        }
        let lines = self.problems.iter().flat_map(|problem| {
            let kind = if problem.fatal { "wrong" } else { "warning" };
            [
                format!("{kind:<8} {service:<9} {}", problem.what),
                format!("{:<18} what to do: {}", "", problem.advice),
            ]
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(fatal: bool) -> Problem {
        Problem {
            service: "redis",
            fatal,
            what: "it is a pumpkin".into(),
            advice: "wait until noon".into(),
        }
    }

    fn checked(problems: Vec<Problem>) -> Checked {
        Checked {
            service: "redis",
            place: "redis://127.0.0.1:6379/0".into(),
            problems,
        }
    }

    #[test]
    fn warnings_are_told_and_do_not_fail() {
        let well = checked(Vec::new());
        assert_eq!(
            well.lines(),
            ["ok       redis     redis://127.0.0.1:6379/0"]
        );
        let warned = checked(vec![problem(false)]);
        assert_eq!((well.fatal(), warned.fatal()), (0, 0));
        assert_eq!(
            warned.lines(),
            [
                "warning  redis     it is a pumpkin",
                "                   what to do: wait until noon"
            ]
        );
        let wrong = checked(vec![problem(false), problem(true)]);
        assert_eq!((wrong.fatal(), wrong.lines().len()), (1, 4));
        assert!(wrong.lines()[2].starts_with("wrong    redis     it is"));
    }
}
