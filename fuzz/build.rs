//! Lays out the corpus that each target begins with: samples, and recorded connections where there are any.

use std::{fs, io, path::Path};

use wiremesh::{
    Peer,
    kit::{Samples, seeds},
};
use wiremesh_toys::samples;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../testdata");
    write("multiplexed", &samples::mx())?;
    write("inorder", &samples::kv())?;
    write("session", &samples::desk())?;
    write("bolt", &captures("bolt", 4096)?)?;
    write("mysql", &captures("mysql", 1024)?)?;
    logins()?;
    pooled()?;
    write("redis", &captures("redis", 1024)?)
}

/// Each side of recorded logins, behind the byte that chooses who hears it; of compressed ones what follows, too.
fn logins() -> io::Result<()> {
    let corpus = Path::new("corpus/mysql_login");
    fs::create_dir_all(corpus)?;
    for name in
        ["mysql8-sha2-full", "mysql8-s256", "mariadb10-ed25519", "mysql8-zlib", "mysql8-zstd"]
    {
        for (direction, how) in [("s2c", &[2][..]), ("c2s", &[4, 2])] {
            let mut bytes = fs::read(format!("../testdata/mysql/{name}.{direction}.bin"))?;
            bytes.truncate(2048);
            fs::write(corpus.join(format!("{name}-{direction}")), [how, &bytes].concat())?;
            // The OK of the login is the last packet that is not compressed.
            let ok = bytes.windows(7).position(|ok| ok[1..] == *b"\x04\0\0\0\x02@");
            if let (Some(ok), "s2c") = (ok, direction) {
                let end = ok + 2 + usize::from(bytes[ok - 2]);
                let how = [u8::from(name.ends_with("zstd"))];
                let frames = bytes.get(end..).unwrap_or_default();
                fs::write(corpus.join(format!("{name}-frames")), [&how, frames].concat())?;
            }
        }
    }
    Ok(())
}

/// Two clients in turn, who ask and are answered: all of one command, with every text, answered in every way; and what servers
/// were recorded to say, in pieces, to whoever has asked something.
fn pooled() -> io::Result<()> {
    const ASKS_AND_IS_ANSWERED: u8 = 1;
    const SAYS: u8 = 0;
    const IS_ANSWERED: u8 = 2;
    const HEARS_ANYTHING: u8 = 5;
    const LETS_GO: u8 = 7;
    let corpus = Path::new("corpus/mysql_pooled");
    fs::create_dir_all(corpus)?;
    for (flags, name) in [(0x17, "short"), (0x01, "transcoded"), (0x0f, "attributes")] {
        for code in 0..14_u8 {
            let mut steps = vec![code & 1, flags];
            for which in 0..16_u8 {
                for who in [0, 8] {
                    // Something is prepared, which other commands are about.
                    steps.extend([ASKS_AND_IS_ANSWERED | who, 1 | 0x20]);
                    steps.extend([SAYS | who, code | which << 4, IS_ANSWERED | who, which]);
                }
                steps.extend([LETS_GO, 0, LETS_GO | 8, which & 1]);
            }
            fs::write(corpus.join(format!("{name}-{code}")), steps)?;
        }
    }
    for name in ["mysql8-cli", "mariadb11-cli"] {
        let mut bytes = fs::read(format!("../testdata/mysql/{name}.s2c.bin"))?;
        bytes.truncate(4096);
        let mut steps = vec![0, 0x17];
        for piece in bytes.chunks(255) {
            let len = u8::try_from(piece.len()).unwrap_or(u8::MAX);
            steps.extend([SAYS, 0, HEARS_ANYTHING | 0x70, len]);
            steps.extend(piece);
        }
        fs::write(corpus.join(name), steps)?;
    }
    Ok(())
}

fn write(target: &str, samples: &Samples) -> io::Result<()> {
    let corpus = Path::new("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    for (n, seed) in seeds(samples).into_iter().enumerate() {
        fs::write(corpus.join(format!("seed-{n}")), seed)?;
    }
    Ok(())
}

/// Recorded connections, as far as the first `len` bytes of each side.
fn captures(protocol: &str, len: usize) -> io::Result<Samples> {
    let mut samples = Samples::new();
    let mut files: Vec<_> = fs::read_dir(Path::new("../testdata").join(protocol))?
        .map(|file| file.map(|file| file.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "bin"));
    files.sort();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut bytes = fs::read(&file)?;
        bytes.truncate(len);
        let from = if name.ends_with("c2s") { Peer::Client } else { Peer::Upstream };
        samples = match from {
            Peer::Client => samples.client(name, bytes),
            Peer::Upstream => samples.upstream(name, bytes),
        };
    }
    Ok(samples)
}
