//! Specifications as tables.

use super::*;
use crate::{Mount, Security};

fn build(sandbox: SandboxConfig, container: ContainerConfig, image: image::Config, host: Host) -> (Value, Vec<Bind>) {
    let devices_held = !host.unified;
    spec(&Input {
        sandbox: &sandbox,
        container: &container,
        image: &image,
        host: &host,
        shim: 42,
        init: None,
        target: None,
        run: Path::new("/run/m/s/c"),
        sandbox_run: Path::new("/run/m/s"),
        cgroup: "/kubepods/podx/c",
        cgroup_v1_mounts: vec![("memory".to_owned(), "/sys/fs/cgroup/memory/kubepods/podx/c".into())],
        devices_held,
        devices: Vec::new(),
    })
    .unwrap()
}

fn host() -> Host {
    let bounding = CAPABILITIES.into_iter().filter(|c| *c != "CAP_SYS_RESOURCE").collect();
    Host { bounding, unified: false, devices: Vec::new() }
}

fn image() -> image::Config {
    image::Config {
        entrypoint: vec!["/entry".to_owned()],
        cmd: vec!["cmd".to_owned()],
        env: vec!["A=image".to_owned(), "PATH=/image".to_owned()],
        working_dir: "/srv".to_owned(),
        user: "web".to_owned(),
        ..Default::default()
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn commands() {
    for (command, arguments, want) in [
        (&[][..], &[][..], &["/entry", "cmd"][..]),
        (&[], &["x"], &["/entry", "x"]),
        (&["/c"], &[], &["/c"]),
        (&["/c"], &["x"], &["/c", "x"]),
    ] {
        let container = ContainerConfig { command: strings(command), args: strings(arguments), ..Default::default() };
        assert_eq!(args(&container, &image()).unwrap(), want);
    }
    assert_eq!(args(&ContainerConfig::default(), &image::Config::default()).unwrap_err(), "no command specified");
}

#[test]
fn environment_is_overridden_in_place() {
    let sandbox = SandboxConfig { hostname: "pod".to_owned(), ..Default::default() };
    let own = vec![("A".to_owned(), "own".to_owned()), ("B".to_owned(), "x=y".to_owned())];
    let container = ContainerConfig { env: own, ..Default::default() };
    assert_eq!(env(&sandbox, &container, &image()), ["PATH=/image", "HOSTNAME=pod", "A=own", "B=x=y"]);
}

#[test]
fn namespaces_of_pods() {
    let kinds = |sandbox: SandboxConfig| {
        let (spec, _) = build(sandbox, ContainerConfig::default(), image(), host());
        let list = spec["linux"]["namespaces"].as_array().unwrap().clone();
        let one = |n: Value| format!("{}{}", n["type"].as_str().unwrap(), n["path"].as_str().map_or("", |_| "*"));
        list.into_iter().map(one).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kinds(SandboxConfig::default()), "mount pid network* uts* ipc*");
    let host = SandboxConfig { host_network: true, host_pid: true, host_ipc: true, ..Default::default() };
    assert_eq!(kinds(host), "mount");
}

#[test]
fn capabilities_are_added_dropped_and_bounded() {
    let count = |security: Security, unified: bool| {
        let container = ContainerConfig { security, ..Default::default() };
        let (spec, _) = build(SandboxConfig::default(), container, image(), Host { unified, ..host() });
        spec["process"]["capabilities"]["bounding"].as_array().unwrap().len()
    };
    let of = |add: &[&str], drop: &[&str]| Security {
        add_capabilities: strings(add),
        drop_capabilities: strings(drop),
        ..Default::default()
    };
    assert_eq!(count(Security::default(), false), 14);
    assert_eq!(count(Security::default(), true), 13, "nothing holds made devices back");
    assert_eq!(count(of(&["NET_ADMIN", "CAP_SYS_TIME", "nonsense"], &["kill"]), false), 15);
    assert_eq!(count(of(&["NET_RAW"], &["ALL"]), false), 1);
    assert_eq!(count(of(&["ALL"], &["NET_RAW"]), false), 39);
    assert_eq!(count(Security { privileged: true, ..Default::default() }, false), 40);
}

#[test]
fn mounts_of_the_pod_replace_defaults_parents_first() {
    let mount = |host: &str, container: &str, read_only: bool, propagation: &str| Mount {
        host_path: host.into(),
        container_path: container.into(),
        read_only,
        propagation: propagation.to_owned(),
    };
    let mounts = vec![
        mount("/h/deep", "/data/deep", true, ""),
        mount("/h/data", "/data", false, "Bidirectional"),
        mount("/h/shm", "/dev/shm", false, ""),
    ];
    let container = ContainerConfig { mounts, ..Default::default() };
    let (spec, binds) = build(SandboxConfig::default(), container, image(), host());
    let list = spec["mounts"].as_array().unwrap();
    let lines: Vec<_> = list
        .iter()
        .map(|m| format!("{} {}", m["destination"].as_str().unwrap(), m["source"].as_str().unwrap()))
        .collect();
    assert_eq!(
        lines[lines.len() - 3..],
        ["/data /run/m/s/c/v/0", "/data/deep /run/m/s/c/v/1", "/dev/shm /run/m/s/c/v/2"]
    );
    assert_eq!(lines.iter().filter(|l| l.starts_with("/dev/shm ")).count(), 1);
    assert_eq!(list[list.len() - 2]["options"], json!(["rbind", "ro"]));
    assert_eq!(binds[0].propagation, "Bidirectional");
    assert_eq!(spec["linux"]["rootfsPropagation"], "shared");
    assert_eq!(spec["linux"]["readonlyPaths"].as_array().unwrap().last().unwrap(), "/sys/fs/cgroup");
}

#[test]
fn users() {
    let with = |security| user(&ContainerConfig { security, ..Default::default() }, &image());
    assert_eq!(with(Security::default()).user, "web");
    let asked =
        Security { run_as_user: Some(1000), run_as_group: Some(7), supplemental_groups: vec![8], ..Default::default() };
    assert_eq!(with(asked), User { user: "1000".to_owned(), group: Some(7), supplemental: vec![8] });
}

#[test]
fn masks() {
    assert_eq!(from_mask(0b101), BTreeSet::from(["CAP_CHOWN", "CAP_DAC_READ_SEARCH"]));
    assert_eq!(from_mask(u64::MAX).len(), 41);
}
