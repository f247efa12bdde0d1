//! The certificate and key of the server, from their files. It must not know connections.

use std::{fmt, io, path::Path, path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

/// What makes a connection one of TLS. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// Why a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{}: {reason}; it must be a file in PEM form that this user may read", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file has no certificate.
    #[error("{}: there is no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// The two do not fit together, or are of a kind that is not known.
    #[error("certificate and key cannot be used: {0}")]
    Refused(rustls::Error),
}

impl Tls {
    /// Reads a chain of certificates, that of the server first, and the server's key, both in PEM form.
    /// Clients need no certificate.
    ///
    /// # Errors
    /// The files do not hold what they must.
    pub fn load(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let file = |path: &Path, error: pem::Error| TlsError::File {
            file: path.to_path_buf(),
            // The library's text may show a piece of the file, which may be the key.
            reason: match error {
                pem::Error::Io(error) => error.to_string(),
                pem::Error::NoItemsFound => "it holds nothing of its kind".to_owned(),
                _ => "it is not PEM".to_owned(),
            },
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect)
            .map_err(|error| file(certificates, error))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(certificates.to_path_buf()));
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, error))?;
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Refused)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsError::Refused)?;
        Ok(Self(Arc::new(config)))
    }

    /// The server's side of a new connection.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(super) fn connection(&self) -> io::Result<ServerConnection> {
        ServerConnection::new(Arc::clone(&self.0)).map_err(io::Error::other)
    }
}
