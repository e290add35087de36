//! A document that is written by people but for one section, which a chore writes between two markers,
//! `<!-- NAME:begin -->` and `<!-- NAME:end -->`.

use std::path::Path;

use anyhow::{Context, Result};

/// Puts `section` between the markers of that name of the page at `path`. Nothing else is changed.
pub(crate) fn rewrite(path: &Path, name: &str, section: &str) -> Result<()> {
    let page = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let page = between_markers(&page, name, section)
        .with_context(|| format!("{} lacks {} or {}", path.display(), begin(name), end(name)))?;
    std::fs::write(path, page).with_context(|| format!("write {}", path.display()))
}

fn begin(name: &str) -> String {
    format!("<!-- {name}:begin -->")
}

fn end(name: &str) -> String {
    format!("<!-- {name}:end -->")
}

fn between_markers(page: &str, name: &str, section: &str) -> Option<String> {
    let (begin, end) = (begin(name), end(name));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!(
        "{before}{begin}\n{}\n{end}{after}",
        section.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let page = "# Page\n<!-- a:begin -->\nold\n<!-- a:end -->\nmore <!-- b:begin -->\n";
        let new = between_markers(page, "a", "new\n").unwrap();
        let expected = "# Page\n<!-- a:begin -->\nnew\n<!-- a:end -->\nmore <!-- b:begin -->\n";
        assert_eq!(new, expected);
        assert_eq!(between_markers(&new, "a", "new").unwrap(), new, "stable");
        assert_eq!(between_markers(page, "b", "new"), None, "no end");
        assert_eq!(between_markers("# Page\n", "a", "new"), None);
    }
}
