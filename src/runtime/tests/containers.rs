//! Real containers: what runs, what is logged, how it ends, what is left.

mod common;

use std::time::{Duration, Instant};

use common::*;
use runtime::{ContainerState, Runtime};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_runs_to_its_end_and_leaves_nothing() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("web")).await.unwrap();
    let script = "echo out; echo err >&2; hostname; id -u; pwd; env | grep -c PATH; exit 3";
    let id = runtime.create_container(&pod, container("c", script)).await.unwrap();
    assert_eq!(status(&runtime, &id).await.state, ContainerState::Created);
    let begin = Instant::now();
    runtime.start_container(&id).await.unwrap();
    eprintln!("started in {:?}", begin.elapsed());
    let ended = exited(&runtime, &id).await;
    assert_eq!((ended.exit_code, ended.reason.as_str()), (3, "Error"));
    assert!(ended.created_nanos <= ended.started_nanos && ended.started_nanos <= ended.finished_nanos);
    let log = log(&ended);
    assert!(
        log.contains("stdout F out\n") && log.contains("stderr F err\n") && log.contains("stdout F web\n"),
        "{log}"
    );
    runtime.start_container(&id).await.unwrap_err();
    runtime.stop_sandbox(&pod).await.unwrap();
    runtime.remove_sandbox(&pod).await.unwrap();
    runtime.remove_sandbox(&pod).await.unwrap();
    assert!(runtime.sandboxes().await.unwrap().is_empty() && runtime.containers(None).await.unwrap().is_empty());
    until("everything is gone", || host.leftovers().is_empty()).await;
    let _ = Duration::ZERO;
}
