//! Where Redis's own test suite comes from: Debian's source package, kept with the other peers' libraries. None of it is in
//! this project.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::peers::install::{install, may_install};
use crate::process::{answer, command, run};
use crate::report::Outcome;
use crate::target;

/// Where the suite is.
pub(super) fn folder() -> PathBuf {
    target().join("peers/redis-suite")
}

/// Gets the suite of the server that is installed, if it is not there yet.
pub(super) async fn fetch() -> anyhow::Result<Outcome> {
    let version = server_version().await?;
    if answer("tclsh", &["/dev/null"]).await.is_none() {
        if !may_install().await {
            bail!("Redis's own test suite needs tclsh, by Debian's name: tcl");
        }
        install(&["tcl"]).await?;
    }
    let stamp = folder().join("version");
    if fs::read_to_string(&stamp).is_ok_and(|had| had == version) {
        return Ok(Outcome::pass(format!("{version}, as before")));
    }
    let download = folder().with_extension("download");
    for folder in [folder(), download.clone()] {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
    }
    let archive = download_source(&download, &version).await?;
    let mut tar = command("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(folder());
    tar.args(["--strip-components=1", "--wildcards", "*/tests"]);
    run("redis-suite-unpack", &mut tar).await?;
    fs::write(stamp, &version)?;
    fs::remove_dir_all(download)?;
    Ok(Outcome::pass(version))
}

async fn server_version() -> anyhow::Result<String> {
    let said = answer("redis-server", &["--version"]).await.unwrap_or_default();
    let version = said.split(' ').find_map(|word| word.strip_prefix("v="));
    Ok(version.context("redis-server does not tell its version")?.to_owned())
}

/// The archive with the source, got by lists of packages that only this folder has: the system's stay as they are.
async fn download_source(folder: &Path, version: &str) -> anyhow::Result<PathBuf> {
    let sources = sources(folder)?;
    for inner in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(inner))?;
    }
    let apt = |args: &[&str]| {
        let mut apt = command("apt-get");
        let set = |name: &str, value: &Path| format!("{name}={}", value.display());
        apt.arg("-o").arg(set("Dir::Etc::sourcelist", &sources));
        apt.arg("-o").arg("Dir::Etc::sourceparts=-");
        apt.arg("-o").arg(set("Dir::State::lists", &folder.join("lists")));
        apt.arg("-o").arg(set("Dir::Cache", &folder.join("cache")));
        apt.args(args).current_dir(folder);
        apt
    };
    run("redis-suite-update", &mut apt(&["update"])).await?;
    run("redis-suite-source", &mut apt(&["source", "--download-only", "redis"])).await?;
    let archive = folder.join(format!("redis_{version}.orig.tar.gz"));
    if !archive.exists() {
        bail!("Debian's source package is not of version {version}, which the server is");
    }
    Ok(archive)
}

/// The system's own places to get packages from, as places to get source packages from.
fn sources(folder: &Path) -> anyhow::Result<PathBuf> {
    let (from, name, is, becomes) = match Path::new("/etc/apt/sources.list.d/debian.sources") {
        new if new.exists() => (new, "source.sources", "Types:", "Types: deb-src"),
        _ => (Path::new("/etc/apt/sources.list"), "source.list", "deb ", "deb-src "),
    };
    let text = fs::read_to_string(from)
        .with_context(|| format!("{}: Redis's suite comes from Debian", from.display()))?;
    let line = |line: &str| match line.strip_prefix(is) {
        Some(_) if is == "Types:" => becomes.to_owned(),
        Some(rest) => format!("{becomes}{rest}"),
        None => line.to_owned(),
    };
    let path = folder.join(name);
    fs::write(&path, text.lines().map(|it| line(it) + "\n").collect::<String>())?;
    Ok(path)
}
