/// Gives other sequence numbers to packets that pass in any pieces: those of a file, which a client sends in the middle of a
/// reply.
#[derive(Clone, Debug, Default)]
pub struct Renumber {
    by: u8,
    /// How many bytes of a packet's head have passed, and what they say of its length.
    head: u8,
    len: u32,
    /// How much of the body is still to come.
    left: usize,
}

impl Renumber {
    /// To numbers that are lower by so much (mod 256): by as much as the side that they come from is
    /// [ahead](super::Transcoder::ahead).
    pub fn new(by: u8) -> Self {
        Self { by, ..Self::default() }
    }

    /// Renumbers what passes.
    pub fn apply(&mut self, mut bytes: &mut [u8]) {
        while self.by != 0 {
            let skipped = self.left.min(bytes.len());
            self.left = self.left.saturating_sub(skipped);
            bytes = bytes.get_mut(skipped..).unwrap_or_default();
            let [byte, rest @ ..] = bytes else { return };
            match self.head {
                place @ 0..=2 => {
                    let shift = u32::from(place).saturating_mul(8);
                    self.len |= u32::from(*byte).checked_shl(shift).unwrap_or(0);
                    self.head = place.saturating_add(1);
                }
                _ => {
                    *byte = byte.wrapping_sub(self.by);
                    self.left = usize::try_from(self.len).unwrap_or(usize::MAX);
                    (self.head, self.len) = (0, 0);
                }
            }
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::wire::put_packet;

    #[test]
    fn every_packet_in_any_pieces() {
        let packets = |mut seq| {
            let mut out = BytesMut::new();
            for len in [0, 1, 255, 70_000, 0] {
                seq = put_packet(&mut out, seq, &vec![3; len]);
            }
            out
        };
        for size in [1, 2, 3, 5, 100, usize::MAX] {
            for by in [0, 1, 7, 255] {
                let (mut renumber, mut bytes) = (Renumber::new(by), packets(4));
                bytes.chunks_mut(size).for_each(|piece| renumber.apply(piece));
                assert_eq!(bytes, packets(4_u8.wrapping_sub(by)), "{size} {by}");
            }
        }
    }
}
