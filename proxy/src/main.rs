//! The `wiremesh` binary.

use std::{path::PathBuf, process::ExitCode};

use wiremesh_proxy::{
    cli::{self, DemoArgs, Program},
    config::{Config, ProtocolInfo},
};

fn main() -> ExitCode {
    cli::main(Bundled)
}

/// The protocols that come with wiremesh.
struct Bundled;

impl Program for Bundled {
    fn protocols(&self) -> Vec<ProtocolInfo> {
        vec![ProtocolInfo::of(wiremesh_bolt::Bolt::default())]
    }

    fn run(self, _: Config, _: Option<PathBuf>) -> anyhow::Result<()> {
        anyhow::bail!("this build cannot run a proxy yet")
    }

    fn demo(self, _: DemoArgs) -> anyhow::Result<bool> {
        anyhow::bail!("this build has no demo yet")
    }
}
