//! The validity of an X.509 certificate (RFC 5280 section 4.1.2.5), read straight from its DER.
//!
//! rustls judges a peer's certificate but never tells the operator that his own has expired. This
//! reads two dates and nothing else; it does not judge a chain.

use std::ops::RangeInclusive;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The seconds of the Unix epoch in which the certificate is valid. `None` when it does not parse.
pub(super) fn validity(certificate: &[u8]) -> Option<RangeInclusive<i64>> {
    let (body, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(body, SEQUENCE)?;
    if let Some((_, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    // serialNumber, signature and issuer stand before it.
    for _ in 0..3 {
        let (_, _, rest) = any_element(fields)?;
        fields = rest;
    }
    let (dates, _) = element(fields, SEQUENCE)?;
    let (tag, from, dates) = any_element(dates)?;
    let from = time(tag, from)?;
    let (tag, to, _) = any_element(dates)?;
    Some(from..=time(tag, to)?)
}

/// The content of the first element, which must have this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any_element(der)
        .filter(|(found, ..)| *found == tag)
        .map(|(_, content, rest)| (content, rest))
}

fn any_element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                digits
                    .iter()
                    .fold(0, |len, digit| len << 8 | usize::from(*digit)),
                rest,
            )
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let two = |at: usize| -> Option<i64> {
        let digits = text.get(at..at + 2)?;
        digits.iter().try_fold(0, |n, digit| {
            digit
                .is_ascii_digit()
                .then(|| n * 10 + i64::from(digit - b'0'))
        })
    };
    let (year, at) = match (tag, text.len()) {
        // RFC 5280 section 4.1.2.5.1: 50 to 99 are of the 20th century.
        (UTC_TIME, 13) => (
            two(0).map(|year| year + if year < 50 { 2000 } else { 1900 })?,
            2,
        ),
        (GENERALIZED_TIME, 15) => (two(0)? * 100 + two(2)?, 4),
        _ => return None,
    };
    let [month, day, hour, minute, second] = [
        two(at)?,
        two(at + 2)?,
        two(at + 4)?,
        two(at + 6)?,
        two(at + 8)?,
    ];
    let sound = (1..=12).contains(&month) && (1..=31).contains(&day) && text.last() == Some(&b'Z');
    sound.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01, with years that begin in March, so that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}
