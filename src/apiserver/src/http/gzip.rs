//! Compression of large answers, as upstream's `responsewriters` does it: from 128 KiB on, at level 1, for those who accept
//! it. Clients on the same machine get none: there it only costs.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt;

use super::Body;

const THRESHOLD: usize = 128 * 1024;

pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let text = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split(',').any(|e| e.trim().split(';').next() == Some("gzip"))
}

/// Compresses the body, away from the workers that serve others.
pub(crate) async fn compress(mut answer: Response<Body>) -> Response<Body> {
    let large = answer.body().len().is_some_and(|n| n >= THRESHOLD);
    if !large || answer.headers().contains_key(CONTENT_ENCODING) {
        return answer;
    }
    let Ok(body) = std::mem::replace(answer.body_mut(), Body::Empty).collect().await else { return answer };
    let plain = body.to_bytes();
    let input = plain.clone();
    let packed = tokio::task::spawn_blocking(move || gzip(&input)).await;
    match packed {
        Ok(Ok(packed)) => {
            *answer.body_mut() = Body::Full(packed);
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        _ => *answer.body_mut() = Body::Full(plain),
    }
    answer
}

pub(crate) fn gzip(plain: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::new(1));
    encoder.write_all(plain)?;
    Ok(encoder.finish()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[tokio::test]
    async fn large_answers_are_packed() {
        let text = "kubernetes ".repeat(20_000);
        let answer = compress(Response::new(Body::parts(vec![text.clone().into()]))).await;
        assert_eq!(answer.headers()[CONTENT_ENCODING], "gzip");
        let packed = answer.into_body().collect().await.unwrap();
        let mut back = String::new();
        flate2::read::GzDecoder::new(&packed.to_bytes()[..]).read_to_string(&mut back).unwrap();
        assert_eq!(back, text);
        let small = compress(Response::new(Body::full("x"))).await;
        assert!(!small.headers().contains_key(CONTENT_ENCODING));
    }
}
