//! Connecting to a port.

use std::time::Duration;

use tokio::net::TcpStream;

/// Errors in Go's words, which operators know from events.
pub(crate) async fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let at = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(format!("dial tcp {at}: connect: connection refused"))
        }
        Ok(Err(e)) => Err(format!("dial tcp {at}: {e}")),
        Err(_) => Err(format!("dial tcp {at}: i/o timeout")),
    }
}
