//! Header blocks: counted, length-prefixed pairs in one zlib stream for each direction, with SPDY/3's dictionary.

use std::collections::BTreeMap;
use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Of the protocol's specification, section 2.6.10.1.
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
const MAX_BLOCK: usize = 256 << 10;

/// Names in lower case.
pub(crate) type Headers = BTreeMap<String, String>;

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("SPDY header block: {why}"))
}

pub(crate) struct Decoder(Decompress);

impl Decoder {
    pub fn new() -> Decoder {
        Decoder(Decompress::new(true))
    }

    pub fn decode(&mut self, block: &[u8]) -> io::Result<Headers> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut input: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(1024);
        loop {
            out.reserve(1024);
            let before = (self.0.total_in(), out.len());
            let result = self.0.decompress_vec(input, &mut out, FlushDecompress::Sync);
            input = &input[(self.0.total_in() - before.0) as usize..];
            match result {
                Err(e) if e.needs_dictionary().is_some() => {
                    self.0.set_dictionary(DICTIONARY).map_err(|e| bad(&e.to_string()))?;
                    continue;
                }
                Err(e) => return Err(bad(&e.to_string())),
                Ok(Status::StreamEnd) => return Ok(out),
                Ok(_) => {}
            }
            if out.len() > MAX_BLOCK {
                return Err(bad("too long"));
            }
            let stuck = before == (self.0.total_in(), out.len());
            if input.is_empty() && out.len() < out.capacity() || stuck {
                return Ok(out);
            }
        }
    }
}

fn parse(mut block: &[u8]) -> io::Result<Headers> {
    let number = |block: &mut &[u8]| -> io::Result<usize> {
        let (head, rest) = block.split_first_chunk::<4>().ok_or_else(|| bad("cut off"))?;
        *block = rest;
        Ok(u32::from_be_bytes(*head) as usize)
    };
    let count = number(&mut block)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let text = |block: &mut &[u8]| -> io::Result<String> {
            let length = number(block)?;
            let (head, rest) = block.split_at_checked(length).ok_or_else(|| bad("cut off"))?;
            *block = rest;
            Ok(String::from_utf8_lossy(head).into_owned())
        };
        let name = text(&mut block)?.to_lowercase();
        headers.insert(name, text(&mut block)?);
    }
    Ok(headers)
}

pub(crate) struct Encoder(Compress);

impl Encoder {
    pub fn new() -> Encoder {
        let mut c = Compress::new(Compression::default(), true);
        c.set_dictionary(DICTIONARY).expect("a fresh stream takes a dictionary");
        Encoder(c)
    }

    pub fn encode(&mut self, headers: &Headers) -> io::Result<Vec<u8>> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for (k, v) in headers {
            for text in [k, v] {
                plain.extend((text.len() as u32).to_be_bytes());
                plain.extend(text.as_bytes());
            }
        }
        let mut out = Vec::with_capacity(plain.len() + 64);
        let mut input = plain.as_slice();
        loop {
            out.reserve(256);
            let before = self.0.total_in();
            self.0.compress_vec(input, &mut out, FlushCompress::Sync).map_err(|e| bad(&e.to_string()))?;
            input = &input[(self.0.total_in() - before) as usize..];
            if input.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_blocks_survive_a_shared_zlib_stream() {
        let (mut e, mut d) = (Encoder::new(), Decoder::new());
        for n in 0..50 {
            let headers: Headers = [
                ("streamtype".to_owned(), "stdout".to_owned()),
                ("port".into(), n.to_string()),
                ("x".repeat(n * 40), "y".into()),
            ]
            .into();
            let block = e.encode(&headers).unwrap();
            assert_eq!(d.decode(&block).unwrap(), headers);
        }
    }

    #[test]
    fn the_dictionary_is_the_specifications() {
        // RFC 1950: after the two header bytes, a stream with a dictionary names it by its checksum
        let block = Encoder::new().encode(&Headers::new()).unwrap();
        assert_eq!(block[2..6], 0xe3c6_a7c2_u32.to_be_bytes());
    }

    #[test]
    fn rubbish_is_an_error() {
        assert!(Decoder::new().decode(b"not zlib at all").is_err());
        assert!(parse(&[0, 0, 0, 9, 0, 0]).is_err());
        assert!(parse(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
