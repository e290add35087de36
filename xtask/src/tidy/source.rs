//! Rust source with its comments and literals blanked, so that a rule sees code only.

/// The same text, line by line and column by column, with comments, strings and characters as spaces.
pub(super) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = literal_or_comment(rest);
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(
                rest[..skipped]
                    .chars()
                    .map(|c| if c == '\n' { c } else { ' ' }),
            );
            rest = &rest[skipped..];
        }
    }
    code
}

/// The bytes of the comment or literal that `text` starts with, or 0.
fn literal_or_comment(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    if let Some(hashes) = raw_string(text) {
        let close = format!("\"{}", "#".repeat(hashes));
        let open = 2 + hashes;
        return text[open..]
            .find(&close)
            .map_or(text.len(), |end| open + end + close.len());
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    // A lifetime has no second quote within an escape's or a character's reach.
    if text.starts_with("'\\") {
        return quoted(text, '\'');
    }
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some(inner), Some('\'')) => 2 + inner.len_utf8(),
        _ => 0,
    }
}

/// The number of hashes of `r"`, `r#"`, ….
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|&byte| byte == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Whether `word` stands in the line as a word of its own.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(part_of_a_word)
            && !line[at + word.len()..].starts_with(part_of_a_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_and_literals_and_keeps_lines() {
        let text =
            "let a = \"x\\\"y\"; // z\nlet b = r#\"q\"q\"#; /* w\n */ 'l' '\\'' fn f<'a>() {}";
        let code = code_only(text);
        assert_eq!(code.lines().count(), 3);
        for gone in ["x", "z", "q", "w", "'l'"] {
            assert!(!code.contains(gone), "{gone} in {code}");
        }
        assert!(code.contains("fn f<'a>() {}"), "{code}");
    }

    #[test]
    fn a_word_is_whole() {
        assert!(has_word("pub unsafe fn", "unsafe"));
        assert!(!has_word("unsafe_code = deny", "unsafe"));
    }
}
