//! Running a command in a container to its end.

use runtime::{ExecConfig, Reader, Runtime};
use tokio::io::AsyncReadExt;

use crate::{Error, Result};

/// Of its output, upstream keeps so much.
const MAX_OUTPUT: u64 = 10 << 10;

/// The exit code and the output, both streams together.
pub(crate) async fn run(runtime: &dyn Runtime, id: &str, command: Vec<String>) -> Result<(i32, String)> {
    let config = ExecConfig { command, stdin: false, stdout: true, stderr: true, tty: false };
    let mut session = runtime.exec(id, config).await?;
    let (out, err) = (session.stdout.take(), session.stderr.take());
    let (out, err, exit) = tokio::join!(collect(out), collect(err), &mut session.exit);
    let code = exit.map_err(|_| Error::config("the exec session ended without an exit code"))??;
    Ok((code, String::from_utf8_lossy(&[out, err].concat()).into_owned()))
}

async fn collect(reader: Option<Reader>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut r) = reader {
        let _ = (&mut r).take(MAX_OUTPUT).read_to_end(&mut bytes).await;
        // the rest must not block the process
        let _ = tokio::io::copy(&mut r, &mut tokio::io::sink()).await;
    }
    bytes
}
