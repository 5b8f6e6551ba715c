//! Both ends over a pipe in memory.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::BoxIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{Hub, Node, serve};

const SOON: Duration = Duration::from_secs(5);

/// Its kubelet greets with its name, then echoes.
struct Echo(&'static str);

#[async_trait]
impl Node for Echo {
    async fn kubelet(&self, mut io: BoxIo) {
        if io.write_all(self.0.as_bytes()).await.is_ok() {
            let (mut read, mut write) = tokio::io::split(io);
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        }
    }
    fn owns(&self, ip: IpAddr) -> bool {
        ip == Ipv4Addr::LOCALHOST
    }
}

type Ended = JoinHandle<Result<(), hyper::Error>>;

/// A tunnel of node `n`; how each end ends.
fn join(hub: &Arc<Hub>, greeting: &'static str) -> (Ended, Ended) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let agent = tokio::spawn(serve(theirs, Arc::new(Echo(greeting))));
    let hub = hub.clone();
    let server = tokio::spawn(async move { hub.hold("n", ours).await });
    (server, agent)
}

fn hub() -> (Arc<Hub>, CancellationToken) {
    let stop = CancellationToken::new();
    (Arc::new(Hub::new(stop.clone())), stop)
}

async fn greeting(io: &mut BoxIo) -> String {
    let mut text = [0; 3];
    timeout(SOON, io.read_exact(&mut text)).await.expect("in time").expect("a greeting");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn streams_carry_bytes_and_their_ends() {
    let (hub, stop) = hub();
    let (_, agent) = join(&hub, "one");
    let mut io = hub.dial("n").await.unwrap();
    assert_eq!(greeting(&mut io).await, "one");
    io.write_all(b"hello").await.unwrap();
    io.shutdown().await.unwrap();
    let mut rest = String::new();
    timeout(SOON, io.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, "hello", "what was written before the end comes back, and then the end");
    stop.cancel();
    assert!(timeout(SOON, agent).await.is_ok(), "the tunnel ends with the server");
}

#[tokio::test]
async fn a_node_answers_for_itself_only() {
    let (hub, _stop) = hub();
    let _ends = join(&hub, "one");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"tcp").await.unwrap();
    });
    let mut io = hub.open("n", &address.to_string()).await.unwrap();
    assert_eq!(greeting(&mut io).await, "tcp");
    let refusal = async |authority: &str| hub.open("n", authority).await.err().expect("refused").kind();
    assert_eq!(refusal("192.0.2.1:80").await, std::io::ErrorKind::PermissionDenied);
    assert_eq!(refusal("127.0.0.1:1").await, std::io::ErrorKind::ConnectionRefused);
    assert_eq!(refusal("kubelet:1").await, std::io::ErrorKind::Other);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_node_is_not_waited_for_long() {
    let (hub, _stop) = hub();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(hub.dial("other").await.err().unwrap().kind(), std::io::ErrorKind::NotFound);
    assert!(begun.elapsed().is_zero());
    // one whose tunnel broke a moment ago is
    let (server, agent) = join(&hub, "one");
    while !hub.is_connected("n") {
        tokio::task::yield_now().await;
    }
    agent.abort();
    let _ = server.await;
    let waiting = tokio::spawn({
        let hub = hub.clone();
        async move { hub.dial("n").await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let _ends = join(&hub, "two");
    assert_eq!(greeting(&mut waiting.await.unwrap().unwrap()).await, "two");
}

#[tokio::test]
async fn a_stream_that_nobody_reads_does_not_hold_up_the_others() {
    let (hub, _stop) = hub();
    let _ends = join(&hub, "one");
    let mut stalled = Vec::new();
    for _ in 0..8 {
        // echoed until its window is full, never read
        let mut io = hub.dial("n").await.unwrap();
        stalled.push(tokio::spawn(async move {
            let block = vec![7; 64 << 10];
            while io.write_all(&block).await.is_ok() {}
        }));
    }
    let mut io = hub.dial("n").await.unwrap();
    assert_eq!(greeting(&mut io).await, "one");
    let (mut read, mut write) = tokio::io::split(io);
    let total = 32 << 20;
    let writer = tokio::spawn(async move {
        let block = vec![1; 64 << 10];
        for _ in 0..total / block.len() {
            write.write_all(&block).await.unwrap();
        }
    });
    let (mut got, mut buffer) = (0, vec![0; 64 << 10]);
    while got < total {
        got += timeout(SOON, read.read(&mut buffer)).await.expect("it flows").unwrap();
    }
    writer.await.unwrap();
    stalled.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn a_newer_tunnel_takes_over_and_the_olders_streams_end_in_peace() {
    let (hub, _stop) = hub();
    let (first, _) = join(&hub, "one");
    let mut old = hub.dial("n").await.unwrap();
    assert_eq!(greeting(&mut old).await, "one");
    let _second = join(&hub, "two");
    let newer = async {
        loop {
            let mut io = hub.dial("n").await.unwrap();
            if greeting(&mut io).await == "two" {
                return;
            }
        }
    };
    timeout(SOON, newer).await.expect("the newer is used");
    old.write_all(b"abc").await.unwrap();
    assert_eq!(greeting(&mut old).await, "abc", "the old stream still echoes");
    drop(old);
    assert!(timeout(SOON, first).await.expect("then the old tunnel ends").unwrap().is_ok());
    assert!(hub.is_connected("n"), "and leaves the newer alone");
    hub.cut("n");
    assert!(!hub.is_connected("n"));
}

/// A pipe whose far end is still open but never answers.
#[tokio::test(start_paused = true)]
async fn a_silent_other_end_is_noticed_from_both_sides() {
    let (hub, _stop) = hub();
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let begun = tokio::time::Instant::now();
    let held = hub.hold("n", ours);
    assert!(timeout(Duration::from_secs(15), held).await.expect("within 15 s").is_err());
    assert!(begun.elapsed() > Duration::from_secs(5), "not at once");
    assert!(!hub.is_connected("n"));
    drop(theirs);

    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let serving = tokio::spawn(serve(ours, Arc::new(Echo("one"))));
    // preface and empty settings, then silence
    theirs.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    assert!(timeout(Duration::from_secs(15), serving).await.expect("within 15 s").unwrap().is_err());
}
