//! One key as attempts and answers carry it.

use super::{Carrier, ProjectId};
use crate::key::{KeyId, KeySpec, KeyText};
use crate::redact::Quoted;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use std::fmt::Write as _;
use std::sync::Arc;

/// One key as an attempt needs it.
#[derive(Debug)]
pub struct KeyInfo {
    /// Its identity.
    pub id: KeyId,
    /// Its text.
    pub text: KeyText,
    /// What people call it.
    pub label: Arc<str>,
    /// What people call its project.
    pub project: Arc<str>,
    /// Its project's identity.
    pub project_id: ProjectId,
    headers: Headers,
    quoted: Quoted,
}

/// Made once, since every request needs them.
#[derive(Debug)]
struct Headers {
    api_key: HeaderValue,
    bearer: HeaderValue,
    label: HeaderValue,
}

impl KeyInfo {
    pub(super) fn new(id: KeyId, spec: &KeySpec, label: Arc<str>, project_id: ProjectId) -> Self {
        let project = spec.project.as_deref();
        Self {
            id,
            text: spec.text.clone(),
            project: project.map_or_else(|| Arc::clone(&label), Arc::from),
            project_id,
            headers: Headers::new(&spec.text, &label),
            quoted: Quoted::new(&spec.text),
            label,
        }
    }

    /// The credential's header, its value marked as a secret.
    #[must_use]
    pub const fn credential(&self, carrier: Carrier) -> (HeaderName, &HeaderValue) {
        match carrier {
            Carrier::ApiKeyHeader => (API_KEY, &self.headers.api_key),
            Carrier::Bearer => (AUTHORIZATION, &self.headers.bearer),
        }
    }

    /// What finds the key where Google quotes it.
    #[must_use]
    pub const fn quoted(&self) -> &Quoted {
        &self.quoted
    }

    /// The label for answers; what is not plain ASCII in it is percent-encoded.
    #[must_use]
    pub const fn label_header(&self) -> &HeaderValue {
        &self.headers.label
    }
}

impl Headers {
    fn new(text: &KeyText, label: &str) -> Self {
        // That a key's text fits a header was made sure when it was read.
        let secret = |text: &str| {
            let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
            value.set_sensitive(true);
            value
        };
        Self {
            api_key: secret(text.expose()),
            bearer: secret(&format!("Bearer {}", text.expose())),
            label: label_value(label),
        }
    }
}

fn label_value(label: &str) -> HeaderValue {
    if let Ok(value) = HeaderValue::from_str(label) {
        return value;
    }
    let mut out = String::with_capacity(label.len() * 3);
    for byte in label.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    HeaderValue::from_str(&out).unwrap_or(HeaderValue::from_static("?"))
}

const API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_any_letters_fits_a_header() {
        assert_eq!(label_value("key_0"), "key_0");
        let odd = label_value("khoá ấy\n");
        assert!(odd.to_str().unwrap().starts_with("kho%C3"));
    }

    #[test]
    fn a_credential_is_a_header_that_is_never_printed() {
        let spec = KeySpec::bare(KeyText::new("made-up-secret").unwrap());
        let info = KeyInfo::new(spec.text.id(), &spec, "key_0".into(), ProjectId(1));
        let (name, value) = info.credential(Carrier::Bearer);
        assert_eq!(
            (name, value.as_bytes()),
            (AUTHORIZATION, &b"Bearer made-up-secret"[..])
        );
        assert!(!format!("{info:?}").contains("made-up-secret"));
    }
}
