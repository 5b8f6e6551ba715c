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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_not_there() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("bad")).await.unwrap();
    let config = runtime::ContainerConfig { command: vec!["nonsense".to_owned()], ..container("c", "") };
    let id = runtime.create_container(&pod, config).await.unwrap();
    let error = runtime.start_container(&id).await.unwrap_err().to_string();
    assert!(error.contains("exec: \"nonsense\": executable file not found in $PATH"), "{error}");
    let failed = status(&runtime, &id).await;
    assert_eq!((failed.state, failed.exit_code, &*failed.reason), (ContainerState::Exited, 128, "StartError"));
    assert!(failed.message.contains("nonsense"));
    let missing = runtime::ContainerConfig { image: "no/such:1".to_owned(), ..container("c", "") };
    assert!(matches!(runtime.create_container(&pod, missing).await, Err(runtime::Error::Image(_))));
    runtime.remove_sandbox(&pod).await.unwrap();
    until("everything is gone", || host.leftovers().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_asks_first_and_kills_then() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("stop")).await.unwrap();
    let polite =
        run(&runtime, &pod, container("polite", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done"))
            .await;
    let deaf = run(&runtime, &pod, container("deaf", "trap '' TERM; echo up; while :; do sleep 0.1; done")).await;
    for id in [&polite, &deaf] {
        let up = status(&runtime, id).await;
        until("it is up", || log(&up).contains("up")).await;
    }
    runtime.stop_container(&polite, Duration::from_secs(20)).await.unwrap();
    let ended = status(&runtime, &polite).await;
    assert_eq!(ended.exit_code, 7);
    assert!(log(&ended).contains("bye"));
    let begin = Instant::now();
    runtime.stop_container(&deaf, Duration::from_millis(300)).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(status(&runtime, &deaf).await.exit_code, 137);
    runtime.stop_container(&deaf, Duration::ZERO).await.unwrap();
    assert_eq!(runtime.sandboxes().await.unwrap().len(), 1);
    assert!(runtime.sandboxes().await.unwrap()[0].ready);
    runtime.stop_sandbox(&pod).await.unwrap();
    assert!(!runtime.sandboxes().await.unwrap()[0].ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_beyond_the_limit_is_an_oom_kill() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("oom")).await.unwrap();
    let mut config = container("c", "exec head -c 200000000 /dev/zero | tail > /dev/null");
    config.resources.memory_limit_bytes = Some(20 << 20);
    config.resources.oom_score_adj = Some(500);
    let id = run(&runtime, &pod, config).await;
    let ended = exited(&runtime, &id).await;
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "OOMKilled"), "{}", log(&ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_comes_back_finds_its_pods() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("adopt")).await.unwrap();
    runtime.set_sandbox_ips(&pod, vec!["10.42.0.7".to_owned()]).await.unwrap();
    let script =
        "echo up; n=0; while [ $n -lt 600 ] && ! [ -e /tmp/go ]; do sleep 0.05; n=$((n+1)); done; echo after; exit 5";
    let id = run(&runtime, &pod, container("c", script)).await;
    let created = runtime.create_container(&pod, container("later", "echo late")).await.unwrap();
    let before = status(&runtime, &id).await;
    until("it is up", || log(&before).contains("up")).await;
    drop(runtime);

    let runtime = host.open().await;
    let sandbox = runtime.sandboxes().await.unwrap().remove(0);
    assert!(
        sandbox.ready && sandbox.id == pod && sandbox.ips == ["10.42.0.7"] && sandbox.config == host.sandbox("adopt")
    );
    assert_eq!(status(&runtime, &id).await, before);
    std::fs::write(format!("/proc/{}/root/tmp/go", before.pid), "").unwrap();
    let ended = exited(&runtime, &id).await;
    assert_eq!(ended.exit_code, 5);
    assert_eq!(log(&ended), "stdout F up\nstdout F after\n");
    runtime.start_container(&created).await.unwrap();
    assert_eq!(exited(&runtime, &created).await.exit_code, 0);
    drop(runtime);

    // an end that nobody watched
    let runtime = host.open().await;
    assert_eq!(status(&runtime, &id).await, ended);
    runtime.remove_sandbox(&pod).await.unwrap();
    until("everything is gone", || host.leftovers().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_shim_ends_its_pod() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let mut events = runtime.events();
    let pod = runtime.run_sandbox(host.sandbox("dead")).await.unwrap();
    let id = run(&runtime, &pod, container("c", "sleep 1000")).await;
    let netns = runtime.sandboxes().await.unwrap()[0].netns.clone().unwrap();
    let shim: i32 = netns.iter().nth(2).unwrap().to_str().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).unwrap();
    let ended = exited(&runtime, &id).await;
    assert_eq!((ended.exit_code, ended.reason.as_str()), (255, "Unknown"));
    let sandbox = runtime.sandboxes().await.unwrap().remove(0);
    assert!(!sandbox.ready && sandbox.netns.is_none());
    assert!(matches!(events.recv().await.unwrap(), runtime::Event::Pod { uid } if uid == "uid-dead"));
    drop(runtime);
    let runtime = host.open().await;
    assert_eq!(status(&runtime, &id).await.exit_code, 255);
    runtime.remove_sandbox(&pod).await.unwrap();
    until("everything is gone", || host.leftovers().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_roots_and_rights() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("sec")).await.unwrap();
    let data = host.path("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("file"), "from the host\n").unwrap();
    let mount = |host: std::path::PathBuf, to: &str, read_only| runtime::Mount {
        host_path: host,
        container_path: to.into(),
        read_only,
        propagation: String::new(),
    };
    let mut plain = container(
        "plain",
        "id; cat /etc/one; touch /x || echo ro-root; touch /data/new && echo rw; touch /ro/no || echo ro; echo $HOME; grep -c . /proc/self/cgroup; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status; echo x > /sys/fs/cgroup/memory/tasks || echo cgro; cat /proc/kcore | wc -c",
    );
    plain.security.run_as_user = Some(1000);
    plain.security.supplemental_groups = vec![4242];
    plain.security.read_only_root = true;
    plain.security.no_new_privileges = true;
    plain.mounts = vec![
        mount(data.clone(), "/data", false),
        mount(data.clone(), "/ro", true),
        mount(data.join("file"), "/etc/one", true),
    ];
    std::os::unix::fs::chown(&data, Some(1000), None).unwrap();
    let id = run(&runtime, &pod, plain).await;
    let text = log(&exited(&runtime, &id).await);
    for want in [
        "uid=1000(web) gid=1000(web) groups=77(extra),1000(web),4242",
        "from the host",
        "F ro-root",
        "F rw\n",
        "F ro\n",
        "F /home/web",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "F cgro",
        "stdout F 0\n",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    let mut privileged = container("privileged", "mount -t tmpfs t /tmp && echo mounted; ls /dev/kmsg; id -u");
    privileged.security.privileged = true;
    privileged.working_dir = "/made/for/it".to_owned();
    let id = run(&runtime, &pod, privileged).await;
    let text = log(&exited(&runtime, &id).await);
    assert!(text.contains("F mounted") && text.contains("F /dev/kmsg") && text.contains("F 0\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_share_what_they_should() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let mut config = host.sandbox("share");
    config.share_process_namespace = true;
    config.sysctls = [("net.core.somaxconn".to_owned(), "321".to_owned())].into();
    let pod = runtime.run_sandbox(config).await.unwrap();
    let one = run(&runtime, &pod, container("one", "echo x > /dev/shm/f; echo up; exec sleep 987")).await;
    let up = status(&runtime, &one).await;
    until("it is up", || log(&up).contains("up")).await;
    let script =
        "cat /dev/shm/f; ps | grep -c 'sleep 987'; cat /proc/1/comm; cat /proc/sys/net/core/somaxconn; ip link show lo";
    let two = run(&runtime, &pod, container("two", script)).await;
    let text = log(&exited(&runtime, &two).await);
    for want in ["F x\n", "F pause\n", "F 321\n", "LOOPBACK,UP"] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    // without a namespace of its own, its end takes only itself
    runtime.stop_container(&one, Duration::ZERO).await.unwrap();
    let stats = runtime.stats(&two).await.unwrap();
    assert_eq!(stats.pids, 0);
    runtime.remove_sandbox(&pod).await.unwrap();
    until("everything is gone", || host.leftovers().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_many_layers() {
    let host = Host::new();
    let runtime = host.open().await;
    runtime.store().import_stream(std::io::Cursor::new(image_of("many:1", 120))).unwrap();
    let pod = runtime.run_sandbox(host.sandbox("many")).await.unwrap();
    let config = runtime::ContainerConfig { image: "many:1".to_owned(), ..container("c", "ls /files | wc -l") };
    let id = run(&runtime, &pod, config).await;
    assert_eq!(log(&exited(&runtime, &id).await), "stdout F 119\n");
    // an image that goes leaves the layers that a container has
    assert_eq!(runtime::layers_in_use(&host.path("state")).unwrap().len(), 120);
    let layers = || std::fs::read_dir(runtime.store().layers_directory()).unwrap().count();
    runtime.remove_image("many:1").await.unwrap();
    assert_eq!(layers(), 240);
    runtime.remove_sandbox(&pod).await.unwrap();
    assert!(runtime::layers_in_use(&host.path("state")).unwrap().is_empty());
    assert_eq!(layers(), 0);
}
