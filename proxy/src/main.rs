//! The `wiremesh` binary.

use std::process::ExitCode;

use wiremesh_proxy::{cli, registry::Registry};

fn main() -> ExitCode {
    cli::main(Registry::bundled())
}
