//! The tutorial shows the protocol as it is, whole. Its other blocks are compiled as documentation tests of the proxy.

#[test]
fn the_tutorial_shows_the_whole_file() {
    let code = include_str!("../src/multiplexed.rs");
    let tutorial = include_str!("../../docs/tutorial.md");
    assert!(tutorial.contains(&format!("```rust\n{code}```\n")), "copy multiplexed.rs into it");
    assert!(tutorial.contains(&format!("of {} lines", code.lines().count())));
}
