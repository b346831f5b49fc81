//! One side of a comparison.

use std::net::SocketAddr;

use wiremesh_mysql::Command;

use super::script::{Op, Value};
use crate::conn::{Conn, Execution, Login, Parameter};
use crate::reply::{Answer, Done, Reply};

/// What a command is answered with; a text, where the connection is over.
pub(super) type Heard = Result<Reply, String>;

/// A statement that was prepared, or was to be.
#[derive(Clone, Copy, Default)]
struct Slot {
    id: u32,
    parameters: usize,
}

/// No server gives this one out.
const UNKNOWN: u32 = 999_999;

/// What the login and each command is answered with, up to where the connection ends.
pub(super) fn play(
    address: SocketAddr,
    login: &Login,
    script: &[Op],
) -> anyhow::Result<Vec<Heard>> {
    let mut conn = Conn::login(address, login)?;
    let mut all: Vec<Heard> = vec![Ok(vec![welcome(&conn)?])];
    let mut slots = [Slot { id: UNKNOWN, parameters: 0 }; Op::SLOTS];
    for op in script {
        let mut heard = say(&mut conn, login, op, &mut slots).map_err(|error| format!("{error:#}"));
        for answer in heard.iter_mut().flatten() {
            alike(answer);
        }
        let over = heard.is_err();
        all.push(heard);
        if over {
            return Ok(all);
        }
    }
    conn.send(Command::Quit, &[])?;
    Ok(all)
}

fn say(conn: &mut Conn, login: &Login, op: &Op, slots: &mut [Slot]) -> anyhow::Result<Reply> {
    match op {
        Op::Query(text) => conn.query(text),
        Op::InitDb(schema) => conn.simple(Command::InitDb, schema.as_bytes()),
        Op::Ping => conn.simple(Command::Ping, &[]),
        Op::Statistics => conn.statistics(),
        Op::FieldList(table, like) => conn.field_list(table, like),
        Op::Reset => conn.simple(Command::ResetConnection, &[]),
        Op::ChangeUser => {
            conn.change_user(login)?;
            Ok(vec![welcome(conn)?])
        }
        Op::SetOption(option) => conn.simple(Command::SetOption, &option.to_le_bytes()),
        Op::Unknown => conn.simple(Command::Time, &[]),
        Op::Prepare(at, text) => {
            let reply = conn.prepare(text)?;
            if let [Answer::Prepared(prepared)] = &reply[..] {
                slots[*at] = Slot { id: prepared.id, parameters: prepared.parameters.len() };
            }
            Ok(reply)
        }
        Op::Execute { at, values, types, cursor } => {
            let Slot { id, parameters } = slots[*at];
            let parameters: Vec<_> = values
                .iter()
                .take(parameters)
                .map(|value| match value {
                    Value::Null => Parameter::Null,
                    Value::Number(number) => Parameter::Number(*number),
                    Value::Text(text) => Parameter::Text(text),
                })
                .collect();
            let (types, cursor) = (*types, *cursor);
            conn.execute(Execution { id, parameters: &parameters, types, cursor })
        }
        Op::Fetch(at, count) => conn.fetch(slots[*at].id, *count),
        Op::LongData { at, text, value } => {
            let Slot { id, parameters } = slots[*at];
            if parameters == 0 {
                return Ok(Vec::new());
            }
            conn.long_data(id, 0, text.as_bytes())?;
            let mut all = vec![Parameter::Long];
            all.resize(parameters, Parameter::Number(*value));
            conn.execute(Execution { id, parameters: &all, types: true, cursor: false })
        }
        Op::Restart(at) => conn.restart(slots[*at].id),
        Op::Close(at) => conn.close(slots[*at].id).map(|()| Vec::new()),
    }
}

/// What a login is answered with, but for its text: MariaDB since 11.4 proves its certificate there, by the login's salt.
fn welcome(conn: &Conn) -> anyhow::Result<Answer> {
    Ok(Answer::Done(Done { info: Vec::new(), ..conn.welcome()? }))
}

/// Takes out what differs between two connections of the same server: ids of statements, and statistics.
fn alike(answer: &mut Answer) {
    match answer {
        Answer::Prepared(prepared) => prepared.id = 0,
        Answer::Text(text) => text.retain(|letter| !letter.is_ascii_digit() && letter != '.'),
        Answer::Error(failure) if failure.number == 1243 || failure.number == 1421 => {
            failure.text.retain(|letter| !letter.is_ascii_digit());
        }
        _ => {}
    }
}
