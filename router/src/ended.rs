//! Threads that are to live until they are told to end, and did not.

use std::thread::JoinHandle;

/// What is wrong where some of these threads have ended already; none while all live. Names each: one may
/// have ended for want of another.
pub(crate) fn ended<'a, T: 'a>(
    threads: impl IntoIterator<Item = &'a JoinHandle<T>>,
) -> Option<String> {
    let ended = threads.into_iter().filter(|thread| thread.is_finished());
    let names: Vec<&str> = ended.filter_map(|it| it.thread().name()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} ended by itself, which is a defect of this program. What was acked is kept: start this process \
             again, and report what it logged before",
            names.join(", ")
        )
    })
}
