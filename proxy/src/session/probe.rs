//! What the control thread asks endpoints of session protocols: whether they are well.

use wiremesh::{Frame, Status, correlation::Sessioned};

use crate::{net::Dial, talk::Talk};

/// Connects and speaks the handshake; says what went wrong, if anything did.
pub async fn probe<P: Sessioned>(protocol: P, dial: Dial) -> Result<(), String> {
    let talk = Talk::connect(&protocol, dial).await?;
    let mut handshake = protocol.probe_handshake(talk.departure());
    let mut talk = talk.greet(&mut handshake).await?;
    let Some(question) = protocol.probe_question() else { return Ok(()) };
    talk.say([question]).await?;
    let answer = talk.answer().await?;
    // Whether it hears that is its own matter.
    let _ = talk.say(protocol.goodbye()).await;
    match answer.status() {
        Status::Ok => Ok(()),
        _ => Err(answer.error_class().unwrap_or("it answered by an error").into()),
    }
}
