//! What is wrong with users.

use super::{CLUSTERS, listener_says, parse, says};

/// The users' list begins at 3:3.
#[track_caller]
fn users_say(users: &str, expected: &[&str]) {
    let text = format!(
        "listeners: [{{ name: in, routes: [{{ name: all, cluster: hello }}], address: 127.0.0.1:1, protocols: [guarded],\n  options: {{ guarded: {{ ask: yes }} }}, users: [\n  {users}] }}]\n{CLUSTERS}"
    );
    says(&text, expected);
}

#[test]
fn a_user_has_one_secret() {
    users_say("{ name: a, password: pw }, { name: b, password_file: /run/b }", &[]);
    users_say(
        "{ name: a, hash: \"$A$005$xyz\", upstream: { user: x, password: \"\" } },\n  { name: b, password: \"\" }",
        &[],
    );
    users_say(
        "{ name: a },\n  { name: b, password: pw, password_file: /run/b },\n  { name: a, hash: \"*12\" }",
        &[
            "3:3: user \"a\" has no secret; write one of password, password_file and hash",
            "4:43: password is here, too; remove one of them",
            "5:11: user \"a\" is already defined in line 3",
            "5:20: by a hash the proxy knows who logs in, and cannot log in itself; add upstream: { user: ..., password_file: ... }",
        ],
    );
    users_say(
        "{ name: a, password: pw, upstream: { user: x } },\n  { name: b, password: pw, upstream: { user: x, password: pw, password_file: /run/x } }",
        &[
            "3:38: upstream has no password; write password, or password_file, or password: \"\" for none",
            "4:78: password is here, too; remove one of them",
        ],
    );
    users_say(
        "{ name: \"\", pasword: pw }",
        &["3:11: must not be empty", "3:15: unknown field \"pasword\"; did you mean \"password\"?"],
    );
}

#[test]
fn a_protocol_says_whom_it_takes() {
    users_say(
        "{ name: a, password: pw },\n  { name: b, password: pw, plugin: magic }",
        &["4:3: guarded: \"b\" has a plugin"],
    );
    users_say(
        "{ name: a, password: a }, { name: b, password: b }, { name: c, password: c }",
        &["2:46: guarded: three are too many"],
    );
    users_say("", &["1:13: guarded needs users: list one"]);
    listener_says(
        "address: 127.0.0.1:1, protocols: [guarded], users: [{ name: a, password: pw }]",
        &["2:54: guarded takes no users here: set ask"],
    );
    listener_says(
        "address: 127.0.0.1:1, protocols: [bolt], users: [{ name: a, password: pw }]",
        &["2:51: bolt takes no users here: there is nobody"],
    );
}

#[test]
fn secrets_are_not_shown() {
    let listener = |users: &str| {
        format!(
            "listeners: [{{ name: in, routes: [{{ name: all, cluster: hello }}], address: 127.0.0.1:1, protocols: [guarded], options: {{ guarded: {{ ask: yes }} }},\n  users: [\n  {users}] }}]\n{CLUSTERS}"
        )
    };
    let text = listener(
        "{ name: a, password: SECRET1, upstream: { user: up, password: SECRET2 } },\n  { name: b, hash: SECRET3, upstream: { user: up, password: SECRET4 } }",
    );
    let config = parse(&text).unwrap();
    let json = serde_json::to_string(&config).unwrap();
    for shown in [config.to_yaml(), config.to_short_yaml(), json, format!("{config:?}")] {
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(shown.contains("<hidden>") && shown.contains("up"), "{shown}");
    }
    let users = config.listeners[0].load_users().unwrap();
    assert_eq!(users[0].upstream.password.bytes(), b"SECRET2");
    assert!(!format!("{users:?}").contains("SECRET"));
    let other = parse(&text.replace("SECRET4", "SECRET5")).unwrap();
    assert_ne!(config, other, "another secret is another configuration");

    let shown = parse(&config.to_yaml()).unwrap_err();
    assert_eq!(shown.len(), 4, "{shown:?}");
    assert!(shown.iter().all(|it| it.ends_with("write the secret")), "{shown:?}");
    // Whatever is wrong, what was written is not repeated.
    for wrong in [
        "{ name: a, password: SECRET, hash: SECRET }",
        "{ name: a, hash: SECRET }",
        "{ name: a, password: [SECRET] }",
        "{ name: a, password: { SECRET: 1 } }",
        "{ name: a, password: \"SECRET }",
        "{ name: a, password: SECRET, plugin: x }",
    ] {
        let told = parse(&listener(wrong)).unwrap_err();
        assert!(!told.iter().any(|it| it.contains("SECRET")), "{told:?}");
    }
}

#[test]
fn passwords_are_read_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let text = format!(
        "listeners: [{{ name: in, routes: [{{ name: all, cluster: hello }}], address: 127.0.0.1:1, protocols: [guarded], options: {{ guarded: {{ ask: yes }} }},\n  users: [{{ name: a, password_file: {} }}] }}]\n{CLUSTERS}",
        file.display()
    );
    let listener = parse(&text).unwrap().listeners.remove(0);
    let read = || listener.load_users().map_err(|error| format!("{error:#}"));
    let error = read().unwrap_err();
    assert!(error.starts_with("user \"a\": password_file /"), "{error}");
    for (bytes, password) in [
        ("pw", "pw"),
        ("pw\n", "pw"),
        ("pw\r\n", "pw"),
        (" p w \n\n", " p w \n"),
        ("\u{e9}", "\u{e9}"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let users = read().unwrap();
        assert_eq!(users[0].upstream.password.bytes(), password.as_bytes(), "{bytes:?}");
    }
    for (bytes, wrong) in
        [("\n".to_owned(), "is empty"), ("x".repeat(4097), "more than 4096 bytes")]
    {
        std::fs::write(&file, &bytes).unwrap();
        let error = read().unwrap_err();
        assert!(error.contains(wrong), "{error}");
    }
    let config = parse(&text).unwrap();
    let told = wiremesh_proxy::config::check_users(&config);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("listener in: user \"a\": password_file"), "{told:?}");
}
