//! Clients at the proxy.

use super::*;

#[test]
fn every_plugin_by_password() {
    let accounts =
        accounts(&[known("n", "pw", NATIVE), known("s", "pw", SHA2), known("e", "pw", ED25519)]);
    for tls in [false, true] {
        let arrival = || Arrival { tls, ..arrival() };
        for (index, name) in ["n", "s", "e"].into_iter().enumerate() {
            let flags = Capabilities::FOUND_ROWS | Capabilities::MULTI_STATEMENTS;
            let ended = log_in(&accounts, arrival(), client(name, "pw", flags, tls));
            let (admitted, done) = logged_in(ended);
            assert_eq!((admitted.account, &*admitted.identity.user), (index, name));
            assert_eq!(admitted.lane.capabilities(), flags);
            let account = accounts.account(index).expect("it is its");
            assert_eq!(accounts.upstream(admitted.lane), Some(&account.upstream));
            assert_eq!(admitted.agreed, done.established.agreed);
            let wanted = Capabilities::SESSION_TRACK | Capabilities::DEPRECATE_EOF | flags;
            assert!(admitted.agreed.has(wanted) && admitted.agreed.has(Capabilities::SSL) == tls);
            let channel = if tls { Channel::Private } else { Channel::Open };
            assert_eq!((admitted.channel, done.established.channel), (channel, channel));
            assert_eq!(admitted.number, 0x1_0000_0007);
            assert_eq!(done.established.greeting.version, b"8.0.33-wiremesh");
            assert_eq!(done.tracking, Tracking::State);
            for wrong in ["Pw", "pw ", ""] {
                let client = client(name, wrong, flags, tls);
                let ended = log_in(&accounts, arrival(), client);
                assert_eq!(ended.refused, Some("ER_ACCESS_DENIED_ERROR"), "{name} {wrong:?}");
                let said = ended.said.last().expect("an error");
                let text = String::from_utf8_lossy(said.bytes());
                let using = if wrong.is_empty() { "NO" } else { "YES" };
                let wanted = format!(
                    "Access denied for user '{name}'@'192.0.2.7' (using password: {using})"
                );
                // An ed25519 signature is sent for no password, too.
                assert!(name == "e" || text.ends_with(&wanted), "{text}");
            }
        }
    }
}

#[test]
fn every_plugin_by_hash() {
    let sha2 = ShaCrypt::of(b"pw", *b"a salt of 20 bytes..").expect("it is short").stored();
    let hex: String = sha2.iter().map(|byte| format!("{byte:02x}")).collect();
    let other = ShaCrypt::of(b"pw", *b"another, of 20 bytes").expect("it is short").stored();
    let users = [
        ("n", hash(NativeKey::of(b"pw").hash().to_string())),
        ("e", hash(Ed25519Key::of(b"pw").to_string())),
        ("s", hash(sha2)),
        ("x", hash(format!("0x{hex}"))),
        ("o", hash(other)),
    ];
    let users = users.map(|(name, secret)| user(name, secret, None, ("up", "uppw")));
    let accounts = accounts(&users);
    let keys: BTreeSet<_> =
        (0..5).filter_map(|at| accounts.account(at)).map(|it| it.upstream.key()).collect();
    assert_eq!(keys.len(), 1, "all have the same connections");
    let spoken = |name, password: &str| {
        let arrival = Arrival { tls: true, ..arrival() };
        let ended = log_in(&accounts, arrival, client(name, password, Capabilities(0), true));
        (ended.client.is_ok(), ended.said.len())
    };
    assert_eq!((spoken("n", "pw"), spoken("n", "pW")), ((true, 2), (false, 2)));
    assert_eq!((spoken("e", "pw"), spoken("e", "pW")), ((true, 2), (false, 2)));
    // A wrong one is no reason to believe the next; the right one is, for all accounts of the same hash.
    assert_eq!(
        (spoken("s", "pW"), spoken("s", "pw"), spoken("s", "pw")),
        ((false, 2), (true, 2), (true, 1))
    );
    assert_eq!((spoken("x", "pw"), spoken("x", "pW")), ((true, 1), (false, 2)));
    assert_eq!(spoken("o", "pw"), (true, 2), "of another salt nothing is known");
}

#[test]
fn the_password_crosses_an_open_channel_by_rsa() {
    let sha2 = ShaCrypt::of(b"pw", *b"20 bytes for the RSA").expect("it is short").stored();
    let accounts = accounts(&[user("s", hash(sha2), None, ("up", "uppw"))]);
    let ended = |password| {
        let client = client("s", password, Capabilities(0), false);
        log_in(&accounts, arrival(), client)
    };
    let wrong = ended("pW");
    assert_eq!((wrong.client.is_ok(), wrong.said.len()), (false, 3));
    assert!(wrong.said[1].bytes()[HEAD..].starts_with(b"\x01-----BEGIN PUBLIC KEY-----"));
    let full = ended("pw");
    assert_eq!((full.client.is_ok(), full.said.len()), (true, 3));
    let fast = ended("pw");
    assert_eq!((fast.client.is_ok(), fast.said.len()), (true, 1));
}

#[test]
fn names_that_nobody_has_are_not_told_from_others() {
    let stored = ShaCrypt::of(b"pw", *b"20 bytes for unknown").expect("it is short").stored();
    for (account, plugin) in [
        (known("a", "pw", NATIVE), NATIVE),
        (known("a", "pw", SHA2), SHA2),
        (known("a", "pw", ED25519), ED25519),
        (user("a", hash(stored), None, ("up", "uppw")), SHA2),
    ] {
        let accounts = accounts(&[account]);
        assert_eq!(accounts.look_up(b"b").0, None);
        assert_eq!(accounts.look_up(b"b").1.plugin().name(), plugin);
        for tls in [false, true] {
            for password in ["pW", ""] {
                let said = |name| {
                    let arrival = Arrival { tls, ..arrival() };
                    let client = client(name, password, Capabilities(0), tls);
                    let ended = log_in(&accounts, arrival, client);
                    assert_eq!(ended.refused, Some("ER_ACCESS_DENIED_ERROR"));
                    let said = ended.said.iter().map(|frame| frame.bytes().to_vec());
                    said.collect::<Vec<_>>()
                };
                let named = |said: Vec<Vec<u8>>| {
                    let said = said.concat();
                    String::from_utf8_lossy(&said).replace("'b'@", "'a'@")
                };
                assert_eq!(named(said("b")), named(said("a")), "{plugin} {tls} {password:?}");
            }
        }
    }
    // With accounts of several plugins the names that nobody has are as the others, each always the same.
    let mixed = accounts(&[known("a", "pw", NATIVE), known("b", "pw", ED25519)]);
    let plugin = |n: u32| mixed.look_up(n.to_string().as_bytes()).1.plugin().name();
    let seen: BTreeSet<_> = (0..32).map(plugin).collect();
    assert_eq!(seen, BTreeSet::from([NATIVE, ED25519]));
    assert!((0..32).all(|n| plugin(n) == plugin(n)));
}

#[test]
fn users_that_could_not_log_in_are_refused() {
    let secret = || UserSecret::Known(Password::new("pw"));
    let said = |users: &[User]| match Accounts::new(users) {
        Err(OptionError::Value(said)) => said.into_owned(),
        other => panic!("{other:?}"),
    };
    let one = |secret, plugin| said(&[user("a", secret, plugin, ("a", "pw"))]);
    assert_eq!(said(&[]), "whoever connects has to log in, so list who may");
    assert_eq!(
        one(secret(), Some("sha256_password")),
        "user \"a\": there is no plugin \"sha256_password\" for users; the plugins are caching_sha2_password, mysql_native_password, client_ed25519"
    );
    for wrong in ["", "secret", "*12", "$A$005$x", "0x", "0x24412430", "0xg"] {
        let said = one(hash(wrong), None);
        assert!(said.starts_with("user \"a\": this is not what "), "{wrong}: {said}");
    }
    let native = NativeKey::of(b"pw").hash().to_string();
    assert_eq!(
        one(hash(native), Some(SHA2)),
        "user \"a\": this is not what caching_sha2_password stores"
    );
    let long = UserSecret::Known(Password::new("x".repeat(257)));
    assert_eq!(one(long, None), "user \"a\": a password has 256 bytes at most");
    assert!(said(&[user("a", secret(), None, ("a\0", "pw"))]).contains("upstream.user has a NUL"));
    assert!(one(UserSecret::Known(Password::new("p\0w")), None).contains("the secret has a NUL"));
    assert!(said(&[user("a", secret(), None, ("a", &"x".repeat(257)))]).contains("256 bytes"));
    assert!(said(&[known("a", "x", NATIVE), known("a", "y", NATIVE)]).contains("here twice"));
}

#[test]
fn users_without_a_password() {
    let accounts = accounts(&[known("a", "", SHA2)]);
    let ended =
        |password| log_in(&accounts, arrival(), client("a", password, Capabilities(0), false));
    logged_in(ended(""));
    assert_eq!(ended("pw").refused, Some("ER_ACCESS_DENIED_ERROR"));
}

#[test]
fn what_greetings_say() {
    let mysql = Mysql::default();
    let greeting = |accounts: &Arc<Accounts>, arrival| {
        let mut entrance = Entrance::new(Arc::clone(accounts), "5.7.1", arrival);
        let Progress::Continue(Some(frame)) = entrance.start(&mysql) else { panic!("a greeting") };
        Greeting::parse(&frame.bytes()[HEAD..]).expect("it is one")
    };
    let (native, sha2) =
        ([known("a", "pw", NATIVE)], [known("a", "", NATIVE), known("b", "", SHA2)]);
    let (native, sha2) = (accounts(&native), accounts(&sha2));
    let said = greeting(&native, arrival());
    assert_eq!((&said.plugin[..], &said.version[..]), (NATIVE.as_bytes(), &b"5.7.1"[..]));
    assert_eq!((said.salt, said.capabilities), (b"01234567890123456789".to_vec(), OFFERED));
    assert_eq!(greeting(&sha2, arrival()).plugin, SHA2.as_bytes());
    let tls = Arrival { tls: true, ..arrival() };
    assert!(greeting(&sha2, tls).capabilities.has(OFFERED | Capabilities::SSL));
    for never in [
        Capabilities::OPTIONAL_RESULTSET_METADATA,
        Capabilities::MULTI_FACTOR,
        Capabilities::MARIADB_STMT_BULK,
        Capabilities::MARIADB_CACHE_METADATA,
    ] {
        assert!(!OFFERED.has(never), "{never:?}");
    }
}

#[test]
fn tls_that_is_required_is_asked_for_first() {
    let accounts = accounts(&[known("a", "pw", NATIVE)]);
    let required = || Arrival { tls: true, tls_required: true, ..arrival() };
    let ended = log_in(&accounts, required(), client("a", "pw", Capabilities(0), false));
    let text = String::from_utf8_lossy(ended.said[0].bytes()).into_owned();
    assert!(ended.refused.is_some() && text.contains("not encrypted"), "{text}");
    logged_in(log_in(&accounts, required(), client("a", "pw", Capabilities(0), true)));
    // And the other way round: the server has none.
    let ended = log_in(&accounts, arrival(), client("a", "pw", Capabilities(0), true));
    assert_eq!(ended.client.err(), Some("the server does not offer TLS"));
    // TLS that was on before is not begun again.
    let private = Arrival { private: true, ..arrival() };
    let (admitted, _) =
        logged_in(log_in(&accounts, private, client("a", "pw", Capabilities(0), false)));
    assert_eq!(admitted.channel, Channel::Private);
}

fn login(user: &str, schema: &str) -> Login {
    Login {
        capabilities: OFFERED,
        max_packet: 1 << 24,
        collation: 8,
        user: user.into(),
        auth_data: Vec::new(),
        schema: schema.into(),
        plugin: NATIVE.into(),
        attributes: Attributes::of([("program_name", "shell")]),
    }
}

#[test]
fn what_a_client_asks_for_is_kept() {
    let accounts = accounts(&[known("a", "", NATIVE), known("b", "pw", ED25519)]);
    let mysql = Mysql::default();
    let mut entrance = Entrance::new(Arc::clone(&accounts), "8.0.33", arrival());
    assert!(matches!(entrance.start(&mysql), Progress::Continue(Some(_))));
    let mut body = BytesMut::new();
    login("a", "shop").write(0, &mut body);
    let done = entrance.on_frame(&mysql, frame(Peer::Client, 1, &body));
    let Progress::Done(Some(said)) = done else { panic!("it has no password") };
    let ok = b"\x10\0\0\x02\0\0\0\x02\x40\0\0\0\x07\x01\x05\x04shop";
    assert_eq!(said.bytes(), ok, "it tells of the schema, as servers do");
    let admitted = entrance.into_admitted().expect("it is done");
    assert_eq!((&*admitted.schema, &*admitted.identity.schema), (&b"shop"[..], "shop"));
    assert_eq!(admitted.identity.collation, 8);
    assert_eq!(admitted.identity.header("program_name").as_deref(), Some("shell"));
    let flags = Lane::new(0, OFFERED).capabilities();
    assert_eq!(admitted.lane.capabilities(), flags);

    // Another login on the connection, to be signed with another salt each time.
    let change = |user: &str| {
        let change = ChangeUser {
            user: user.into(),
            auth_data: Vec::new(),
            schema: b"other".to_vec(),
            collation: Some(0x0134),
            plugin: NATIVE.into(),
            attributes: Attributes::default(),
        };
        let mut body = BytesMut::new();
        change.write(OFFERED, &mut body);
        frame(Peer::Client, 0, &body)
    };
    let again = |client: Admitted, user: &str| {
        Entrance::change_user(Arc::clone(&accounts), client, &change(user))
    };
    let (mut entrance, asked) = again(admitted.clone(), "a");
    let Progress::Continue(Some(asked)) = asked else { panic!("the client is asked again") };
    assert_eq!(asked.bytes()[3..5], [1, 0xfe]);
    let done = entrance.on_frame(&mysql, frame(Peer::Client, 2, b""));
    let Progress::Done(Some(said)) = done else { panic!("it has no password") };
    assert!(said.bytes().ends_with(b"\0\x08\x01\x06\x05other"), "{said:?}");
    let admitted = entrance.into_admitted().expect("it is done");
    assert_eq!((&*admitted.schema, admitted.identity.collation), (&b"other"[..], 0x0134));
    assert_eq!((admitted.agreed, admitted.number), (OFFERED, 0x1_0000_0007));

    let (first, asked) = again(admitted.clone(), "b");
    let Progress::Continue(Some(asked)) = asked else { panic!("the client is asked again") };
    assert!(asked.bytes()[HEAD + 1..].starts_with(ED25519.as_bytes()));
    let (_, other) = again(admitted.clone(), "a");
    let Progress::Continue(Some(other)) = other else { panic!("the client is asked again") };
    assert_ne!(asked.bytes(), other.bytes());
    let mut first = first;
    let denied = first.on_frame(&mysql, frame(Peer::Client, 2, &[7; 64]));
    assert!(matches!(denied, Progress::Refused(Some(_), "ER_ACCESS_DENIED_ERROR")));
    assert!(first.into_admitted().is_none());
}

#[test]
fn attributes_have_a_limit() {
    let attributes = Attributes::new(&[0; 1000]);
    let asked = login("joe", "");
    let capabilities = asked.capabilities | Capabilities::CONNECT_ATTRS;
    let (mut body, mut packet) = (BytesMut::new(), BytesMut::new());
    Login { capabilities, attributes, ..asked }.write(0, &mut body);
    put_packet(&mut packet, 1, &body);
    for (max_header, right) in [(1000, true), (999, false)] {
        let limits = Limits { max_header, ..Limits::default() };
        let mut input = packet.clone();
        let taken = Mysql::default().decode(Peer::Client, &mut (), &limits, &mut input);
        assert_eq!(taken.is_ok(), right, "{max_header}");
    }
}

#[test]
fn what_is_no_login_is_told_so() {
    let accounts = accounts(&[known("a", "pw", NATIVE)]);
    let mysql = Mysql::default();
    let refused = |frame: MysqlFrame| {
        let mut entrance = Entrance::new(Arc::clone(&accounts), "8.0.33", arrival());
        assert!(matches!(entrance.start(&mysql), Progress::Continue(Some(_))));
        let Progress::Refused(Some(said), why) = entrance.on_frame(&mysql, frame.clone()) else {
            panic!("{frame:?}")
        };
        let over = entrance.on_frame(&mysql, frame);
        assert!(matches!(over, Progress::Refused(..)));
        assert!(entrance.into_admitted().is_none());
        (said.bytes()[3], said.error().map(|error| error.number), why)
    };
    let mut body = BytesMut::new();
    login("a", "").write(0, &mut body);
    assert_eq!(refused(frame(Peer::Client, 1, b"rubbish")), (2, Some(1043), "ER_HANDSHAKE_ERROR"));
    let order = refused(frame(Peer::Client, 3, &body));
    assert_eq!(order, (4, Some(1156), "ER_NET_PACKETS_OUT_OF_ORDER"));
    let long = refused(frame(Peer::Client, 1, &vec![b'x'; 200 << 10]));
    assert_eq!(long.1, Some(1043));
    let mut tls = vec![0; 32];
    tls[1] = 0x8a;
    assert_eq!(refused(frame(Peer::Client, 1, &tls)).1, Some(1043), "TLS was not offered");
}
