//! SIGHUP reaches every watch of a process, so this test has a process of its own.

use std::{fs, process::Command, time::Duration};

use wiremesh_proxy::config::{ProtocolInfo, Watch};

#[tokio::test]
async fn a_file_is_read_again_on_hangup() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.yaml");
    fs::write(&file, "log: inof\n").unwrap();
    let protocols = vec![ProtocolInfo::of(wiremesh_bolt::Bolt::default())];
    let mut watch = Watch::new(&file, protocols).unwrap();
    let own = std::process::id().to_string();
    assert!(Command::new("kill").args(["-HUP", &own]).status().unwrap().success());
    let changed = tokio::time::timeout(Duration::from_secs(10), watch.changed()).await;
    let report = changed.expect("a hangup is noticed").unwrap_err();
    assert_eq!(report.mistakes.len(), 2, "{report}");
}
