//! A profile of kernel parameters: `sysctl.d(5)` syntax, with the comment lines right above a setting
//! taken as its reason. A setting without a reason is refused: nobody could judge it later.

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As in the file, `net.core.somaxconn`.
    pub key: String,
    /// As in the file, words separated by one space.
    pub value: String,
    /// The comment above it, on one line.
    pub reason: String,
    /// Its line in the file, from 1.
    pub line: usize,
}

/// A line that is no setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ProfileError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// The settings of a profile, in the file's order.
pub fn parse(text: &str) -> Result<Vec<Setting>, ProfileError> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut reason: Vec<&str> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |problem| ProfileError {
            line: index + 1,
            problem,
        };
        let line = line.trim();
        if line.is_empty() {
            reason.clear();
        } else if let Some(comment) = line.strip_prefix(['#', ';']) {
            reason.push(comment.trim());
        } else {
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| wrong("a setting is `key = value`"))?;
            let (key, value) = (
                key.trim(),
                value.split_whitespace().collect::<Vec<_>>().join(" "),
            );
            if !is_key(key) {
                return Err(wrong(
                    "a key is words of letters, digits, _ and -, joined by dots",
                ));
            }
            if value.is_empty() {
                return Err(wrong("the value is missing"));
            }
            if reason.is_empty() {
                return Err(wrong(
                    "a setting needs its reason, as a comment right above it",
                ));
            }
            if settings.iter().any(|earlier| earlier.key == key) {
                return Err(wrong("this key was set before"));
            }
            settings.push(Setting {
                key: key.to_owned(),
                value,
                reason: reason.join(" "),
                line: index + 1,
            });
            reason.clear();
        }
    }
    Ok(settings)
}

/// No slashes and no empty words: a key cannot leave `/proc/sys`.
fn is_key(key: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    key.contains('.')
        && key
            .split('.')
            .all(|word| !word.is_empty() && word.bytes().all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_with_their_reasons() {
        let text = "# A heading.\n\n# Because\n# of this.\nnet.core.somaxconn = 4096\n; That.\nnet.ipv4.ip_local_port_range=1024\t65535\n";
        let settings = parse(text).unwrap();
        assert_eq!(settings.len(), 2);
        assert_eq!(settings[0].reason, "Because of this.");
        assert_eq!(
            (settings[1].value.as_str(), settings[1].line),
            ("1024 65535", 7)
        );
    }

    #[test]
    fn bad_lines_are_named() {
        let cases = [
            ("# r\nnonsense\n", 2, "key = value"),
            ("# r\na.b =\n", 2, "missing"),
            ("a.b = 1\n", 1, "reason"),
            ("# r\n\na.b = 1\n", 3, "reason"),
            ("# r\na..b = 1\n", 2, "a key is"),
            ("# r\n../x.y = 1\n", 2, "a key is"),
            ("# r\na/b.c = 1\n", 2, "a key is"),
            ("# r\na.b = 1\n# r\na.b = 2\n", 4, "before"),
        ];
        for (text, line, problem) in cases {
            let error = parse(text).unwrap_err();
            assert!(
                error.line == line && error.problem.contains(problem),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn our_own_profile_parses() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../sysctl/90-rookery-density.conf"
        );
        let settings = parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(settings.len() >= 8);
        assert!(settings.iter().all(|setting| setting.reason.len() > 40));
        assert!(
            settings
                .iter()
                .any(|setting| setting.key == "net.ipv4.ip_local_port_range")
        );
    }
}
