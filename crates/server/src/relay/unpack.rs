//! Decompressing what comes in pieces.
//!
//! Given a piece, it gives back all that can be known from it, so that an event goes on as soon as it is
//! here; and it gives it back in pieces of a bounded size, as they are asked for, so that an answer of a
//! kilobyte that unpacks to a gigabyte is never in memory, but waits for its reader like any other.

use bytes::{Buf, Bytes};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use gemini_relay_core::coding::Coding;
use std::io::{self, BufRead, ErrorKind, Read};

/// A compressed body as it comes.
pub(crate) struct Unpacker {
    decoder: Decoder,
    /// Whether there was anything at all.
    begun: bool,
    /// Where a piece is made before its size is known.
    room: Box<[u8]>,
}

/// What an [`Unpacker`] says.
pub(crate) enum Unpacked {
    Piece(Bytes),
    /// It must be given more.
    Hungry,
    /// That was all, and it was whole.
    End,
    /// It is not what it was said to be, or was cut short.
    Corrupt,
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Feed>>),
    /// Deflate, before its first byte.
    Deflate(Feed),
    Zlib(Box<ZlibDecoder<Feed>>),
    Raw(Box<DeflateDecoder<Feed>>),
}

/// What a decoder reads: the last piece that came.
#[derive(Default)]
struct Feed {
    piece: Bytes,
    ended: bool,
}

impl Unpacker {
    /// For a body in this coding; `None` if it needs no decoding, or cannot be decoded.
    pub(crate) fn new(coding: Coding) -> Option<Self> {
        let decoder = match coding {
            Coding::Plain | Coding::Unknown => return None,
            Coding::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(Feed::default()))),
            Coding::Deflate => Decoder::Deflate(Feed::default()),
        };
        Some(Self {
            decoder,
            begun: false,
            room: vec![0; PIECE].into(),
        })
    }

    /// Takes the next piece. The one before was used up.
    pub(crate) fn feed(&mut self, piece: Bytes) {
        self.begun |= !piece.is_empty();
        self.decoder.feed().piece = piece;
    }

    /// There is no more.
    pub(crate) fn finish(&mut self) {
        self.decoder.feed().ended = true;
    }

    /// The next piece of what was packed.
    pub(crate) fn next(&mut self) -> Unpacked {
        if !self.begun {
            // Nothing at all is nothing packed.
            return match self.decoder.feed().ended {
                true => Unpacked::End,
                false => Unpacked::Hungry,
            };
        }
        self.decoder.know();
        match self.decoder.read(&mut self.room) {
            Ok(0) => {
                let feed = self.decoder.feed();
                match (feed.piece.is_empty(), feed.ended) {
                    (true, true) => Unpacked::End,
                    (true, false) => Unpacked::Hungry,
                    // Something follows the end.
                    (false, _) => Unpacked::Corrupt,
                }
            }
            Ok(count) => Unpacked::Piece(Bytes::copy_from_slice(
                self.room.get(..count).unwrap_or_default(),
            )),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Unpacked::Hungry,
            Err(_) => Unpacked::Corrupt,
        }
    }
}

/// Unpacks a body that is here whole, up to a limit. What can be read of a broken one is better than
/// nothing, and of one that is not packed at all, that is all of it.
pub(crate) fn unpack(coding: Coding, body: Bytes, limit: usize) -> Bytes {
    if coding == Coding::Unknown {
        return Bytes::new();
    }
    let Some(mut unpacker) = Unpacker::new(coding) else {
        return body;
    };
    unpacker.feed(body.clone());
    unpacker.finish();
    let mut plain = Vec::new();
    loop {
        match unpacker.next() {
            Unpacked::Piece(piece) => {
                plain.extend_from_slice(&piece);
                if plain.len() >= limit {
                    plain.truncate(limit);
                    return plain.into();
                }
            }
            Unpacked::Corrupt if plain.is_empty() => return body,
            Unpacked::Corrupt | Unpacked::End | Unpacked::Hungry => return plain.into(),
        }
    }
}

impl Decoder {
    fn feed(&mut self) -> &mut Feed {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(feed) => feed,
            Self::Zlib(decoder) => decoder.get_mut(),
            Self::Raw(decoder) => decoder.get_mut(),
        }
    }

    /// Tells by the first byte which deflate it is. What zlib begins with would be a stored block with a
    /// bit set that nobody sets.
    fn know(&mut self) {
        if let Self::Deflate(feed) = self
            && let Some(first) = feed.piece.first()
        {
            let zlib = first & 0x0f == 8 && first >> 4 <= 7;
            let feed = std::mem::take(feed);
            *self = match zlib {
                true => Self::Zlib(Box::new(ZlibDecoder::new(feed))),
                false => Self::Raw(Box::new(DeflateDecoder::new(feed))),
            };
        }
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(room),
            Self::Deflate(_) => Err(ErrorKind::WouldBlock.into()),
            Self::Zlib(decoder) => decoder.read(room),
            Self::Raw(decoder) => decoder.read(room),
        }
    }
}

impl Read for Feed {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(room)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count);
    }
}

/// A network piece of what is not compressed is about as large.
const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    const TEXT: &[u8] = b"data: {\"candidates\":[]}\r\n\r\ndata: {\"candidates\":[{}]}\r\n\r\n";

    fn packed(text: &[u8]) -> [(Coding, Vec<u8>); 4] {
        let level = Compression::default();
        let mut gzip = GzEncoder::new(Vec::new(), level);
        let mut zlib = ZlibEncoder::new(Vec::new(), level);
        let mut raw = DeflateEncoder::new(Vec::new(), level);
        gzip.write_all(text).unwrap();
        zlib.write_all(text).unwrap();
        raw.write_all(text).unwrap();
        let gzip = gzip.finish().unwrap();
        // In two members, as gzip allows.
        let (mut first, mut second) = (
            GzEncoder::new(Vec::new(), level),
            GzEncoder::new(Vec::new(), level),
        );
        first.write_all(&text[..text.len() / 2]).unwrap();
        second.write_all(&text[text.len() / 2..]).unwrap();
        let two = [first.finish().unwrap(), second.finish().unwrap()].concat();
        [
            (Coding::Gzip, gzip),
            (Coding::Gzip, two),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, raw.finish().unwrap()),
        ]
    }

    /// What comes out of these pieces, and whether it was whole.
    fn unpacked<'a>(coding: Coding, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
        let mut unpacker = Unpacker::new(coding).unwrap();
        let mut out = Vec::new();
        let mut pieces = pieces.map(Bytes::copy_from_slice);
        loop {
            match unpacker.next() {
                Unpacked::Piece(piece) => {
                    assert!(!piece.is_empty() && piece.len() <= PIECE);
                    out.extend_from_slice(&piece);
                }
                Unpacked::Hungry => match pieces.next() {
                    Some(piece) => unpacker.feed(piece),
                    None => unpacker.finish(),
                },
                Unpacked::End => return (out, true),
                Unpacked::Corrupt => return (out, false),
            }
        }
    }

    #[test]
    fn it_is_the_same_however_it_is_cut_into_pieces() {
        for (coding, body) in packed(TEXT) {
            for size in 1..=body.len() {
                let (out, whole) = unpacked(coding, body.chunks(size));
                assert!(out == TEXT && whole, "{coding:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_is_cut_short_or_changed_or_followed_by_more_is_corrupt() {
        for (coding, body) in packed(TEXT) {
            for length in 1..body.len() {
                let (out, whole) = unpacked(coding, [&body[..length]].into_iter());
                // Of two members the first alone is a whole one.
                assert!(TEXT.starts_with(&out), "{coding:?} {length}");
                assert!(!whole || out.len() == TEXT.len() / 2, "{coding:?} {length}");
            }
            let more = [&body[..], b"more"];
            assert!(!unpacked(coding, more.into_iter()).1, "{coding:?}");
        }
        for coding in [Coding::Gzip, Coding::Deflate] {
            assert!(!unpacked(coding, [TEXT].into_iter()).1);
        }
        let [(_, mut gzip), ..] = packed(TEXT);
        let last = gzip.len() - 6;
        gzip[last] ^= 1;
        assert!(
            !unpacked(Coding::Gzip, [&gzip[..]].into_iter()).1,
            "its sum"
        );
    }

    #[test]
    fn nothing_at_all_is_nothing_packed() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            assert_eq!(unpacked(coding, std::iter::empty()), (Vec::new(), true));
        }
    }

    #[test]
    fn what_was_flushed_comes_out_before_more_goes_in() {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        let mut unpacker = Unpacker::new(Coding::Gzip).unwrap();
        for at in 0..100 {
            let event = format!("data: {at}\r\n\r\n");
            packer.write_all(event.as_bytes()).unwrap();
            packer.flush().unwrap();
            unpacker.feed(std::mem::take(packer.get_mut()).into());
            let Unpacked::Piece(piece) = unpacker.next() else {
                panic!("event {at} is held")
            };
            assert_eq!(piece, event);
            assert!(matches!(unpacker.next(), Unpacked::Hungry));
        }
    }

    #[test]
    fn a_whole_body_is_unpacked_up_to_its_limit_and_as_far_as_it_can_be() {
        for (coding, body) in packed(TEXT) {
            assert_eq!(unpack(coding, body.clone().into(), 1000), TEXT);
            assert_eq!(unpack(coding, body.into(), 10), TEXT[..10]);
        }
        let [(_, gzip), ..] = packed(TEXT);
        let cut = Bytes::copy_from_slice(&gzip[..gzip.len() - 8]);
        assert_eq!(unpack(Coding::Gzip, cut, 1000), TEXT);
        let plain = Bytes::from_static(TEXT);
        assert_eq!(unpack(Coding::Gzip, plain.clone(), 1000), TEXT);
        assert_eq!(unpack(Coding::Plain, plain.clone(), 1000), TEXT);
        assert_eq!(unpack(Coding::Unknown, plain, 1000), "");
    }
}
