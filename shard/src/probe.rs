//! What the engine needs of the kernel, and whether it is there.

use std::fmt;
use std::io;

/// One thing that the engine needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its name in io_uring's terms.
    pub what: &'static str,
    /// The first kernel that has it.
    pub since: &'static str,
    /// `None`: it is there. Otherwise why not.
    pub missing: Option<String>,
}

impl Need {
    pub(crate) fn found(what: &'static str, since: &'static str) -> Self {
        let missing = None;
        Need {
            what,
            since,
            missing,
        }
    }

    pub(crate) fn absent(what: &'static str, since: &'static str) -> Self {
        let missing = Some("not in this kernel".to_owned());
        Need {
            what,
            since,
            missing,
        }
    }

    pub(crate) fn failed(what: &'static str, since: &'static str, error: &io::Error) -> Self {
        let why = match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP) => "not in this kernel",
            Some(libc::EPERM | libc::EACCES) => {
                "forbidden: see the sysctl kernel.io_uring_disabled, and the container's seccomp profile"
            }
            Some(libc::ENOMEM) => "no memory: see the limit of locked memory (ulimit -l)",
            _ => "failed",
        };
        let missing = Some(format!("{why} ({error})"));
        Need {
            what,
            since,
            missing,
        }
    }

    pub(crate) fn tried(what: &'static str, since: &'static str, result: io::Result<()>) -> Self {
        match result {
            Ok(()) => Need::found(what, since),
            Err(error) => Need::failed(what, since, &error),
        }
    }
}

/// What was asked of the kernel, and its answers. Displays one line per thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// Everything that the engine needs.
    pub needs: Vec<Need>,
}

impl Report {
    pub(crate) fn new(kernel: String) -> Self {
        let needs = Vec::new();
        Report { kernel, needs }
    }

    /// What is not there.
    pub fn missing(&self) -> impl Iterator<Item = &Need> {
        self.needs.iter().filter(|need| need.missing.is_some())
    }

    /// Whether the engine can run here.
    pub fn is_complete(&self) -> bool {
        self.missing().next().is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_complete() {
            let count = self.needs.len();
            return write!(
                f,
                "kernel {}: all {count} io_uring features found",
                self.kernel
            );
        }
        write!(f, "kernel {} lacks what the engine needs:", self.kernel)?;
        for need in self.missing() {
            let why = need.missing.as_deref().unwrap_or_default();
            write!(f, "\n  {} (Linux {}): {why}", need.what, need.since)?;
        }
        Ok(())
    }
}

/// Asks the kernel. Makes a few small rings and drops them.
pub fn check() -> Report {
    crate::sys::probe::check()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_everything() {
        let report = check();
        assert!(report.is_complete(), "{report}");
        assert!(report.needs.len() == 18);
    }

    #[test]
    fn what_is_missing_is_named_with_its_kernel() {
        let mut report = Report::new("5.10.0".into());
        let einval = io::Error::from_raw_os_error(libc::EINVAL);
        report.needs.push(Need::found("RECV", "5.6"));
        report
            .needs
            .push(Need::failed("DEFER_TASKRUN", "6.1", &einval));
        let text = report.to_string();
        assert!(text.contains("kernel 5.10.0") && text.contains("DEFER_TASKRUN (Linux 6.1)"));
        assert!(!text.contains("RECV"));
    }
}
