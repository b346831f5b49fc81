use bytes::BytesMut;
use wiremesh::{DecodeError, correlation};

use super::{Algorithm, Compressor, Decompressor};

/// Both ways of a connection, as a server speaks.
#[derive(Debug)]
pub struct Layer {
    unpack: Decompressor,
    pack: Compressor,
    /// The client has spoken since it was answered last.
    asked: bool,
}

impl Layer {
    /// Between the login and the first command.
    pub fn new(algorithm: Algorithm) -> Self {
        // What MySQL packs with unless it is told otherwise.
        let level = match algorithm {
            Algorithm::Zlib => 6,
            Algorithm::Zstd => 3,
        };
        Self {
            unpack: Decompressor::new(algorithm),
            pack: Compressor::new(algorithm, level),
            asked: false,
        }
    }
}

impl correlation::Layer for Layer {
    fn unpack(
        &mut self,
        received: &mut BytesMut,
        out: &mut BytesMut,
        room: usize,
    ) -> Result<bool, DecodeError> {
        let unpacked = self.unpack.read(received, out, room);
        let unpacked = unpacked.map_err(|_| DecodeError::Malformed { what: "compressed frame" })?;
        self.asked |= unpacked;
        Ok(unpacked)
    }

    fn pack(&mut self, plain: &[u8], out: &mut BytesMut) {
        if std::mem::take(&mut self.asked) {
            self.pack.set_next(self.unpack.next());
        }
        self.pack.write(plain, out);
    }
}

#[cfg(test)]
mod tests {
    use wiremesh::correlation::Layer as _;

    use super::*;
    use crate::compress::FRAME_HEAD;

    #[test]
    fn an_answer_goes_on_where_its_question_ended() {
        for algorithm in [Algorithm::Zlib, Algorithm::Zstd] {
            let mut client = Compressor::new(algorithm, 1);
            let mut server = Layer::new(algorithm);
            let (question, answer) = (b"what?".repeat(100), b"that. ".repeat(100));
            for _ in 0..2 {
                let (mut received, mut out) = (BytesMut::new(), BytesMut::new());
                client.set_next(0);
                client.write(&question[..200], &mut received);
                client.write(&question[200..], &mut received);
                while server.unpack(&mut received, &mut out, usize::MAX).unwrap() {}
                assert_eq!(out, question);
                let mut sent = BytesMut::new();
                server.pack(&answer[..300], &mut sent);
                assert_eq!(sent[3], 2, "behind two frames of the client's");
                let first = sent.len();
                server.pack(&answer[300..], &mut sent);
                assert_eq!(sent[first + 3], 3);
                assert!(sent.len() < answer.len() / 4 + 2 * FRAME_HEAD);
                let (mut heard, mut back) = (Decompressor::new(algorithm), BytesMut::new());
                while heard.read(&mut sent, &mut back, usize::MAX).unwrap() {}
                assert_eq!(back, answer);
            }
            let mut wrong = BytesMut::from(&[9, 0, 0, 0, 99, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9][..]);
            assert!(server.unpack(&mut wrong, &mut BytesMut::new(), usize::MAX).is_err());
        }
    }
}
