//! What a server of each toy protocol answers, for tests and examples.

use wiremesh::{Frame, Kind, Protocol, Status};

use crate::multiplexed::{Message, Mx};

/// An [`Mx`] server: echoes the payload; the method `fail` is answered with an application error, and an unknown
/// service, `none`, with "not found".
pub fn multiplexed(message: &Message) -> Option<Message> {
    let id = wiremesh::correlation::Multiplexed::id(&Mx, message);
    let answer =
        |status, payload: &[u8]| Some(Message::new(Kind::Response, status, id, ["", ""], payload));
    match message.kind() {
        Kind::Request if message.service().as_deref() == Some("none") => {
            answer(Status::NotFound, b"no such service")
        }
        Kind::Request if message.method().as_deref() == Some("fail") => {
            answer(Status::AppError, message.payload())
        }
        Kind::Request => answer(Status::Ok, message.payload()),
        Kind::Heartbeat => Mx.heartbeat_reply(message),
        _ => None,
    }
}
