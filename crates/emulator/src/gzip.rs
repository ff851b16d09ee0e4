//! Compressed answers, for clients that accept them.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};

/// Whether the client takes gzip.
pub(crate) fn accepted(headers: &HeaderMap) -> bool {
    let listed = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight
            .trim()
            .strip_prefix("q=")
            .and_then(|q| q.parse::<f32>().ok())
            == Some(0.0);
        matches!(name.trim(), "gzip" | "*") && !refused
    })
}

/// An encoder whose output can be taken piece by piece, each readable by itself: what a stream
/// needs.
pub(crate) struct Packer(GzEncoder<Vec<u8>>);

impl Packer {
    pub(crate) fn new() -> Packer {
        // Speed over size: it stands in for a machine that has hardware for this.
        Packer(GzEncoder::new(Vec::new(), Compression::fast()))
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // Writing into a Vec does not fail.
        let _ = self.0.write_all(bytes);
    }

    /// All that was pushed and not taken.
    pub(crate) fn take(&mut self) -> Bytes {
        let _ = self.0.flush();
        Bytes::from(std::mem::take(self.0.get_mut()))
    }

    /// The end.
    pub(crate) fn finish(self) -> Bytes {
        Bytes::from(self.0.finish().unwrap_or_default())
    }
}

pub(crate) fn pack(bytes: &[u8]) -> Bytes {
    let mut packer = Packer::new();
    packer.push(bytes);
    packer.finish()
}

/// What was packed, up to `limit` bytes of it; `None`: it is not gzip, or is longer.
pub(crate) fn unpack(bytes: &[u8], limit: u64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    GzDecoder::new(bytes)
        .take(limit + 1)
        .read_to_end(&mut out)
        .ok()?;
    (out.len() as u64 <= limit).then_some(out)
}
