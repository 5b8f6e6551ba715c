//! One request over one byte stream, and the joining of two upgraded ones.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, BodyStream, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::html::Rewriter;
use crate::http::Body;

type Request = ::http::Request<BoxBody<Bytes, hyper::Error>>;
type Response<B> = ::http::Response<B>;

/// Headers that belong to one connection, and not to the message: RFC 9110, 7.6.1.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub fn is_upgrade(headers: &::http::HeaderMap) -> bool {
    let connection = headers.get_all("connection").into_iter().filter_map(|v| v.to_str().ok());
    headers.contains_key("upgrade")
        && connection.flat_map(|v| v.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// Takes out what is for the client's connection only; an upgrade stays.
pub fn strip_hop_by_hop(headers: &mut ::http::HeaderMap) {
    let upgrade = is_upgrade(headers);
    for name in HOP_BY_HOP {
        if !(upgrade && matches!(name, "connection" | "upgrade")) {
            headers.remove(name);
        }
    }
}

/// Sends `request` in HTTP/1.1 over `io`. The connection lives as long as the answer's body, or the upgraded stream.
pub async fn send<I>(io: I, request: Request) -> Result<Response<Incoming>, hyper::Error>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "backend connection ended");
        }
    });
    sender.send_request(request).await
}

pub fn empty() -> BoxBody<Bytes, hyper::Error> {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed()
}

/// The backend's body, handed on piece by piece as it comes.
pub fn pass(body: Incoming) -> Body {
    Body::stream(data(body))
}

/// The backend's page with its links rewritten.
pub fn pass_through<F>(body: Incoming, rewriter: Rewriter<F>) -> Body
where
    F: Fn(&str) -> String + Send + 'static,
{
    let ended = (Box::pin(data(body)), Some(rewriter));
    Body::stream(futures::stream::unfold(ended, |(mut data, rewriter)| async {
        let mut rewriter = rewriter?;
        Some(match data.next().await {
            Some(Ok(piece)) => (Ok(Bytes::from(rewriter.feed(&piece))), (data, Some(rewriter))),
            Some(Err(error)) => (Err(error), (data, None)),
            None => (Ok(Bytes::from(rewriter.finish())), (data, None)),
        })
    }))
}

fn data(body: Incoming) -> impl Stream<Item = std::io::Result<Bytes>> {
    BodyStream::new(body).filter_map(|frame| async {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(std::io::Error::other(error))),
        }
    })
}

/// Both sides have agreed to upgrade: answers the client with the backend's `101` and joins the two until one of them ends.
///
/// `upgrade` is the client's, taken before its request was sent on.
pub fn join(upgrade: hyper::upgrade::OnUpgrade, mut backend: Response<Incoming>) -> Response<Body> {
    let other = hyper::upgrade::on(&mut backend);
    let (parts, _) = backend.into_parts();
    tokio::spawn(async move {
        let joined = async {
            let (client, backend) = futures::try_join!(upgrade, other).map_err(std::io::Error::other)?;
            tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(backend)).await
        };
        if let Err(error) = joined.await {
            tracing::debug!(%error, "upgraded stream ended");
        }
    });
    Response::from_parts(parts, Body::empty())
}
