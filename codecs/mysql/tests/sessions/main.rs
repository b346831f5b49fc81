//! Sessions in transparent mode: every byte as it came, and still known what it is.

mod captures;
mod driver;
mod hostile;
mod libraries;
mod packets;
mod scripts;

use proptest::prelude::*;

/// Bytes that mean something to the machine more often than others do.
fn telling() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => 0..6_u8,
        2 => prop::sample::select(vec![0xfa, 0xfb, 0xfc, 0xfe, 0xff]),
        1 => 0x0e..0x22_u8,
        1 => any::<u8>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_peers_are_survived(
        begin in any::<[u8; 2]>(),
        said in prop::collection::vec(telling(), 0..160),
    ) {
        hostile::survive(&[&begin[..], &said].concat());
    }

    #[test]
    fn almost_right_packets_are_survived(
        flags in any::<u8>(),
        packets in prop::collection::vec(
            (any::<bool>(), 0..4_u8, prop::collection::vec(telling(), 0..12)), 0..16),
    ) {
        let mut data = vec![3, flags];
        for (upstream, seq, body) in packets {
            let mut packet = packets::packet(seq, &body);
            if flags & 0x80 != 0 {
                // As it is in a compressed session where it is short.
                packet.splice(0..0, [u8::try_from(packet.len()).expect("short"), 0, 0, seq, 0, 0, 0]);
            }
            data.push(u8::try_from(packet.len()).expect("short") << 1 | u8::from(upstream));
            data.extend(packet);
        }
        hostile::survive(&data);
    }
}

/// Two commands in one compressed frame: what comes after them passes unread, and in whichever pieces.
#[test]
fn what_cannot_be_followed_passes_in_any_pieces() {
    let mut data = vec![3, 1 << 7];
    let two_pings = [10, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 14, 1, 0, 0, 0, 14];
    data.push(u8::try_from(two_pings.len()).unwrap() << 1);
    data.extend(two_pings);
    let unpackable = [8, 0, 0, 1, 255, 255, 255, 1, 2, 3, 4, 5, 6, 7, 8];
    data.push(u8::try_from(unpackable.len()).unwrap() << 1 | 1);
    data.extend(unpackable);
    hostile::survive(&data);
}
