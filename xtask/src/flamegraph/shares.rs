//! The largest shares of a profile, in words.

use std::collections::{BTreeMap, BTreeSet};

use super::draw::{KERNEL, Stacks, name_of};

/// Functions in each list.
const LISTED: usize = 12;
/// Characters of a function's name: the end of it tells most.
const NAME_MAX: usize = 72;

/// Kernel and user space, threads, the functions whose own code takes most, and ours with all they call.
pub(super) fn lines(stacks: &Stacks) -> Vec<String> {
    let total = stacks.cpu_ns();
    let percent = |seen: u64| seen as f64 / total.max(1) as f64 * 100.0;
    let mut kernel = 0;
    let (mut threads, mut own, mut ours) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (frames, seen) in stacks.iter() {
        let (Some(thread), Some(leaf)) = (frames.first(), frames.last()) else {
            continue;
        };
        if leaf.ends_with(KERNEL) {
            kernel += seen;
        }
        *threads.entry(thread.as_str()).or_insert(0) += seen;
        *own.entry(name_of(leaf)).or_insert(0) += seen;
        // Once for each stack, however often it is in it.
        let called: BTreeSet<&str> = frames.iter().map(|frame| name_of(frame)).collect();
        for function in called.into_iter().filter(|name| is_ours(name)) {
            *ours.entry(function).or_insert(0) += seen;
        }
    }
    let mut lines = vec![format!(
        "{:.2} s of CPU: kernel {:.1} %, user {:.1} %",
        total as f64 / 1e9,
        percent(kernel),
        percent(total - kernel)
    )];
    for (title, counts) in [
        ("threads", threads),
        ("own code", own),
        ("ours, with what it calls", ours),
    ] {
        lines.push(format!("{title}:"));
        for (name, seen) in largest(counts) {
            lines.push(format!("  {:5.1} %  {}", percent(seen), short(name)));
        }
    }
    lines
}

fn is_ours(name: &str) -> bool {
    ["rookery_", "rustls::", "aws_lc_rs::", "fjall::"]
        .iter()
        .any(|krate| name.contains(krate))
}

fn largest(counts: BTreeMap<&str, u64>) -> Vec<(&str, u64)> {
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by_key(|(name, seen)| (std::cmp::Reverse(*seen), *name));
    all.truncate(LISTED);
    all
}

fn short(name: &str) -> String {
    let cut = name.chars().count().saturating_sub(NAME_MAX);
    match cut {
        0 => name.to_owned(),
        cut => format!("...{}", name.chars().skip(cut).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recursion_is_counted_once_and_kernel_time_told() {
        let stacks = Stacks::parse(
            "t;rookery_a::f;rookery_a::f 300000000\nt;rookery_a::f;send_[k] 700000000\n",
        );
        let lines = lines(&stacks);
        assert_eq!(lines[0], "1.00 s of CPU: kernel 70.0 %, user 30.0 %");
        assert!(
            lines.contains(&"  100.0 %  rookery_a::f".to_owned()),
            "{lines:?}"
        );
        assert!(lines.contains(&"   70.0 %  send".to_owned()), "{lines:?}");
        assert!(
            lines.contains(&"   30.0 %  rookery_a::f".to_owned()),
            "{lines:?}"
        );
    }
}
