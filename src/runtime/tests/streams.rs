//! Exec, attach, terminals, port-forward.

mod common;

use std::time::Duration;

use common::*;
use runtime::{ExecConfig, Reader, Runtime, Session, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn command(line: &str) -> ExecConfig {
    let command = vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()];
    ExecConfig { command, stdout: true, stderr: true, ..Default::default() }
}

async fn all(reader: Option<Reader>) -> String {
    let mut text = String::new();
    let mut reader = reader.expect("the stream was asked for");
    tokio::time::timeout(DEADLINE, reader.read_to_string(&mut text)).await.expect("it ends in time").unwrap();
    text
}

async fn code(session: Session) -> i32 {
    tokio::time::timeout(DEADLINE, session.exit).await.expect("it ends in time").unwrap().unwrap()
}

/// Reads until the text has come.
async fn expect(reader: &mut Reader, want: &str) -> String {
    let mut text = String::new();
    let read = async {
        let mut buffer = [0; 1024];
        while !text.contains(want) {
            let n = reader.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0, "no {want} in {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    };
    tokio::time::timeout(DEADLINE, read).await.unwrap_or_else(|_| panic!("{want} comes in time"));
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_has_streams_and_a_code() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("exec")).await.unwrap();
    let mut config = container("c", "exec sleep 1000");
    config.env = vec![("GIVEN".to_owned(), "yes".to_owned())];
    let id = run(&runtime, &pod, config).await;

    let begin = std::time::Instant::now();
    let mut session =
        runtime.exec(&id, command("echo $GIVEN; echo err >&2; cat /proc/1/cmdline; exit 4")).await.unwrap();
    eprintln!("exec in {:?}", begin.elapsed());
    assert_eq!(all(session.stdout.take()).await, "yes\nsleep\x001000\0");
    assert_eq!(all(session.stderr.take()).await, "err\n");
    assert_eq!(code(session).await, 4);

    let mut session = runtime.exec(&id, ExecConfig { stdin: true, ..command("cat; echo end") }).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let big = "x".repeat(300_000);
    let writing = tokio::spawn(async move {
        stdin.write_all(big.as_bytes()).await.unwrap();
    });
    assert_eq!(all(session.stdout.take()).await.len(), 300_000 + 4);
    writing.await.unwrap();
    assert_eq!(code(session).await, 0);

    let error = runtime.exec(&id, ExecConfig { command: vec!["nope".to_owned()], ..command("") }).await.err().unwrap();
    assert!(error.to_string().contains("executable file not found"), "{error}");
    assert!(runtime.exec("0123", command("true")).await.is_err());

    // dropped: the process ends
    let session = runtime.exec(&id, command("echo $$ > /tmp/pid; exec sleep 4321")).await.unwrap();
    let sleeping = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let mut lines = all.map(|p| std::fs::read(p.path().join("cmdline")).unwrap_or_default());
        lines.any(|l| l == b"sleep\x004321\0")
    };
    until("it runs", sleeping).await;
    drop(session);
    until("it is killed", || !sleeping()).await;
    // each of these starts a process: none may be left
    for _ in 0..20 {
        assert_eq!(code(runtime.exec(&id, command("true")).await.unwrap()).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals_have_a_size() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("tty")).await.unwrap();
    let mut config = container("c", "tty; stty size; read x; stty size; echo got $x; exit 6");
    (config.tty, config.stdin) = (true, true);
    let id = run(&runtime, &pod, config).await;

    let mut session = runtime
        .exec(&id, ExecConfig { stdin: true, tty: true, ..command("read x; stty size; echo :$x") })
        .await
        .unwrap();
    assert!(session.stderr.is_none());
    session.resize.as_ref().unwrap().send(TerminalSize { width: 77, height: 33 }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    session.stdin.as_mut().unwrap().write_all(b"hi\n").await.unwrap();
    let text = all(session.stdout.take()).await;
    assert!(text.contains("33 77\r\n") && text.contains(":hi\r\n"), "{text}");
    assert_eq!(code(session).await, 0);

    let attach = ExecConfig { stdin: true, tty: true, ..command("") };
    let mut session = runtime.attach(&id, attach).await.unwrap();
    session.resize.as_ref().unwrap().send(TerminalSize { width: 101, height: 55 }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    session.stdin.as_mut().unwrap().write_all(b"there\n").await.unwrap();
    let text = all(session.stdout.take()).await;
    assert!(text.contains("55 101\r\n") && text.contains("got there\r\n"), "{text}");
    assert_eq!(code(session).await, 6);
    let ended = exited(&runtime, &id).await;
    assert!(log(&ended).contains("/dev/pts/"), "{}", log(&ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attached_see_what_is_said_and_can_speak() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("attach")).await.unwrap();
    let mut config = container("c", "while read x; do echo out $x; echo err $x >&2; done; echo over; exit 9");
    (config.stdin, config.stdin_once) = (true, true);
    let id = run(&runtime, &pod, config).await;
    let mut listener = runtime.attach(&id, command("")).await.unwrap();
    let mut speaker = runtime.attach(&id, ExecConfig { stdin: true, ..command("") }).await.unwrap();
    let mut stdin = speaker.stdin.take().unwrap();
    stdin.write_all(b"one\n").await.unwrap();
    expect(speaker.stdout.as_mut().unwrap(), "out one\n").await;
    expect(listener.stdout.as_mut().unwrap(), "out one\n").await;
    expect(listener.stderr.as_mut().unwrap(), "err one\n").await;
    drop(listener);
    stdin.write_all(b"two\n").await.unwrap();
    expect(speaker.stdout.as_mut().unwrap(), "out two\n").await;
    // the one session's end of input is the container's
    drop(stdin);
    assert_eq!(all(speaker.stdout.take()).await, "over\n");
    assert_eq!(code(speaker).await, 9);
    let ended = exited(&runtime, &id).await;
    assert_eq!(ended.exit_code, 9);
    assert!(log(&ended).contains("stderr F err two"));
    assert!(runtime.attach(&id, command("")).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_listener_misses_nothing() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("slow")).await.unwrap();
    let mut config = container("c", "read go; yes 0123456789 | head -n 60000; echo done");
    (config.stdin, config.stdin_once) = (true, true);
    let id = run(&runtime, &pod, config).await;
    let mut session = runtime.attach(&id, ExecConfig { stdin: true, ..command("") }).await.unwrap();
    session.stdin.take().unwrap().write_all(b"go\n").await.unwrap();
    let text = all(session.stdout.take()).await;
    assert_eq!(text.len(), 60_000 * 11 + 5);
    let ended = exited(&runtime, &id).await;
    assert_eq!(log(&ended).lines().count(), 60_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_are_reached_inside_the_pod() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("port")).await.unwrap();
    let id = run(&runtime, &pod, container("c", "echo up; nc -l -p 8080 -e cat")).await;
    let up = status(&runtime, &id).await;
    until("it is up", || log(&up).contains("up")).await;
    let connect = async {
        loop {
            match runtime.port_forward(&pod, 8080).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let mut stream = tokio::time::timeout(DEADLINE, connect).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
    assert!(runtime.port_forward(&pod, 9999).await.is_err());
}
