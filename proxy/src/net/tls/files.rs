//! Certificates and keys from PEM files. Errors name the field, the file, and what to do.

use std::path::Path;

use anyhow::{anyhow, bail};
use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

/// A certificate and those that follow it.
pub(super) fn chain(field: &str, file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = found.map_err(|error| unreadable(field, file, &error))?;
    if chain.is_empty() {
        bail!(
            "{field}: {} has no certificate; one begins with -----BEGIN CERTIFICATE-----",
            file.display()
        );
    }
    Ok(chain)
}

/// A private key.
pub(super) fn key(field: &str, file: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        pem::Error::NoItemsFound => anyhow!(
            "{field}: {} has no private key that can be used; one without a password begins with -----BEGIN PRIVATE KEY-----",
            file.display()
        ),
        error => unreadable(field, file, &error),
    })
}

/// Those who issue certificates.
pub(super) fn issuers(field: &str, file: &Path) -> anyhow::Result<RootCertStore> {
    let mut issuers = RootCertStore::empty();
    for certificate in chain(field, file)? {
        issuers.add(certificate).map_err(|error| {
            anyhow!(
                "{field}: {} has a certificate that nothing can be issued by: {error}",
                file.display()
            )
        })?;
    }
    Ok(issuers)
}

/// Those whom the system trusts.
pub(super) fn system() -> anyhow::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut issuers = RootCertStore::empty();
    let (added, _) = issuers.add_parsable_certificates(found.certs);
    if added == 0 {
        bail!(
            "tls.ca: this system trusts nobody; name a file with the certificates of those who issue the endpoints' certificates"
        );
    }
    Ok(issuers)
}

fn unreadable(field: &str, file: &Path, error: &pem::Error) -> anyhow::Error {
    let file = file.display();
    match error {
        pem::Error::Io(error) => anyhow!("{field}: {file} cannot be read: {error}"),
        error => anyhow!("{field}: {file} is not in PEM: {error}"),
    }
}
