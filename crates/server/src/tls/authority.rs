//! The authority of our own, and the certificates it makes.

use super::{TlsError, certificates, read, shown};
use crate::config::Config;
use crate::files;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A fresh certificate for this machine, by the authority in the file, which is made if not there.
pub(super) fn certificate(
    ca_file: &Path,
    config: &Config,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let (ca, ca_key) = if ca_file.exists() {
        kept(ca_file)?
    } else {
        made(ca_file)?
    };
    let issuer = Issuer::new(ca_params()?, ca_key);
    let mut params = CertificateParams::new(names(config)).map_err(|e| failed(ca_file, &e))?;
    params
        .distinguished_name
        .push(DnType::CommonName, "gemini-relay");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, LEAF_LASTS);
    let key = KeyPair::generate().map_err(|e| failed(ca_file, &e))?;
    let leaf = params
        .signed_by(&key, &issuer)
        .map_err(|e| failed(ca_file, &e))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok((vec![leaf.der().clone(), ca], key))
}

fn kept(ca_file: &Path) -> Result<(CertificateDer<'static>, KeyPair), TlsError> {
    let ca_shown = shown(ca_file);
    let remedy = format!(
        "delete {ca_shown} and its key to have new ones made, and let clients trust the new one"
    );
    let ca = certificates(ca_file, "tls-ca-file")?.swap_remove(0);
    let key_file = key_file(ca_file);
    let pem = String::from_utf8(read(&key_file, "tls-ca-file")?).unwrap_or_default();
    let key = KeyPair::from_pem(&pem).map_err(|_| {
        TlsError(format!(
            "{}: there is no private key in PEM in it; {remedy}",
            shown(&key_file)
        ))
    })?;
    let public = key.der_bytes();
    if !ca.as_ref().windows(public.len()).any(|part| part == public) {
        return Err(TlsError(format!(
            "{}: it is not the private key of {ca_shown}; {remedy}",
            shown(&key_file)
        )));
    }
    Ok((ca, key))
}

fn made(ca_file: &Path) -> Result<(CertificateDer<'static>, KeyPair), TlsError> {
    let key = KeyPair::generate().map_err(|e| failed(ca_file, &e))?;
    let ca = ca_params()?
        .self_signed(&key)
        .map_err(|e| failed(ca_file, &e))?;
    let key_file = key_file(ca_file);
    if let Some(folder) = ca_file.parent() {
        std::fs::create_dir_all(folder).map_err(|e| {
            TlsError(format!(
                "{}: it cannot be made ({e}); set tls-ca-file",
                shown(folder)
            ))
        })?;
    }
    // The key first: a certificate without its key would have to be deleted by hand.
    write(&key_file, &key.serialize_pem(), true)?;
    write(ca_file, &ca.pem(), false)?;
    Ok((ca.der().clone(), key))
}

/// The same at every start: certificates name their authority by what stands here.
fn ca_params() -> Result<CertificateParams, TlsError> {
    let mut params =
        CertificateParams::new(Vec::<String>::new()).map_err(|e| TlsError(format!("TLS: {e}")))?;
    params
        .distinguished_name
        .push(DnType::CommonName, "gemini-relay local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, CA_LASTS);
    Ok(params)
}

/// From a day ago, since clocks differ.
fn set_validity(params: &mut CertificateParams, lasts: Duration) {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_1970;
    params.not_before = now - DAY;
    params.not_after = now + lasts;
}

/// What clients may call this machine.
fn names(config: &Config) -> Vec<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    for ip in config.listen.iter().map(|l| l.address.ip()) {
        if ip.is_unspecified() {
            names.extend(outward_address(ip).map(|ip| ip.to_string()));
        } else {
            names.insert(ip.to_string());
        }
    }
    names.extend(
        config
            .allow_host
            .iter()
            .map(|host| host.trim_matches(['[', ']']).to_owned()),
    );
    names.extend(host_name());
    names.into_iter().collect()
}

/// The address this machine would go out with. Connecting a UDP socket sends nothing.
fn outward_address(family: IpAddr) -> Option<IpAddr> {
    let far = if family.is_ipv4() {
        "192.0.2.1:9"
    } else {
        "[2001:db8::1]:9"
    };
    let socket = UdpSocket::bind((family, 0)).ok()?;
    socket.connect(far).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .or_else(|| std::env::var("HOSTNAME").ok())?;
    let name = name.trim().to_ascii_lowercase();
    let good = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    good.then_some(name)
}

/// `ca.pem` has `ca.key.pem` beside it.
fn key_file(ca_file: &Path) -> PathBuf {
    ca_file.with_extension("key.pem")
}

fn write(path: &Path, text: &str, owner_only: bool) -> Result<(), TlsError> {
    let write = |mut file: std::fs::File| {
        if owner_only {
            files::keep_to_owner(&file)?;
        }
        file.write_all(text.as_bytes())
    };
    let mut options = files::writing(owner_only);
    options.create(true).truncate(true);
    options.open(path).and_then(write).map_err(|e| {
        TlsError(format!(
            "{}: it cannot be written ({e}); set tls-ca-file",
            shown(path)
        ))
    })
}

fn failed(ca_file: &Path, error: &rcgen::Error) -> TlsError {
    TlsError(format!(
        "{}: no certificate can be made with it ({error})",
        shown(ca_file)
    ))
}

const DAY: Duration = Duration::from_secs(86_400);

/// It is made at every start; the longest that all platforms accept.
const LEAF_LASTS: Duration = Duration::from_secs(397 * 86_400);

/// Trusting it anew is a person's work on every client.
const CA_LASTS: Duration = Duration::from_secs(3650 * 86_400);
