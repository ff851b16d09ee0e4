//! TLS on both sides: towards clients, and towards Google.
//!
//! Towards clients it is a certificate from files, or one of our own. For the latter there is an
//! authority that is made once and kept, so that clients are told to trust one file once, and a
//! certificate that is made at every start for the names this machine has then. Whoever has the
//! authority's key can pose as any site to whoever trusts it, so that key is the owner's alone to
//! read, and the certificate says which file is the one to hand out.
//!
//! Towards Google the bundled authorities are always trusted and others only added: a mistake in an
//! option can then never cut the relay off from Google.

mod authority;

use crate::config::{CaSource, Config, Tls};
use crate::options::show;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What clients are answered with; `None` without TLS. Speaks HTTP/2 and HTTP/1.1.
pub(crate) fn server_config(config: &Config) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    let (chain, key) = match &config.tls {
        Tls::Off => return Ok(None),
        Tls::Files { cert, key } => (certificates(cert, "tls-cert")?, private_key(key)?),
        Tls::SelfSigned { ca_file } => authority::certificate(ca_file, config)?,
    };
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError(format!("TLS: {e}")))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| {
            TlsError(format!(
                "tls-cert, tls-key: the certificate and its private key cannot be used together ({e})"
            ))
        })?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    Ok(Some(Arc::new(server)))
}

/// How Google is spoken to. The protocols to offer are the connector's to set.
pub(crate) fn client_config(sources: &[CaSource]) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for source in sources {
        match source {
            CaSource::System => {
                let found = rustls_native_certs::load_native_certs();
                let (added, _) = roots.add_parsable_certificates(found.certs);
                if added == 0 {
                    return Err(TlsError(
                        "ca = system: this machine has no certificate authorities; install them (ca-certificates), or name a file"
                            .to_owned(),
                    ));
                }
            }
            CaSource::File(path, option) => {
                for certificate in certificates(path, option)? {
                    roots.add(certificate).map_err(|e| {
                        TlsError(format!(
                            "{option}: a certificate in {} cannot be used ({e})",
                            shown(path)
                        ))
                    })?;
                }
            }
        }
    }
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError(format!("TLS: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// What is wrong with a certificate or a key, and with which file.
#[derive(Debug)]
pub(crate) struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// A file's name, unless a key was given in its place.
fn shown(path: &Path) -> String {
    show::path(&path.to_string_lossy())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(path: &Path, option: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path, option)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError(format!(
            "{option}: {} has no certificate in PEM in it (-----BEGIN CERTIFICATE-----)",
            shown(path)
        ))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path, "tls-key")?).map_err(|_| {
        TlsError(format!(
            "tls-key: {} has no private key in PEM in it, or it is encrypted (-----BEGIN PRIVATE KEY-----)",
            shown(path)
        ))
    })
}

fn read(path: &Path, option: &str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|e| {
        TlsError(format!(
            "{option}: {} cannot be read ({e}); name a file that is there and that this user may read",
            shown(path)
        ))
    })
}

#[cfg(test)]
mod tests;
