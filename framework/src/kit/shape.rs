use crate::{
    Protocol,
    correlation::{
        ById, Expect, Hold, InOrder, Multiplexed, Pipelined, Session, SessionMachine, Sessioned,
    },
};

/// What the kit asks of one way in which replies find their requests, beyond what it asks of every protocol.
pub trait Shape<P: Protocol> {
    /// The width of ids, where there are any.
    const ID_BITS: Option<u32> = None;

    /// The frame's id; 0 where there are none.
    fn id(_protocol: &P, _frame: &P::Frame) -> u64 {
        0
    }

    /// Sets the frame's id, where there are any.
    fn set_id(_protocol: &P, _frame: &mut P::Frame, _id: u64) {}

    /// Whether a receiver would take `reply` for the complete answer to `request`.
    fn answers(protocol: &P, request: &P::Frame, reply: &P::Frame) -> Result<(), String>;
}

impl<P: Multiplexed> Shape<P> for ById {
    const ID_BITS: Option<u32> = Some(P::ID_BITS);

    fn id(protocol: &P, frame: &P::Frame) -> u64 {
        protocol.id(frame)
    }

    fn set_id(protocol: &P, frame: &mut P::Frame, id: u64) {
        protocol.set_id(frame, id);
    }

    fn answers(protocol: &P, request: &P::Frame, reply: &P::Frame) -> Result<(), String> {
        let (asked, answered) = (protocol.id(request), protocol.id(reply));
        if asked == answered {
            Ok(())
        } else {
            Err(format!("answers id {answered:#x}, the request's is {asked:#x}"))
        }
    }
}

impl<P: Pipelined> Shape<P> for InOrder {
    fn answers(protocol: &P, request: &P::Frame, reply: &P::Frame) -> Result<(), String> {
        if protocol.expects(request) == Expect::Stream && !protocol.is_last(reply) {
            return Err("does not end the stream that the request expects".to_owned());
        }
        Ok(())
    }
}

impl<P: Sessioned> Shape<P> for Session {
    fn answers(protocol: &P, request: &P::Frame, reply: &P::Frame) -> Result<(), String> {
        let mut machine = protocol.machine();
        machine.on_request(protocol, request);
        match machine.on_reply(protocol, reply) {
            Hold::Pending => Err("leaves the session waiting for the rest of the reply".to_owned()),
            _ => Ok(()),
        }
    }
}
