use crate::{
    Failure, Protocol, WriteBuf,
    correlation::{Expect, Gather},
};

/// Where a reply goes in its client's inbox: the request's turn and, of a split request, the part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// The request's number on the client's connection.
    pub turn: u64,
    /// The part's number, of a request that was split.
    pub part: u32,
}

/// Puts the replies of one client's requests into the order that the client expects.
///
/// A request that expects no reply may be admitted, and takes no turn.
pub trait Inbox<P: Protocol>: Default {
    /// Takes note of a request, in the order the client sent them.
    fn admit(&mut self, expect: Expect) -> Place;

    /// Takes note of a request that was split into `parts`, at least one; the place is that of part 0.
    fn admit_split(&mut self, parts: u32, gather: Box<dyn Gather<P>>) -> Place;

    /// Takes one reply, and appends to `out` all that the client may be told now. `last` says that the request (or part)
    /// has no further reply.
    fn reply(
        &mut self,
        protocol: &P,
        place: Place,
        reply: P::Frame,
        last: bool,
        out: &mut WriteBuf,
    );

    /// Answers the request (or part) by the proxy's own failure. `false` where the protocol has no way to say it, and
    /// the client's connection must be closed lest replies shift.
    fn fail(
        &mut self,
        protocol: &P,
        place: Place,
        head: &P::Head,
        failure: &Failure,
        out: &mut WriteBuf,
    ) -> bool;

    /// Whether a reply to this request would go out at once, and what is not an answer to it has to wait until it is
    /// [finished](Self::finish). So a reply may be passed on in pieces: the first by [`reply`](Self::reply), as one that
    /// is not the last, the others behind it.
    fn is_turn(&self, _place: Place) -> bool {
        false
    }

    /// Takes note that a reply which was passed on in pieces is complete, and was the last.
    fn finish(&mut self, _protocol: &P, _place: Place, _out: &mut WriteBuf) {}

    /// Bytes held back for an earlier reply that is not there yet.
    fn held_bytes(&self) -> usize;
}

/// The inbox of protocols whose replies carry ids: everything goes out at once.
#[derive(Debug, Default)]
pub struct Passthrough;

impl<P: Protocol> Inbox<P> for Passthrough {
    fn admit(&mut self, _expect: Expect) -> Place {
        Place::default()
    }

    fn admit_split(&mut self, _parts: u32, _gather: Box<dyn Gather<P>>) -> Place {
        Place::default()
    }

    fn reply(
        &mut self,
        protocol: &P,
        _place: Place,
        reply: P::Frame,
        _last: bool,
        out: &mut WriteBuf,
    ) {
        protocol.encode(reply, out);
    }

    fn fail(
        &mut self,
        protocol: &P,
        _place: Place,
        head: &P::Head,
        failure: &Failure,
        out: &mut WriteBuf,
    ) -> bool {
        match protocol.reply(head, failure) {
            Some(reply) => {
                protocol.encode(reply, out);
                true
            }
            None => false,
        }
    }

    fn held_bytes(&self) -> usize {
        0
    }
}
