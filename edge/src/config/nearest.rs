//! A name that is not known, and the known one that was probably meant.

/// `name`, and the known one that was probably meant, or all of them.
pub(super) fn nearest(name: &str, known: &[&str]) -> String {
    let known: Vec<&str> = known
        .iter()
        .copied()
        .filter(|known| !known.is_empty())
        .collect();
    let best = known
        .iter()
        .copied()
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    match best {
        Some(best) if strsim::jaro_winkler(name, best) > 0.75 => {
            format!("`{name}` (did you mean `{best}`?)")
        }
        _ => format!("`{name}` (known are {})", known.join(", ")),
    }
}
