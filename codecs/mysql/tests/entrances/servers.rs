//! The proxy at servers.

use super::*;

#[test]
fn servers_are_asked_for_as_much_as_they_tell() {
    let mysql = Mysql::default();
    // What a server answers to each statement; what is believed then.
    let tracking = |version: &str, offered: Capabilities, answers: &[MysqlFrame]| {
        let accounts = accounts(&[known("a", "pw", NATIVE)]);
        let key = accounts.account(0).expect("there is one").upstream.key();
        let departure = Departure { random: [0; 64], tls: false, private: false };
        let mut login = UpstreamLogin::new(&accounts, Lane::new(key, OFFERED), &departure);
        let step = login.on_frame(&mysql, greeting(version, offered));
        assert!(matches!(step, Progress::Continue(Some(_))));
        let mut step = login.on_frame(&mysql, ok(2));
        let mut asked = Vec::new();
        for answer in answers {
            let Progress::Continue(Some(statement)) = step else { panic!("a statement") };
            asked.push(statement.bytes().windows(5).any(|word| word == b"gtids"));
            step = login.on_frame(&mysql, answer.clone());
        }
        match step {
            Progress::Done(None) => {
                Ok((login.into_logged_in().expect("it is done").tracking, asked))
            }
            Progress::Refused(None, why) => Err(why),
            _ => panic!("no end"),
        }
    };
    let err = || frame(Peer::Upstream, 1, b"\xff\xa9\x04#42000Unknown system variable");
    let (all, none) = (OFFERED, OFFERED.without(Capabilities::SESSION_TRACK));
    let mariadb = all.without(Capabilities::CLIENT_MYSQL);
    let (no, yes) = (Tracking::Nothing, Tracking::State);
    assert_eq!(tracking("8.0.33", all, &[told()]), Ok((yes, vec![true])));
    // It takes the statement, and does not do it.
    assert_eq!(tracking("8.0.33", all, &[ok(1)]), Ok((no, vec![true])));
    assert_eq!(tracking("8.0.33", all, &[err()]), Ok((no, vec![true])));
    assert_eq!(tracking("8.0.33", none, &[]), Ok((no, vec![])));
    assert_eq!(tracking("11.4.5-MariaDB", mariadb, &[told()]), Ok((yes, vec![false])));
    assert_eq!(tracking("8.0.33", all, &[ok(2)]), Err("no answer to SET"));
}

#[test]
fn a_lane_that_nobody_has_is_refused() {
    let accounts = accounts(&[known("a", "pw", NATIVE)]);
    let departure = Departure { random: [0; 64], tls: false, private: false };
    let mut login = UpstreamLogin::new(&accounts, Lane(0), &departure);
    assert!(matches!(login.start(&Mysql::default()), Progress::Refused(None, _)));
}
