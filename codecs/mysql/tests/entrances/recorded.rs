//! Either, with what was recorded of the other.

use super::*;

/// One direction of a recorded connection.
fn recorded(name: &str, direction: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/mysql");
    std::fs::read(folder.join(format!("{name}.{direction}.bin"))).expect("it is there")
}

/// The first packets of it.
fn packets(bytes: &[u8]) -> impl Iterator<Item = MysqlFrame> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = Head::read(rest)?;
        let (packet, more) = rest.split_at_checked(head.len + HEAD)?;
        rest = more;
        Some(packet)
    })
    .map(|packet| frames(Peer::Upstream, packet).remove(0))
}

#[test]
fn recorded_clients_log_in_at_the_proxy() {
    let mysql = Mysql::default();
    let (sha2, nopw) = (known("sha2", "sha2pw", SHA2), |plugin| known("nopw", "", plugin));
    let users = [known("nat", "natpw", NATIVE), sha2, nopw(SHA2), nopw(NATIVE)];
    for (name, index) in [
        ("mysql8-text-modern", 0),
        ("mysql8-cli", 0),
        ("mariadb10-cli", 0),
        ("mariadb11-cli", 0),
        ("mariadb10-bulk-modern", 0),
        ("mysql8-sha2-fast", 1),
        ("mysql8-nopw", 2),
        ("mariadb11-nopw", 3),
        // Not sqlx, whose first answer is wrong.
        ("mysql8-lib-connector-j", 1),
        ("mysql8-lib-go", 1),
        ("mysql8-lib-mariadb-j", 1),
        ("mysql8-lib-mysql-async", 1),
        ("mysql8-lib-mysql2", 1),
        ("mysql8-lib-mysqlclient", 1),
        ("mysql8-lib-pymysql", 1),
        ("mariadb11-lib-mariadb-j", 0),
        ("mariadb11-lib-mysql-async", 0),
        ("mariadb11-lib-mysqlclient", 0),
    ] {
        let (server, said) = (recorded(name, "s2c"), recorded(name, "c2s"));
        let greeting = packets(&server).next().expect("a greeting");
        let salt = Greeting::parse(&greeting.bytes()[HEAD..]).expect("it is one").salt;
        let mut arrival = arrival();
        arrival.random[..20].copy_from_slice(&salt);
        let accounts = accounts(&users[index..=index]);
        let mut entrance = Entrance::new(accounts, "8.0.33", arrival);
        assert!(matches!(entrance.start(&mysql), Progress::Continue(Some(_))));
        let mut said = packets(&said);
        let step = entrance.on_frame(&mysql, said.next().expect("a login"));
        // Who named another plugin is asked again, with the same salt, and answers the same.
        let step = match step {
            Progress::Continue(Some(switch)) => {
                assert!(switch.bytes().windows(20).any(|word| word == salt), "{name}");
                let answer = said.next().expect("an answer");
                entrance.on_frame(&mysql, answer)
            }
            step => step,
        };
        assert!(matches!(step, Progress::Done(Some(_))), "{name}");
        let admitted = entrance.into_admitted().expect("it is done");
        let login =
            Login::parse(&packets(&recorded(name, "c2s")).next().expect("a login").bytes()[HEAD..]);
        let login = login.expect("it is one");
        assert_eq!(admitted.agreed, login.capabilities & OFFERED, "{name}");
        assert_eq!(admitted.schema, login.schema, "{name}");
    }
}

#[test]
fn the_proxy_logs_in_at_recorded_servers() {
    let mysql = Mysql::default();
    for (name, user, password) in [
        ("mysql8-text-modern", "nat", "natpw"),
        ("mariadb10-text-modern", "nat", "natpw"),
        ("mariadb11-text-modern", "nat", "natpw"),
        ("mariadb10-ed25519", "ed", "edpw"),
        ("mysql8-sha2-fast", "sha2", "sha2pw"),
        ("mysql8-sha2-full", "sha2", "sha2pw"),
    ] {
        let server = recorded(name, "s2c");
        let mut login = client(user, password, Capabilities(0), false);
        assert!(matches!(login.start(&mysql), Progress::Continue(None)));
        let mut statement = None;
        for packet in packets(&server) {
            let first = packet.bytes()[HEAD];
            match login.on_frame(&mysql, packet) {
                Progress::Continue(Some(frame)) if first == 0 => {
                    statement = Some(frame);
                    break;
                }
                Progress::Continue(_) => {}
                Progress::Refused(_, why) => panic!("{name}: {why}"),
                _ => panic!("{name}"),
            }
        }
        let statement = statement.expect("what follows the OK");
        let gtids = statement.bytes().windows(5).any(|word| word == b"gtids");
        assert_eq!(gtids, name.starts_with("mysql8"), "{name}");
        assert!(matches!(login.on_frame(&mysql, told()), Progress::Done(None)));
        let done = login.into_logged_in().expect("it is done");
        let agreed = done.established.agreed;
        let wanted = Capabilities::SESSION_TRACK | Capabilities::DEPRECATE_EOF;
        assert!(agreed.has(wanted) && agreed.0 < 1 << 32, "{name}: {agreed:?}");
    }
    for name in ["mysql8-denied", "mariadb10-denied", "mariadb11-denied"] {
        let mut login = client("nat", "wrong", Capabilities(0), false);
        let end = packets(&recorded(name, "s2c")).find_map(|packet| {
            match login.on_frame(&mysql, packet) {
                Progress::Refused(None, why) => Some(why),
                _ => None,
            }
        });
        assert_eq!(end, Some("ER_ACCESS_DENIED_ERROR"), "{name}");
    }
}
