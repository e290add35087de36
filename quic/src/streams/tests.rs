//! Streams, cut and lost as a network does it, and their limits.

use proptest::prelude::*;

use super::*;

fn peer() -> Parameters {
    Parameters {
        max_data: 10_000,
        stream_data_bidi_local: 4_000,
        stream_data_bidi_remote: 4_000,
        stream_data_uni: 4_000,
        streams_bidi: 2,
        streams_uni: 1,
        ..Parameters::default()
    }
}

fn server() -> Streams {
    Streams::new(true, Windows::default(), &peer())
}

fn data(id: u64, offset: u64, data: &[u8]) -> StreamData<'_> {
    StreamData {
        id: StreamId(id),
        offset,
        fin: false,
        data,
    }
}

//= test of RFC 9000 section 19.11: A MAX_STREAMS frame with a lower stream limit than was previously advertised MUST be ignored
//= test of RFC 9000 section 4.1: A sender MUST ignore any MAX_STREAM_DATA or MAX_DATA frames that do not increase flow control limits.
#[test]
fn limits_of_the_peer_only_grow() {
    let mut streams = server();
    let first = streams.open(false).unwrap();
    assert!(streams.open(false).is_some());
    assert!(streams.open(false).is_none());
    streams.on_max_streams(false, 1);
    assert!(streams.open(false).is_none());
    streams.on_max_streams(false, 3);
    assert!(streams.open(false).is_some());
    let send = streams.send_half(first).unwrap();
    send.write(&[1; 9_000]);
    let mut sent = 0;
    let mut drain = |streams: &mut Streams| {
        while let Some((_, chunk)) = streams.next_chunk(|_, _| 1_000) {
            sent += chunk.fresh;
        }
        sent
    };
    assert_eq!(drain(&mut streams), 4_000);
    streams.on_max_stream_data(first, 1_000).unwrap();
    streams.on_max_data(1_000);
    assert_eq!(drain(&mut streams), 4_000);
    streams.on_max_stream_data(first, 8_500).unwrap();
    assert_eq!(drain(&mut streams), 8_500);
}

//= test of RFC 9000 section 3.2: Before a stream is created, all streams of the same type with lower-numbered stream IDs MUST be created.
#[test]
fn lower_streams_come_with_a_higher_one_and_make_room_when_done() {
    let mut streams = server();
    streams.on_data(&data(12, 0, b"x")).unwrap();
    for id in [0, 4, 8, 12] {
        assert!(streams.find(StreamId(id)).is_some(), "{id}");
    }
    assert_eq!(
        streams.poll_event(),
        Some(StreamEvent::Readable(StreamId(12)))
    );
    assert_eq!(streams.poll_event(), None);
    assert_eq!(streams.take_max_streams(), None);
    // Both directions end.
    streams.on_reset(StreamId(12), 5, 1).unwrap();
    let mut out = Vec::new();
    assert_eq!(
        streams.read(StreamId(12), 10, &mut out),
        Some((0, Rest::Reset(5)))
    );
    let send = streams.send_half(StreamId(12)).unwrap();
    send.finish();
    let chunk = send.next_chunk(100, 100).unwrap();
    assert!(chunk.fin && chunk.offsets.is_empty());
    send.on_acked(chunk.offsets, true);
    streams.drop_done(StreamId(12));
    assert!(streams.find(StreamId(12)).is_none());
    let bidi = u64::from(Windows::default().bidi);
    assert_eq!(streams.take_max_streams(), Some((false, bidi + 1)));
    // What comes late for it is nothing to anybody.
    streams.on_data(&data(12, 0, b"x")).unwrap();
    assert_eq!(streams.poll_event(), None);
}

//= test of RFC 9000 section 3.5: An endpoint that receives a STOP_SENDING frame MUST send a RESET_STREAM frame if the stream is in the "Ready" or "Send" state.
#[test]
fn who_is_told_to_stop_resets() {
    let mut streams = server();
    streams.on_data(&data(0, 0, b"x")).unwrap();
    streams.poll_event();
    let send = streams.send_half(StreamId(0)).unwrap();
    send.write(b"hello");
    send.next_chunk(3, 100);
    streams.on_stop(StreamId(0), 9).unwrap();
    let stopped = StreamEvent::Stopped(StreamId(0), 9);
    assert_eq!(streams.poll_event(), Some(stopped));
    assert!(streams.has_control() && !streams.has_data());
    let send = streams.send_half(StreamId(0)).unwrap();
    assert_eq!(send.take_reset(), Some((9, 3)));
    assert!(!send.is_open());
    streams.on_stop(StreamId(0), 10).unwrap();
    assert_eq!(streams.poll_event(), None);
}

#[test]
fn what_nobody_reads_gives_no_credit_and_what_is_dropped_does() {
    let mut streams = server();
    let half = vec![0; 40_000];
    streams.on_data(&data(0, 0, &half)).unwrap();
    streams.on_data(&data(4, 0, &half)).unwrap();
    assert_eq!(streams.take_max_data(), None);
    streams.stop(StreamId(0), 1);
    streams.stop(StreamId(4), 1);
    let window = u64::from(Windows::default().bytes);
    assert_eq!(streams.take_max_data(), Some(80_000 + window));
    // More of a stopped stream counts as read at once.
    streams.on_data(&data(0, 60_000, b"x")).unwrap();
    assert_eq!(streams.received, streams.read);
}

#[test]
fn a_stream_in_too_many_pieces_ends_the_connection() {
    let mut streams = server();
    let mut refused = None;
    for piece in 0..1_000 {
        if let Err(error) = streams.on_data(&data(0, 1 + 2 * piece, b"x")) {
            refused = Some((piece, error.code));
            break;
        }
    }
    assert_eq!(refused, Some((64, Code::INTERNAL_ERROR)));
}

proptest! {
    #[test]
    fn bytes_arrive_in_order_however_they_are_cut_and_lost(
        text in proptest::collection::vec(any::<u8>(), 0..3_000),
        fates in proptest::collection::vec((1_u64..400, 0_u8..4), 1..60),
    ) {
        let mut send = SendStream::new(0, 1 << 30);
        let mut recv = RecvStream::new(0, 1 << 30, 1 << 30);
        prop_assert_eq!(send.write(&text), text.len());
        send.finish();
        let mut heard = Vec::new();
        let mut ended = false;
        for (room, fate) in fates.into_iter().cycle().take(20_000) {
            let Some(chunk) = send.next_chunk(room, u64::MAX) else {
                prop_assert!(send.is_done() && recv.is_done());
                break;
            };
            let mut bytes = Vec::new();
            send.put(&chunk.offsets, &mut bytes);
            prop_assert_eq!(bytes.len() as u64, chunk.offsets.end - chunk.offsets.start);
            // Lost; arrived and the acknowledgement lost; or well, often enough to end.
            let arrives = fate != 0;
            let acked = fate > 1 || room > 200;
            if arrives || acked {
                recv.insert(chunk.offsets.start, &bytes, chunk.fin).unwrap();
            }
            if acked {
                send.on_acked(chunk.offsets, chunk.fin);
            } else {
                send.on_lost(chunk.offsets, chunk.fin);
            }
            let (_, rest) = recv.read(room as usize, &mut heard);
            ended |= rest == Rest::Finished;
            prop_assert!(text.starts_with(&heard));
            if !acked && room <= 200 && fate == 1 && send.has_chunk(1) && heard.len() == text.len() {
                // All has arrived; only acknowledgements are missing.
                let chunk = send.next_chunk(u64::MAX, u64::MAX).unwrap();
                send.on_acked(chunk.offsets, chunk.fin);
            }
        }
        while recv.read(1_000, &mut heard).0 > 0 {}
        prop_assert!(text.starts_with(&heard));
        prop_assert!(!ended || heard == text);
    }

    #[test]
    fn a_pack_is_the_same_streams(
        sent in 0_u64..1 << 40, received in 0_u64..1 << 40, opened in 0_u64..1_000, has_stream: bool,
    ) {
        let mut streams = server();
        streams.sent = sent;
        streams.sent_max = sent + 10_000;
        (streams.received, streams.read) = (received, received);
        streams.received_max = received + 5_000;
        streams.local[0] = Count { opened, max: opened + 2 };
        if has_stream {
            streams.open(false);
        }
        let packed = Packed::pack(&streams).unwrap();
        let mut bytes = Vec::new();
        packed.write(&mut bytes);
        prop_assert_eq!(bytes.len(), Packed::BYTES);
        let mut reader = crate::varint::Reader::new(&bytes);
        prop_assert_eq!(Packed::read(&mut reader), Some(packed));
        let again = packed.unpack(true, Windows::default());
        prop_assert_eq!(Packed::pack(&again), Some(packed));
        prop_assert_eq!(again.sent_max, streams.sent_max);
        prop_assert_eq!(again.received_max, streams.received_max);
        prop_assert_eq!(again.open.len(), usize::from(has_stream));
        prop_assert_eq!((again.local, again.remote), (streams.local, streams.remote));
    }
}
