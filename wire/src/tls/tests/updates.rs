//! KeyUpdates, and what comes too often: over generations, at the limits of a key, as a flood.

use super::*;

//= test of RFC 8446 section 4.6.3: If the request_update field is set to "update_requested", then the receiver MUST send a KeyUpdate of its own with request_update set to "update_not_requested" prior to sending its next Application Data record.
//= test of RFC 8446 section 4.6.3: Both sender and receiver MUST encrypt their KeyUpdate messages with the old keys.
#[test]
fn key_updates_run_over_generations_in_both_directions() {
    for suite in Suite::ALL {
        let (mut server, mut client) = pair(suite);
        for generation in 0..5u8 {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            // The request form: the server answers under its old key and then switches.
            client.forge(22, &[24, 0, 0, 1, 1], 0, &mut up);
            let (_, handled) = drain(&mut server, &mut up, &mut down);
            assert_eq!(handled, 1);
            assert_eq!(down.len(), 5 + 5 + 1 + 16);
            server.seal(&[generation], &mut down).unwrap();
            let (plain, handled) = drain(&mut client, &mut down, &mut Vec::new());
            assert_eq!((plain, handled), (vec![generation], 1));
            // forge() announced an update without making it.
            client = rekeyed(client);
            up.clear();
            client.seal(b"up", &mut up).unwrap();
            client.update_key(&mut up).unwrap();
            client.seal(b"date", &mut up).unwrap();
            let (plain, handled) = drain(&mut server, &mut up, &mut Vec::new());
            assert_eq!((&plain[..], handled), (&b"update"[..], 1));
        }
    }
}

/// Switches the sending key without saying so.
fn rekeyed(mut session: Session) -> Session {
    session.update_key(&mut Vec::new()).unwrap();
    session
}

//= test of RFC 8446 section 5.5: Implementations SHOULD do a key update as described in Section 4.6.3 prior to reaching these limits.
#[test]
fn a_key_is_changed_before_it_has_sealed_too_much() {
    for suite in [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384] {
        let (mut server, mut client) = pair(suite);
        client.set_tx_seq((1 << 24) - 1);
        server.set_rx_seq((1 << 24) - 1);
        let mut stream = Vec::new();
        client.seal(&[1; 40_000], &mut stream).unwrap();
        let (plain, handled) = drain(&mut server, &mut stream, &mut Vec::new());
        assert_eq!(
            (plain.len(), handled),
            (40_000, 1),
            "one record, an update, two records"
        );
    }
}

#[test]
fn floods_end_the_session() {
    type Send = fn(&mut Session, &mut Vec<u8>);
    let floods: [(&str, Send); 3] = [
        ("empty", |peer, out| peer.forge(23, &[], 100, out)),
        ("updates", |peer, out| peer.update_key(out).unwrap()),
        ("user_canceled", |peer, out| {
            peer.forge(21, &[1, 90], 0, out)
        }),
    ];
    for (name, send) in floods {
        let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
        let mut stream = Vec::new();
        for _ in 0..IDLE_RECORDS_MAX {
            send(&mut client, &mut stream);
        }
        // Eight records of data make up for one without.
        for _ in 0..8 {
            client.seal(b"x", &mut stream).unwrap();
        }
        send(&mut client, &mut stream);
        let (plain, handled) = drain(&mut server, &mut stream, &mut Vec::new());
        assert_eq!((&plain[..], handled), (&b"xxxxxxxx"[..], 33), "{name}");
        stream.clear();
        send(&mut client, &mut stream);
        let (error, alert) = refusal(&mut server, &mut client, &mut stream);
        assert_eq!(alert, Alert::UNEXPECTED_MESSAGE, "{name}: {error}");
    }
}

//= test of RFC 8446 section 6: MUST be treated as error alerts when received regardless of the AlertLevel in the message.
//= test of RFC 8446 section 6: Unknown Alert types MUST be treated as error alerts.
//= test of RFC 8446 section 6.1: Each party MUST send a "close_notify" alert before closing its write side of the connection, unless it has already sent some error alert.
//= test of RFC 8446 section 6.1: Any data received after a closure alert has been received MUST be ignored.
//= test of RFC 8446 section 6.2: Upon transmission or receipt of a fatal alert message, both parties MUST immediately close the connection.
#[test]
fn key_updates_go_on_without_end_only_where_data_goes_with_them() {
    for (data, passes) in [(0, 32), (1, 32), (7, 32), (8, 1_000), (100, 1_000)] {
        let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
        let mut updates = 0;
        while updates < 1_000 {
            let (mut update, mut stream) = (Vec::new(), Vec::new());
            client.update_key(&mut update).unwrap();
            if server.open(&mut update, &mut Vec::new()).is_err() {
                break;
            }
            updates += 1;
            for _ in 0..data {
                client.seal(b"x", &mut stream).unwrap();
            }
            assert_eq!(
                drain(&mut server, &mut stream, &mut Vec::new()).0.len(),
                data
            );
        }
        assert_eq!(
            updates, passes,
            "{data} records of data between two updates"
        );
    }
}
