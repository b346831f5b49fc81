//! TLS: what is made ready from the configuration, and the stream that speaks it.

mod files;
mod settings;
mod stream;

pub use settings::{ClientTls, Connecting, ServerTls, check, random, server_name};
pub use stream::Tls;

use std::io;

use rustls::{CertificateError, Error, InvalidMessage};

/// What a handshake failed of, in words that help.
pub fn explain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "TLS: closed by the other side during the handshake; does it speak TLS here?"
            .into();
    }
    let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref::<Error>()) else {
        return format!("TLS: {error}");
    };
    let hint = match tls {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; if it is the right one, name who issued it in tls.ca (of a client: tls.client_ca)"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "; tls.server_name says which name is expected",
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "; the other side does not speak TLS here"
        }
        Error::NoCertificatesPresented => "; tls.client_certificate: required asks for one",
        _ => "",
    };
    format!("TLS: {tls}{hint}")
}
