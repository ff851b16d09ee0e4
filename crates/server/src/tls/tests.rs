use super::*;
use crate::options::layers;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};
use std::ffi::OsString;
use std::path::PathBuf;

fn config(variables: &[(&str, &str)]) -> Config {
    let variables: Vec<_> = variables
        .iter()
        .map(|(n, v)| (OsString::from(n), OsString::from(v)))
        .collect();
    crate::config::check(
        &layers::resolve([layers::from_variables(&variables).unwrap()]),
        &variables,
    )
    .unwrap()
}

/// A handshake in memory; the protocol that was agreed on.
fn handshake(
    server: Arc<ServerConfig>,
    client: ClientConfig,
    name: &str,
) -> Result<Option<Vec<u8>>, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(client.alpn_protocol().map(<[u8]>::to_vec))
}

fn trusting(ca: &Path) -> ClientConfig {
    let mut client = client_config(&[CaSource::File(ca.to_owned(), "ca")]).unwrap();
    client.alpn_protocols = vec![b"h2".to_vec()];
    client
}

#[test]
fn who_trusts_the_file_trusts_every_certificate_made_later() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("deeper/ca.pem");
    let config = config(&[
        ("GEMINI_RELAY_TLS", "self-signed"),
        ("GEMINI_RELAY_TLS_CA_FILE", ca.to_str().unwrap()),
    ]);
    let first = server_config(&config).unwrap().unwrap();
    let trusted = std::fs::read(&ca).unwrap();
    let second = server_config(&config).unwrap().unwrap();
    assert_eq!(std::fs::read(&ca).unwrap(), trusted);
    for (server, name) in [
        (first, "localhost"),
        (second.clone(), "127.0.0.1"),
        (second.clone(), "::1"),
    ] {
        assert_eq!(
            handshake(server, trusting(&ca), name).unwrap().as_deref(),
            Some(&b"h2"[..]),
            "{name}"
        );
    }
    assert!(handshake(second.clone(), trusting(&ca), "other.example").is_err());
    assert!(handshake(second, client_config(&[]).unwrap(), "localhost").is_err());
}

#[cfg(unix)]
#[test]
fn the_authoritys_key_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let config = config(&[
        ("GEMINI_RELAY_TLS", "self-signed"),
        ("GEMINI_RELAY_TLS_CA_FILE", ca.to_str().unwrap()),
    ]);
    server_config(&config).unwrap();
    let mode = std::fs::metadata(folder.path().join("ca.key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_key_that_is_another_ones_is_refused_with_the_files_name() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let config = config(&[
        ("GEMINI_RELAY_TLS", "self-signed"),
        ("GEMINI_RELAY_TLS_CA_FILE", ca.to_str().unwrap()),
    ]);
    server_config(&config).unwrap();
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(folder.path().join("ca.key.pem"), other).unwrap();
    let error = server_config(&config).unwrap_err().to_string();
    assert!(
        error.contains("ca.key.pem") && error.contains("delete"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let error = client_config(&[CaSource::File(file.clone(), "ca")])
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be read"), "{error}");
    std::fs::write(&file, "made-up").unwrap();
    let error = client_config(&[CaSource::File(PathBuf::from(&file), "ca")])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no certificate in PEM") && !error.contains("made-up"),
        "{error}"
    );
}
