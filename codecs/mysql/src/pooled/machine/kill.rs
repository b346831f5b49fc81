//! A client that ends what another does: `KILL`, `COM_PROCESS_KILL`. Numbers are those of the proxy's greetings.

use bytes::BytesMut;
use wiremesh::correlation::{Attachment, Cancel, Cancelled, Extent};

use super::Pooled;
use crate::{
    StatusFlags,
    classify::Traits,
    digest::{
        Dialect,
        scan::{Scanner, Token},
    },
    error,
    pooled::statements::Problem,
};

/// What of a session's status an answer of the proxy's tells.
const TOLD: u16 = StatusFlags::AUTOCOMMIT.0
    | StatusFlags::IN_TRANS.0
    | StatusFlags::NO_BACKSLASH_ESCAPES.0
    | StatusFlags::ANSI_QUOTES.0;

impl Pooled {
    /// A text in which there is a `KILL`.
    pub(super) fn kill(&mut self, text: &[u8], traits: &Traits) -> Attachment {
        let own = self.number();
        let clear = !traits.multi && traits.pin.is_none();
        match clear.then(|| parse(text, self.session.dialect(), own)).flatten() {
            Some(cancel) => Attachment::Cancel(cancel),
            None => {
                let why = "KILL in pooled mode of anything but one connection, by its number";
                self.refuse(&Problem::unsupported(why))
            }
        }
    }

    /// `COM_PROCESS_KILL`.
    pub(super) fn kill_process(&mut self, body: Option<&[u8]>) -> Attachment {
        let Some(&[a, b, c, d]) = body.and_then(<[u8]>::first_chunk) else {
            return self.refuse(&Problem::malformed(self.session.is_mariadb()));
        };
        let number = u32::from_le_bytes([a, b, c, d]).into();
        Attachment::Cancel(Cancel { number, extent: Extent::Connection, gently: false })
    }

    fn number(&self) -> u64 {
        self.admitted.as_ref().map_or(0, |admitted| admitted.number)
    }

    /// The answer, as servers give it.
    pub(super) fn killed(&self, cancel: &Cancel, outcome: Cancelled) -> BytesMut {
        let problem = match (outcome, cancel.extent) {
            (Cancelled::Done, _) => {
                return error::done_in(1, StatusFlags(self.session.status.0 & TOLD));
            }
            (Cancelled::Unknown, _) => Problem::no_connection(cancel.number),
            (Cancelled::Denied, _) => Problem::not_owner(cancel.number),
            (Cancelled::Own, Extent::Connection) if (self.session.is_mariadb()) => {
                Problem::killed()
            }
            (Cancelled::Own, _) => Problem::interrupted(),
        };
        problem.packet(1)
    }
}

/// `KILL [HARD | SOFT] [CONNECTION | QUERY] number`, and with `CONNECTION_ID()` in the number's place: that of the client
/// itself, `own`.
fn parse(text: &[u8], dialect: Dialect, own: u64) -> Option<Cancel> {
    let mut scanner = Scanner::new(text, dialect);
    let is = |token: Option<Token<'_>>, word: &str| matches!(token, Some(Token::Word(it)) if it.eq_ignore_ascii_case(word.as_bytes()));
    let mut cancel = Cancel { number: own, extent: Extent::Connection, gently: false };
    if !is(scanner.next(), "KILL") {
        return None;
    }
    let mut before = scanner.rest();
    let mut token = scanner.next();
    if is(token, "HARD") || is(token, "SOFT") {
        cancel.gently = is(token, "SOFT");
        before = scanner.rest();
        token = scanner.next();
    }
    if is(token, "CONNECTION") || is(token, "QUERY") {
        if is(token, "QUERY") {
            cancel.extent = Extent::Request;
        }
        before = scanner.rest();
        token = scanner.next();
    }
    match token {
        Some(Token::Number) => {
            // The token ends where the scanner is.
            let read = before.get(..before.len().checked_sub(scanner.rest().len())?)?;
            let digits = read.rsplit(|byte| !byte.is_ascii_alphanumeric() && *byte != b'.').next();
            cancel.number = std::str::from_utf8(digits?).ok()?.parse().ok()?;
        }
        token if is(token, "CONNECTION_ID") => {
            let call = (scanner.next(), scanner.next());
            (call == (Some(Token::Open), Some(Token::Close))).then_some(())?;
        }
        _ => return None,
    }
    match scanner.next() {
        None => {}
        Some(Token::Semicolon) if scanner.next().is_none() => {}
        Some(_) => return None,
    }
    Some(cancel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(u64, Extent, bool)> {
        let cancel = parse(text.as_bytes(), Dialect::default(), 7)?;
        Some((cancel.number, cancel.extent, cancel.gently))
    }

    #[test]
    fn whom_and_how_much_is_read() {
        use Extent::{Connection, Request};
        for (text, meant) in [
            ("KILL 30", (30, Connection, false)),
            ("kill connection 30;", (30, Connection, false)),
            (" Kill /* that */ Query -- it\n 1073741900 # end", (1_073_741_900, Request, false)),
            ("KILL SOFT QUERY 30", (30, Request, true)),
            ("KILL HARD 30", (30, Connection, false)),
            ("/*!50000 KILL QUERY 30 */", (30, Request, false)),
            ("KILL QUERY CONNECTION_ID()", (7, Request, false)),
            ("KILL 18446744073709551615", (u64::MAX, Connection, false)),
        ] {
            assert_eq!(of(text), Some(meant), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_guessed() {
        for text in [
            "KILL",
            "KILL QUERY",
            "KILL QUERY ID 30",
            "KILL USER joe",
            "KILL 30 + 1",
            "KILL -30",
            "KILL 0x1e",
            "KILL 1.5",
            "KILL 1e1",
            "KILL '30'",
            "KILL @a",
            "KILL ?",
            "KILL (30)",
            "KILL 30; KILL 31",
            "KILL 30 31",
            "KILL CONNECTION_ID",
            "KILL CONNECTION_ID() + 1",
            "KILL 99999999999999999999",
            "SET STATEMENT max_statement_time = 1 FOR KILL 30",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
