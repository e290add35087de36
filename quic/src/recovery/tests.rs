//! Which packets are lost and when, on tables of a few packets.

use super::rtt::GRANULARITY;
use super::*;

fn flight(numbers: Range<u64>) -> Recovery {
    let mut recovery = Recovery::new();
    for number in numbers {
        recovery.on_sent(Sent {
            number,
            at: number * 1_000,
            bytes: 1_000,
            carried: vec![Carried::RetireConnectionId(number as u16)],
        });
    }
    recovery
}

fn numbers(sent: &[Sent]) -> Vec<u64> {
    sent.iter().map(|sent| sent.number).collect()
}

//= test of RFC 9002 section 5.1: An RTT sample MUST NOT be generated on receiving an ACK frame that does not newly acknowledge at least one ack-eliciting packet.
#[test]
fn three_later_packets_or_time_lose_one() {
    let mut rtt = Rtt::UNKNOWN;
    let mut recovery = flight(0..5);
    let verdict = recovery.on_ack([4..=4].into_iter(), 4, 0, 50_000, &mut rtt, 25_000);
    assert_eq!(numbers(&verdict.acked), [4]);
    assert_eq!(numbers(&verdict.lost), [0, 1]);
    assert_eq!(rtt.smoothed, 46_000);
    let due = 2_000 + 46_000 * 9 / 8;
    assert_eq!(recovery.timeout(&rtt, 25_000), Some(due));
    assert!(recovery.handle_timeout(due - 1, &rtt, 25_000).is_empty());
    assert_eq!(numbers(&recovery.handle_timeout(due, &rtt, 25_000)), [2]);
    // Said again, it says nothing, about time neither.
    let verdict = recovery.on_ack([4..=4].into_iter(), 4, 0, 90_000, &mut rtt, 25_000);
    assert!(verdict.acked.is_empty() && verdict.lost.is_empty());
    assert_eq!(rtt.smoothed, 46_000);
}

//= test of RFC 9002 section 6.2.4: When a PTO timer expires, a sender MUST send at least one ack-eliciting packet in the packet number space as a probe.
#[test]
fn silence_makes_probes_that_carry_the_oldest_again() {
    let rtt = Rtt::unpack([1_000, 0]);
    let mut recovery = flight(0..2);
    let due = 1_000 + 64_000 + GRANULARITY + 25_000;
    assert_eq!(recovery.timeout(&rtt, 25_000), Some(due));
    let again = recovery.handle_timeout(due, &rtt, 25_000);
    assert_eq!(numbers(&again), [0]);
    assert_eq!(again[0].carried, [Carried::RetireConnectionId(0)]);
    assert_eq!(recovery.probes, 2);
    assert_eq!(recovery.timeout(&rtt, 25_000), Some(due + 2 * 90_000));
}

#[test]
fn losses_over_a_long_time_are_persistent_unless_one_came_through() {
    let lost = |numbers: &[u64]| -> Vec<Sent> {
        let sent = numbers.iter().map(|number| Sent {
            number: *number,
            at: number * 1_000,
            bytes: 0,
            carried: Vec::new(),
        });
        sent.collect()
    };
    assert!(is_persistent(&lost(&[1, 2, 3, 4]), 2_000));
    assert!(!is_persistent(&lost(&[1, 2, 4, 5]), 2_000));
}
