//! What the processor can do, as far as the libraries choose their code by it. Under valgrind this is the
//! emulated processor, which is the same on most hosts; counts of different ones cannot be compared.

/// The architecture and its features, in one line.
pub(crate) fn features() -> String {
    let mut line = std::env::consts::ARCH.to_owned();
    for feature in present() {
        line.push(' ');
        line.push_str(feature);
    }
    line
}

#[cfg(target_arch = "x86_64")]
fn present() -> Vec<&'static str> {
    macro_rules! those_of {
        ($($feature:tt)*) => {
            [$(($feature, is_x86_feature_detected!($feature))),*]
        };
    }
    let features = those_of!(
        "aes" "pclmulqdq" "ssse3" "sse4.1" "avx" "avx2" "bmi1" "bmi2" "adx" "movbe" "sha" "avx512f"
        "avx512vl" "vaes" "vpclmulqdq" "rdrand"
    );
    features
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn present() -> Vec<&'static str> {
    Vec::new()
}
