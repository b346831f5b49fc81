//! What is wrong with listeners.

use super::{CLUSTERS, listener_says, says};

#[test]
fn what_is_watched_is_within_bounds() {
    let listener = "address: 127.0.0.1:1, protocols: [bolt],";
    listener_says(&format!("{listener} slow_log: {{}}, sample: {{}}, digests: {{}}"), &[]);
    listener_says(
        &format!(
            "{listener}\n  slow_log: {{ threshold: 0s, keep: 0 }}, sample: {{ every: 0, top: 1001 }}, digests: {{ max: 0 }}"
        ),
        &[
            "3:26: threshold must be over 0s",
            "3:36: 0 is too small; the least is 1",
            "3:58: 0 is too small; the least is 1",
            "3:66: 1001 is too large; the most is 1000",
            "3:90: 0 is too small; the least is 1",
        ],
    );
}

#[test]
fn listeners() {
    listener_says(
        "address: localhost:1, protocols: [bolt]",
        &[
            "2:12: a listener's address is an IP address, not a name such as \"localhost\"; write 127.0.0.1, or 0.0.0.0 for all",
        ],
    );
    listener_says(
        "address: 127.0.0.1:1, protocols: [bolt, bolt, greeter, http]",
        &[
            "2:43: protocol \"bolt\" is here twice; remove one of them",
            "2:49: \"greeter\" cannot be told from others, since its server speaks first; give it a listener of its own",
            "2:58: unknown protocol \"http\"; the protocols are bolt, reading, bare, greeter, store, guarded",
        ],
    );
    listener_says("address: 127.0.0.1:1, protocols: [greeter]", &[]);
    listener_says(
        "address: 127.0.0.1:1, protocols: []",
        &["2:36: the list is empty; it needs at least one item"],
    );
    listener_says(
        "address: 127.0.0.1:1, protocols: [bolt], options: { bolt: { go_away: false }, bare: { a: b } }",
        &["2:87: options for \"bare\", which is not spoken here; the protocols here are bolt"],
    );
    listener_says(
        "address: 127.0.0.1:1, protocols: [bolt], limits: { max_frame: 32KiB }, idle_timeout: 0s, frame_timeout: 5, max_connections: -5",
        &[
            "2:52: max_header (64KiB) must be within max_frame (32KiB), and that over 0B",
            "2:88: idle_timeout must be over 0s",
            "2:107: \"5\" has no unit; write 5s or 5ms",
            "2:127: -5 is too small; the least is 1",
        ],
    );
    listener_says(
        "address: 127.0.0.1:12200, protocols: [bolt]",
        &[
            "1:56: cluster \"hello\" has this listener's own address (127.0.0.1:12200) as an endpoint",
        ],
    );
}

#[test]
fn proxy_headers() {
    listener_says(
        "address: 127.0.0.1:1, protocols: [bolt], proxy_protocol: { trusted: [10.0.0.0/8], required: false }",
        &[],
    );
    listener_says("address: \"unix:/x\", protocols: [greeter], proxy_protocol: {}", &[]);
    let untrusting = "nobody is trusted to say whose a connection is; write trusted: with the address blocks of those who pass connections on";
    listener_says(
        "address: 127.0.0.1:1, protocols: [bolt], proxy_protocol: {}",
        &[&format!("2:60: {untrusting}")],
    );
    listener_says(
        "address: 127.0.0.1:1, protocols: [greeter], proxy_protocol: { trusted: [10.0.0.1/8], required: false }",
        &[
            "2:75: \"10.0.0.1/8\" has bits set after its prefix; write 10.0.0.0/8",
            "2:98: with greeter the server speaks first, so it cannot be waited for what a client may begin with; remove this, so that there must be a header",
        ],
    );
}

#[test]
fn addresses_that_clash() {
    let listener = |name: &str, address: &str| {
        format!(
            "  - {{ name: {name}, protocols: [bolt], routes: [{{ name: a, cluster: hello }}], address: \"{address}\" }}\n"
        )
    };
    let text = [
        "admin: 127.0.0.1:5\nlisteners:\n".to_owned(),
        listener("a", "127.0.0.1:1"),
        listener("b", "0.0.0.0:1"),
        listener("c", "[::]:1"),
        listener("d", "127.0.0.2:1"),
        listener("e", "127.0.0.1:0"),
        listener("f", "127.0.0.1:0"),
        listener("g", "unix:/x"),
        listener("g", "unix:/x"),
        listener("i", "127.0.0.1:5"),
        CLUSTERS.to_owned(),
    ];
    says(
        &text.concat(),
        &[
            "4:83: 0.0.0.0:1 is taken by listener \"a\"",
            "6:83: 127.0.0.2:1 is taken by listener \"b\"",
            "10:13: listener \"g\" is already defined in line 9",
            "10:83: unix:/x is taken by listener \"g\"",
            "11:83: 127.0.0.1:5 is taken by the admin pages",
        ],
    );
}
