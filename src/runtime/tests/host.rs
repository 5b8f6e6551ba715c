//! What the host sees: mounts, memory, cgroups, cleaning up.

mod common;

use common::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use runtime::{Mount, Runtime};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killall_leaves_only_images() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let mut config = host.sandbox("one");
    config.share_process_namespace = true;
    let one = runtime.run_sandbox(config).await.unwrap();
    let two = runtime.run_sandbox(host.sandbox("two")).await.unwrap();
    for pod in [&one, &two] {
        run(&runtime, pod, container("c", "sleep 1000")).await;
    }
    drop(runtime);
    let kill = || runtime::killall(&host.path("state"), &host.path("run"), &host.cgroup_root);
    kill().unwrap();
    until("everything is gone", || host.leftovers().is_empty()).await;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(host.directory.path().to_str().unwrap()));
    kill().unwrap();
    let runtime = host.open().await;
    assert!(runtime.sandboxes().await.unwrap().is_empty());
    assert_eq!(runtime.images().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_sees_no_container_mounts_and_a_small_shim() {
    let host = Host::new();
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("small")).await.unwrap();
    for n in 0..3 {
        run(&runtime, &pod, container(&format!("c{n}"), "while :; do echo 1; sleep 1; done")).await;
    }
    for _ in 0..5 {
        let config = runtime::ExecConfig { command: vec!["true".to_owned()], ..Default::default() };
        runtime
            .exec(&runtime.containers(None).await.unwrap()[0].id, config)
            .await
            .unwrap()
            .exit
            .await
            .unwrap()
            .unwrap();
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let here = host.directory.path().to_str().unwrap();
    // the private mount and the pod's /dev/shm
    assert_eq!(mounts.lines().filter(|l| l.contains(here)).count(), 2, "{mounts}");
    let netns = runtime.sandboxes().await.unwrap()[0].netns.clone().unwrap();
    let shim = netns.parent().unwrap().parent().unwrap();
    let status = std::fs::read_to_string(shim.join("status")).unwrap();
    let kb = |name: &str| -> u64 {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    eprintln!("shim: {} kB resident, {} kB of it anonymous", kb("VmRSS:"), kb("RssAnon:"));
    assert!(kb("RssAnon:") < 2048, "{status}");
    let cgroup = std::fs::read_to_string(shim.join("cgroup")).unwrap();
    assert!(cgroup.lines().all(|l| l.ends_with(&format!("{}.shims", host.cgroup_root))), "{cgroup}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mounts_spread_as_asked() {
    let host = Host::new();
    let shared = host.path("shared");
    std::fs::create_dir(&shared).unwrap();
    mount(Some("t"), &shared, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    mount(None::<&str>, &shared, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    for name in ["private", "slave", "both"] {
        std::fs::create_dir(shared.join(name)).unwrap();
    }
    let runtime = host.runtime().await;
    let pod = runtime.run_sandbox(host.sandbox("spread")).await.unwrap();
    let volume = |name: &str, propagation: &str| Mount {
        host_path: shared.clone(),
        container_path: format!("/{name}").into(),
        read_only: false,
        propagation: propagation.to_owned(),
    };
    let make = |propagation: &str| {
        let script = "while ! [ -e /v/go ]; do sleep 0.02; done; ls /v/slave /v/private; mkdir -p /v/both/x; mount -t tmpfs t /v/both/x && touch /v/both/x/inside; echo done; sleep 1000";
        let mut config = container(&format!("c{}", propagation.to_lowercase()), script);
        config.security.privileged = propagation == "Bidirectional";
        config.mounts = vec![volume("v", propagation)];
        config
    };
    let mut ids = Vec::new();
    for propagation in ["None", "HostToContainer", "Bidirectional"] {
        ids.push(run(&runtime, &pod, make(propagation)).await);
    }
    mount(Some("t"), &shared.join("slave"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    std::fs::write(shared.join("slave/later"), "").unwrap();
    std::fs::write(shared.join("go"), "").unwrap();
    let mut seen = Vec::new();
    for id in &ids {
        let up = status(&runtime, id).await;
        until("it has looked", || log(&up).contains("done")).await;
        seen.push(log(&up).contains("later"));
    }
    assert_eq!(seen, [false, true, true]);
    assert!(shared.join("both/x/inside").exists(), "a mount comes out of the container");
    runtime.remove_sandbox(&pod).await.unwrap();
    for point in ["both/x", "slave", ""] {
        umount2(&shared.join(point), MntFlags::MNT_DETACH).unwrap();
    }
    until("everything is gone", || host.leftovers().is_empty()).await;
}
