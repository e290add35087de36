//! What was written reads back, and nothing else passes.

use proptest::prelude::*;

use super::*;

const LIFE: Life = Life {
    log_id: 5,
    epoch: 3,
};
const PLACE: u64 = 7 * BLOCK_BYTES as u64;

fn sound(bytes: &[u8], life: Life, place: u64) -> Option<BatchHeader> {
    let header = BatchHeader::peek(bytes, life, place, bytes.len() as u64)?;
    check_batch(&bytes[..header.length], &header, life).then_some(header)
}

fn records() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    prop::collection::vec(
        (any::<u64>(), prop::collection::vec(any::<u8>(), 0..700)),
        1..20,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_reads_back_and_no_flipped_bit_passes(
        records in records(), base in 0..u64::MAX / 2, at in any::<usize>(), bit in 0..8u32,
    ) {
        let mut batch = Batch::new(16 << 10);
        let taken: Vec<_> = records.into_iter().filter(|(key, body)| batch.push(*key, body)).collect();
        let blocks = batch.seal(LIFE, PLACE, Offset(base)).to_vec();
        let header = sound(&blocks, LIFE, PLACE).unwrap();
        prop_assert_eq!(header.base, Offset(base));
        prop_assert_eq!(header.end(), Offset(base + taken.len() as u64));
        let read: Vec<_> = Records::of(&blocks[..header.length]).map(|(k, b)| (k, b.to_vec())).collect();
        prop_assert_eq!(read, taken);

        for other in [Life { epoch: 4, ..LIFE }, Life { log_id: 6, ..LIFE }] {
            prop_assert!(sound(&blocks, other, PLACE).is_none());
        }
        prop_assert!(sound(&blocks, LIFE, PLACE + BLOCK_BYTES as u64).is_none());
        let mut flipped = blocks.clone();
        flipped[at % header.length] ^= 1u8 << bit;
        prop_assert!(sound(&flipped, LIFE, PLACE).is_none());
    }

    #[test]
    fn arbitrary_bytes_are_refused_quietly(mut bytes in prop::collection::vec(any::<u8>(), 40..5000), honest in any::<bool>()) {
        if honest {
            // Past the cheap checks, into the lengths.
            bytes[..4].copy_from_slice(&BATCH_MAGIC);
            bytes[16..24].copy_from_slice(&LIFE.epoch.to_le_bytes());
            bytes[36..40].copy_from_slice(&7u32.to_le_bytes());
            bytes[6..8].fill(0);
        }
        prop_assert!(sound(&bytes, LIFE, PLACE).is_none());
        prop_assert!(Records::of(&bytes).count() <= bytes.len());
    }
}

#[test]
fn headers_read_back_and_no_flipped_bit_passes() {
    let control = Control {
        log_id: 1,
        generation: 2,
        watermark: Offset(3),
        oldest: 4,
        newest: 5,
        end: Offset(6),
        segment_bytes: 7,
    };
    let segment = SegmentHeader {
        log_id: 1,
        epoch: 2,
        base: Offset(3),
        segment_bytes: 4,
    };
    let (mut a, mut b) = (control.encode(), segment.encode());
    assert_eq!(Control::decode(a.bytes()), Block::Valid(control));
    assert_eq!(SegmentHeader::decode(b.bytes()), Block::Valid(segment));
    assert_eq!(Control::decode(&[0; BLOCK_BYTES]), Block::Zero);
    for bit in 0..BLOCK_BYTES * 8 {
        for buf in [&mut a, &mut b] {
            buf.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Control::decode(a.bytes()), Block::Invalid, "bit {bit}");
        assert_eq!(
            SegmentHeader::decode(b.bytes()),
            Block::Invalid,
            "bit {bit}"
        );
        for buf in [&mut a, &mut b] {
            buf.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
