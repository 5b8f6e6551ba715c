//! The client's side, for tests.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use client::BoxIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::mpsc;

use super::frame::{self, Frame};
use super::headers::{Decoder, Encoder};

pub(crate) struct Client {
    frames: mpsc::UnboundedReceiver<Frame>,
    writer: WriteHalf<BoxIo>,
    encoder: Encoder,
    last: u32,
    got: BTreeMap<u32, Vec<u8>>,
    closed: BTreeSet<u32>,
}

impl Client {
    pub fn new(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Client {
        let (mut reader, writer) = tokio::io::split(Box::new(io) as BoxIo);
        let (sender, frames) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut decoder = Decoder::new();
            while let Ok(Some(f)) = frame::read(&mut reader).await {
                if let Frame::SynReply { block, .. } = &f {
                    decoder.decode(block).unwrap();
                }
                let _ = sender.send(f);
            }
        });
        Client { frames, writer, encoder: Encoder::new(), last: 0, got: BTreeMap::new(), closed: BTreeSet::new() }
    }
    async fn send(&mut self, f: Frame) {
        let mut bytes = Vec::new();
        frame::write(&f, &mut bytes);
        self.writer.write_all(&bytes).await.unwrap();
    }
    pub async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = if self.last == 0 { 1 } else { self.last + 2 };
        self.last = stream;
        let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let block = self.encoder.encode(&headers).unwrap().into();
        self.send(Frame::SynStream { stream, fin: false, block }).await;
        stream
    }
    pub async fn data(&mut self, stream: u32, data: &[u8], fin: bool) {
        self.send(Frame::Data { stream, fin, data: Bytes::copy_from_slice(data) }).await;
    }
    /// What came on all streams once these are closed.
    pub async fn until_closed(&mut self, streams: &[u32]) -> BTreeMap<u32, Vec<u8>> {
        while !streams.iter().all(|s| self.closed.contains(s)) {
            match self.frames.recv().await {
                Some(Frame::Data { stream, fin, data }) => {
                    self.got.entry(stream).or_default().extend_from_slice(&data);
                    if fin {
                        self.closed.insert(stream);
                    }
                }
                Some(_) => {}
                None => panic!("the server closed; so far {:?}", self.closed),
            }
        }
        self.got.clone()
    }
}
