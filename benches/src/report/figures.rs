//! Figures as people read them.

/// "2,000,000".
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "2 M", "500 k", "50": for the marks of an axis.
pub(super) fn short(number: f64) -> String {
    let trim = |value: f64, unit: &str| {
        let text = format!("{value:.1}");
        let text = text.strip_suffix(".0").unwrap_or(&text);
        format!("{text}{unit}")
    };
    match number.abs() {
        large if large >= 1e6 => trim(number / 1e6, " M"),
        middle if middle >= 1e3 => trim(number / 1e3, " k"),
        small if small >= 1.0 || small == 0.0 => trim(number, ""),
        _ => format!("{number}"),
    }
}

/// Microseconds: "850 us", "12.3 ms", "1.20 s".
pub(super) fn time_us(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// "287 B".
pub(super) fn bytes(bytes: f64) -> String {
    format!("{bytes:.0} B")
}

/// "23.5 GiB".
pub(super) fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(2_000_000), "2,000,000");
        assert_eq!(short(2e6), "2 M");
        assert_eq!(short(50_000.0), "50 k");
        assert_eq!(short(1_500_000.0), "1.5 M");
        assert_eq!(
            (short(0.0), short(0.1), short(7.0)),
            ("0".into(), "0.1".into(), "7".into())
        );
        assert_eq!(
            (time_us(850), time_us(12_345)),
            ("850 us".into(), "12.3 ms".into())
        );
        assert_eq!(time_us(1_200_000), "1.20 s");
    }
}
