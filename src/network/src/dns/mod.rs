//! Cluster DNS, answered by the agent itself from its own view of the services; other names are forwarded.

mod forward;
mod records;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::error::Context;
use crate::{Config, Error, Services};
use records::{Answer, Zone};

/// A UDP answer may be this long where the client does not say otherwise.
const UDP_MAX: usize = 512;
const TCP_IDLE: std::time::Duration = std::time::Duration::from_secs(30);

/// The DNS server of one agent.
pub struct Dns {
    zone: Zone,
    forwarder: forward::Forwarder,
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Dns {
    /// Binds `address` (port 53 by default: `bind(ip, 53, …)`). `resolv_conf` names the upstream resolvers; it is read again
    /// whenever it changed.
    pub async fn bind(
        config: &Config,
        address: IpAddr,
        port: u16,
        services: Services,
        resolv_conf: PathBuf,
    ) -> Result<Dns, Error> {
        let address = SocketAddr::new(address, port);
        let udp = UdpSocket::bind(address).await.what(|| format!("DNS on {address}"))?;
        let local = udp.local_addr().what(|| "DNS".into())?;
        let tcp = TcpListener::bind(local).await.what(|| format!("DNS on {local}"))?;
        let forwarder = forward::Forwarder::new(resolv_conf, local.ip());
        Ok(Dns { zone: Zone::new(&config.cluster_domain, services), forwarder, udp, tcp })
    }

    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        stop.run_until_cancelled(async { tokio::join!(this.clone().serve_udp(), this.clone().serve_tcp()) }).await;
    }

    async fn serve_udp(self: Arc<Self>) {
        let mut buffer = vec![0; 4096];
        loop {
            let (n, from) = match self.udp.recv_from(&mut buffer).await {
                Ok(x) => x,
                // an ICMP error of an earlier answer
                Err(_) => continue,
            };
            let this = self.clone();
            let packet = buffer[..n].to_vec();
            tokio::spawn(async move {
                if let Some(answer) = this.answer(&packet, false).await {
                    let _ = this.udp.send_to(&answer, from).await;
                }
            });
        }
    }

    async fn serve_tcp(self: Arc<Self>) {
        loop {
            if let Ok((stream, _)) = self.tcp.accept().await {
                let this = self.clone();
                tokio::spawn(async move { this.tcp_connection(stream).await });
            }
        }
    }

    async fn tcp_connection(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let length = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await.ok()?.ok()?;
            let mut packet = vec![0; length.into()];
            stream.read_exact(&mut packet).await.ok()?;
            let answer = self.answer(&packet, true).await?;
            stream.write_u16(answer.len() as u16).await.ok()?;
            stream.write_all(&answer).await.ok()?;
        }
    }

    /// `None`: not a query, not worth an answer.
    async fn answer(&self, packet: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(packet).ok()?;
        if query.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut response = Message::response(query.metadata.id, query.metadata.op_code);
        response.metadata.recursion_desired = query.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.queries = query.queries.clone();
        let [question] = query.queries.as_slice() else {
            response.metadata.response_code = ResponseCode::FormErr;
            return response.to_vec().ok();
        };
        if query.metadata.op_code != OpCode::Query {
            response.metadata.response_code = ResponseCode::NotImp;
            return response.to_vec().ok();
        }
        match self.zone.answer(question.name(), question.query_type()) {
            Answer::Foreign => {
                if let Some(raw) = self.forwarder.forward(packet, tcp).await {
                    return Some(raw);
                }
                response.metadata.response_code = ResponseCode::ServFail;
            }
            Answer::Records { answers, additionals, chase } => {
                response.metadata.authoritative = true;
                response.answers = answers;
                response.additionals = additionals;
                if let Some(target) = chase {
                    let more = self.resolve(&target, question.query_type()).await;
                    response.answers.extend(more);
                }
            }
            Answer::None { exists } => {
                response.metadata.authoritative = true;
                response.metadata.response_code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
                response.authorities = vec![self.zone.soa()];
            }
        }
        if let Some(edns) = &query.edns {
            let mut ours = hickory_proto::op::Edns::new();
            ours.set_max_payload(edns.max_payload().max(UDP_MAX as u16));
            response.edns = Some(ours);
        }
        let bytes = response.to_vec().ok()?;
        let max = if tcp { usize::from(u16::MAX) } else { usize::from(query.max_payload()).max(UDP_MAX) };
        if bytes.len() <= max {
            return Some(bytes);
        }
        response.answers.clear();
        response.additionals.clear();
        response.metadata.truncation = true;
        response.to_vec().ok()
    }

    /// The addresses behind a CNAME, wherever it points: clients of a stub resolver do not follow it themselves.
    async fn resolve(
        &self,
        target: &hickory_proto::rr::Name,
        kind: hickory_proto::rr::RecordType,
    ) -> Vec<hickory_proto::rr::Record> {
        match self.zone.answer(target, kind) {
            Answer::Records { answers, .. } => answers,
            Answer::None { .. } => Vec::new(),
            Answer::Foreign => {
                let mut query = Message::query();
                query.metadata.recursion_desired = true;
                query.add_query(hickory_proto::op::Query::query(target.clone(), kind));
                let Ok(packet) = query.to_vec() else { return Vec::new() };
                let raw = self.forwarder.forward(&packet, false).await;
                raw.and_then(|r| Message::from_vec(&r).ok()).map(|m| m.answers).unwrap_or_default()
            }
        }
    }
}
