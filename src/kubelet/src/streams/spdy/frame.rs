//! Frames on the wire.
//!
//! ```text
//!   control  |1|  version 3 (15)  |  type (16)  |      data  |0|  stream (31)  |
//!            |  flags (8)  |   length (24)      |            |  flags (8)  |   length (24)   |
//! ```

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

const VERSION: u16 = 3;
pub(crate) const FIN: u8 = 1;
/// What a peer may send in one frame.
const MAX_CONTROL: u32 = 256 << 10;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Data {
        stream: u32,
        fin: bool,
        data: Bytes,
    },
    /// `block` is still compressed.
    SynStream {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    SynReply {
        stream: u32,
        block: Bytes,
    },
    Headers {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    RstStream {
        stream: u32,
        status: u32,
    },
    Ping(u32),
    GoAway {
        last: u32,
    },
    /// SETTINGS, WINDOW_UPDATE, and what the future brings.
    Other,
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("SPDY frame: {why}"))
}

fn word(b: &[u8], at: usize) -> io::Result<u32> {
    let four = b.get(at..at + 4).and_then(|s| s.first_chunk::<4>()).ok_or_else(|| bad("cut off"))?;
    Ok(u32::from_be_bytes(*four))
}

/// `None`: the peer has closed between frames.
pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0u8; 8];
    match io.read_exact(&mut head).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let flags = head[4];
    let length = u32::from_be_bytes([0, head[5], head[6], head[7]]);
    let control = first >> 31 == 1;
    if control && length > MAX_CONTROL {
        return Err(bad("too long"));
    }
    let mut body = vec![0; length as usize];
    io.read_exact(&mut body).await?;
    let body = Bytes::from(body);
    let fin = flags & FIN != 0;
    if !control {
        return Ok(Some(Frame::Data { stream: first, fin, data: body }));
    }
    if (first >> 16) as u16 & 0x7fff != VERSION {
        return Err(bad("not version 3"));
    }
    let stream = |at| word(&body, at).map(|s| s & 0x7fff_ffff);
    let rest = |at: usize| if body.len() < at { Err(bad("cut off")) } else { Ok(body.slice(at..)) };
    Ok(Some(match first as u16 {
        SYN_STREAM => Frame::SynStream { stream: stream(0)?, fin, block: rest(10)? },
        SYN_REPLY => Frame::SynReply { stream: stream(0)?, block: rest(4)? },
        HEADERS => Frame::Headers { stream: stream(0)?, fin, block: rest(4)? },
        RST_STREAM => Frame::RstStream { stream: stream(0)?, status: word(&body, 4)? },
        PING => Frame::Ping(word(&body, 0)?),
        GOAWAY => Frame::GoAway { last: stream(0)? },
        _ => Frame::Other,
    }))
}

/// Appends the frame's bytes.
pub(crate) fn write(frame: &Frame, out: &mut Vec<u8>) {
    let mut control = |kind: u16, flags: u8, parts: &[&[u8]]| {
        out.extend((0x8000 | VERSION).to_be_bytes());
        out.extend(kind.to_be_bytes());
        let length: usize = parts.iter().map(|p| p.len()).sum();
        out.extend((u32::from(flags) << 24 | length as u32).to_be_bytes());
        parts.iter().for_each(|p| out.extend_from_slice(p));
    };
    let flags = |fin: &bool| if *fin { FIN } else { 0 };
    match frame {
        Frame::Data { stream, fin, data } => {
            out.extend(stream.to_be_bytes());
            out.extend((u32::from(flags(fin)) << 24 | data.len() as u32).to_be_bytes());
            out.extend_from_slice(data);
        }
        Frame::SynStream { stream, fin, block } => {
            control(SYN_STREAM, flags(fin), &[&stream.to_be_bytes(), &[0; 6], block]);
        }
        Frame::SynReply { stream, block } => control(SYN_REPLY, 0, &[&stream.to_be_bytes(), block]),
        Frame::Headers { stream, fin, block } => control(HEADERS, flags(fin), &[&stream.to_be_bytes(), block]),
        Frame::RstStream { stream, status } => {
            control(RST_STREAM, 0, &[&stream.to_be_bytes(), &status.to_be_bytes()]);
        }
        Frame::Ping(id) => control(PING, 0, &[&id.to_be_bytes()]),
        Frame::GoAway { last } => control(GOAWAY, 0, &[&last.to_be_bytes(), &[0; 4]]),
        Frame::Other => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_the_wire() {
        let block = Bytes::from_static(b"block");
        let frames = [
            Frame::SynStream { stream: 1, fin: false, block: block.clone() },
            Frame::SynReply { stream: 1, block: block.clone() },
            Frame::Data { stream: 1, fin: true, data: Bytes::from_static(b"hello") },
            Frame::Headers { stream: 3, fin: true, block },
            Frame::RstStream { stream: 1, status: 5 },
            Frame::Ping(7),
            Frame::GoAway { last: 9 },
        ];
        let mut wire = Vec::new();
        frames.iter().for_each(|f| write(f, &mut wire));
        let mut reader = wire.as_slice();
        for f in &frames {
            assert_eq!(read(&mut reader).await.unwrap().as_ref(), Some(f));
        }
        assert_eq!(read(&mut reader).await.unwrap(), None);
        assert!(read(&mut [0x80, 9, 0, 1, 0, 0, 0, 0].as_slice()).await.is_err(), "another version");
        assert!(read(&mut [0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0].as_slice()).await.is_err(), "too short");
    }
}
