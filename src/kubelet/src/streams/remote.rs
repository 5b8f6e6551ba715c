//! Exec and attach: a runtime session joined to the client's streams, and its outcome told on the error stream.
//! Upstream's `remotecommand.ServeExec` and `ServeAttach`.

use bytes::Bytes;
use runtime::{Reader, Session, TerminalSize, Writer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{BoxOutlet, CHUNK, Inlet};

/// The client's ends. Which are there is the client's choice.
pub(crate) struct Remote {
    pub stdin: Option<Inlet>,
    pub stdout: Option<BoxOutlet>,
    pub stderr: Option<BoxOutlet>,
    pub resize: Option<Inlet>,
    pub error: Option<BoxOutlet>,
    /// v4 and later tell the outcome as a `Status`, older ones an error's text.
    pub structured: bool,
}

impl Remote {
    /// Runs until the process has ended and all its output is out. `gone` completes when the client is.
    pub async fn run(mut self, session: runtime::Result<Session>, gone: impl Future<Output = ()>) -> Remote {
        let outcome = match session {
            Ok(session) => {
                let talk = self.talk(session);
                tokio::select! {
                    outcome = talk => outcome,
                    () = gone => return self, // dropping the session ends the process
                }
            }
            Err(e) => Err(e.to_string()),
        };
        let text = match (&outcome, self.structured) {
            (Ok(0), true) => json!({"metadata": {}, "status": "Success"}).to_string(),
            (Ok(0), false) => String::new(),
            (Ok(code), true) => json!({
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: error executing command, exit code {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            })
            .to_string(),
            (Ok(code), false) => {
                format!("command terminated with non-zero exit code: error executing command, exit code {code}")
            }
            (Err(e), true) => json!({
                "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
                "message": format!("Internal error occurred: error executing command in container: {e}"),
                "details": {"causes": [{"message": format!("error executing command in container: {e}")}]},
            })
            .to_string(),
            (Err(e), false) => format!("error executing command in container: {e}"),
        };
        if let Some(mut error) = self.error.take() {
            if !text.is_empty() {
                let _ = error.send(Bytes::from(text)).await;
            }
            error.close().await;
        }
        self
    }

    async fn talk(&mut self, session: Session) -> Result<i32, String> {
        let Session { stdin, stdout, stderr, resize, exit } = session;
        let input = pump_in(self.stdin.take(), stdin);
        let sizes = pump_sizes(self.resize.take(), resize);
        let (out, err) = (pump_out(stdout, self.stdout.take()), pump_out(stderr, self.stderr.take()));
        let done = async {
            let (exit, (), ()) = tokio::join!(exit, out, err);
            match exit {
                Ok(Ok(code)) => Ok(code),
                Ok(Err(e)) => Err(e.to_string()),
                Err(_) => Err("the session ended without an exit code".into()),
            }
        };
        let mut side = std::pin::pin!(async { tokio::join!(input, sizes) });
        tokio::pin!(done);
        tokio::select! {
            outcome = &mut done => outcome,
            _ = &mut side => done.await,
        }
    }
}

async fn pump_in(from: Option<Inlet>, to: Option<Writer>) {
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    while let Some(data) = from.recv().await {
        if to.write_all(&data).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

async fn pump_out(from: Option<Reader>, to: Option<BoxOutlet>) {
    let Some(mut from) = from else {
        if let Some(mut to) = to {
            to.close().await;
        }
        return;
    };
    let mut to = to;
    let mut buffer = vec![0; CHUNK];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if let Some(t) = &mut to
            && t.send(Bytes::copy_from_slice(&buffer[..n])).await.is_err()
        {
            to = None; // read on, so that the process does not block
        }
    }
    if let Some(mut to) = to {
        to.close().await;
    }
}

/// Sizes come as one JSON object after another: `{"Width":80,"Height":24}`.
async fn pump_sizes(from: Option<Inlet>, to: Option<mpsc::Sender<TerminalSize>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    let mut text = Vec::new();
    while let Some(data) = from.recv().await {
        text.extend_from_slice(&data);
        let mut used = 0;
        let mut values = serde_json::Deserializer::from_slice(&text).into_iter::<serde_json::Value>();
        while let Some(Ok(v)) = values.next() {
            used = values.byte_offset();
            let side = |k: &str| v[k].as_u64().and_then(|n| u16::try_from(n).ok());
            if let (Some(width), Some(height)) = (side("Width"), side("Height")) {
                let _ = to.send(TerminalSize { width, height }).await;
            }
        }
        text.drain(..used);
        if text.len() > 4096 {
            return;
        }
    }
}
