//! `bench`: load on the API of any cluster, and what it measured. One line of text per measurement, or of JSON with `--json`.
//!
//! The generator must not dominate the cores that it shares with the server: it runs on one thread, speaks HTTP/1.1 on one
//! kept-alive TLS connection per request in flight, and looks at no more of an answer than it must.

mod bounds;
mod client;
mod fixed;
mod idle;
mod load;
mod many;
mod network;
mod pod;
mod process;
mod report;
mod start;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

use client::Cluster;
use report::Report;

#[derive(Parser)]
#[command(name = "bench", about = "Load on a Kubernetes API, and what it measured")]
struct Args {
    #[arg(long, env = "KUBECONFIG", default_value = "/etc/skiff/skiff.yaml", global = true)]
    kubeconfig: PathBuf,
    /// One JSON object per line, for `bench table`.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Creates ConfigMaps with 512 bytes of data.
    Creates {
        #[arg(long, default_value_t = 50)]
        in_flight: usize,
        #[arg(long, default_value_t = 5000)]
        count: usize,
    },
    /// Gets single ConfigMaps.
    Gets {
        #[arg(long, default_value_t = 50)]
        in_flight: usize,
        #[arg(long, default_value_t = 20000)]
        count: usize,
    },
    /// Lists a namespace of ConfigMaps, one list after the other.
    List {
        #[arg(long, default_value_t = 10000)]
        objects: usize,
        #[arg(long, default_value_t = 20)]
        count: usize,
        /// As Kubernetes protobuf.
        #[arg(long)]
        protobuf: bool,
        /// Against a server that sends a body of that size and does nothing else.
        #[arg(long)]
        fixed: bool,
    },
    /// The memory of a server with many ConfigMaps, and after they are gone.
    Hold {
        /// The server's.
        #[arg(long)]
        pid: u32,
        #[arg(long, default_value_t = 30_000)]
        objects: usize,
        /// Seconds from the deletion to the second look.
        #[arg(long, default_value_t = 10)]
        settle: u64,
    },
    /// Creates and deletes very many ConfigMaps: what becomes of the database.
    Churn {
        #[arg(long)]
        pid: u32,
        /// The server's `--data-dir`.
        #[arg(long)]
        data_dir: PathBuf,
        #[arg(long, default_value_t = 1_000_000)]
        objects: usize,
        /// So many at a time.
        #[arg(long, default_value_t = 10_000)]
        wave: usize,
    },
    /// The server's CPU time for the creation of a pod.
    Pods {
        #[arg(long)]
        pid: u32,
        #[arg(long, default_value_t = 10_000)]
        count: usize,
        #[arg(long, default_value_t = 50)]
        in_flight: usize,
    },
    /// Many CustomResourceDefinitions: how soon each is established, what they cost together.
    Definitions {
        #[arg(long)]
        pid: u32,
        #[arg(long, default_value_t = 500)]
        count: usize,
    },
    /// Patches ConfigMaps that many watch: every event must arrive everywhere.
    Watch {
        #[arg(long, default_value_t = 500)]
        watchers: usize,
        #[arg(long, default_value_t = 1000)]
        patches: usize,
        #[arg(long, default_value_t = 4)]
        in_flight: usize,
    },
    /// Cold start on an empty directory: to /readyz, and, unless `--control-plane`, to a Ready node and a working account.
    Start {
        /// The skiff binary.
        #[arg(long, default_value = "skiff")]
        skiff: PathBuf,
        #[arg(long, default_value_t = 5)]
        count: usize,
        #[arg(long)]
        control_plane: bool,
        /// More for `skiff server`.
        #[arg(last = true)]
        flags: Vec<String>,
    },
    /// What a process that should be idle costs: memory, CPU, disk; and its shims' memory.
    Idle {
        #[arg(long)]
        pid: u32,
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// TCP between pods of two machines, here on this one: skiff's network beside a bare VXLAN device. Needs root.
    Network {
        /// Of each measurement.
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// Let the processors halt when they are idle.
        #[arg(long)]
        halting: bool,
    },
    /// From creating a pod to Running, as a watcher sees it.
    RunPod {
        #[arg(long)]
        image: String,
        #[arg(long, default_value_t = 5)]
        count: usize,
        /// Instead of the image's.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Many pods through Deployments, on the nodes of `skiff agent --simulate N`: from the first create until all are ready.
    Many {
        #[arg(long, default_value_t = 100)]
        deployments: usize,
        /// Of each.
        #[arg(long, default_value_t = 100)]
        replicas: usize,
    },
    /// How long a command takes, run again and again.
    Time {
        /// What the measurement is called.
        #[arg(long)]
        name: String,
        #[arg(long, default_value_t = 20)]
        count: usize,
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Starts agents one after the other and leaves them running: from the start of the process to its Ready node.
    Join {
        /// The nodes' names; `{n}` is the agent's number, here and in the command.
        #[arg(long, default_value = "edge{n}")]
        node: String,
        #[arg(long, default_value_t = 3)]
        count: usize,
        /// Where their pids and logs are put.
        #[arg(long)]
        dir: PathBuf,
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Waits until the cluster answers and its controllers have made the `default` service account.
    Wait {
        #[arg(long, default_value_t = 120)]
        seconds: u64,
    },
    /// Sets two files of JSON lines side by side.
    Table { ours: PathBuf, theirs: PathBuf },
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let cluster = || Cluster::load(&args.kubeconfig);
        let reports: Vec<Report> = match args.command {
            Command::Creates { in_flight, count } => vec![load::creates(&cluster()?, in_flight, count).await?],
            Command::Gets { in_flight, count } => vec![load::gets(&cluster()?, in_flight, count).await?],
            Command::List { objects, count, protobuf, fixed } => {
                vec![load::list(&cluster()?, objects, count, protobuf, fixed).await?]
            }
            Command::Hold { pid, objects, settle } => {
                vec![bounds::hold(&cluster()?, pid, objects, Duration::from_secs(settle)).await?]
            }
            Command::Churn { pid, data_dir, objects, wave } => {
                let db = bounds::database(&data_dir);
                vec![bounds::churn(&cluster()?, pid, &db, objects, wave).await?]
            }
            Command::Pods { pid, count, in_flight } => vec![bounds::pods(&cluster()?, pid, count, in_flight).await?],
            Command::Definitions { pid, count } => bounds::definitions(&cluster()?, pid, count).await?,
            Command::Watch { watchers, patches, in_flight } => {
                vec![watch::watch(&cluster()?, watchers, patches, in_flight).await?]
            }
            Command::Start { skiff, count, control_plane, flags } => {
                start::start(&skiff, count, control_plane, &flags).await?
            }
            Command::Idle { pid, seconds } => idle::idle(pid, seconds).await?,
            Command::Network { seconds, rounds, halting } => network::network(seconds, rounds, halting)?,
            Command::RunPod { image, count, command } => vec![pod::run(&cluster()?, &image, count, &command).await?],
            Command::Many { deployments, replicas } => vec![many::run(&cluster()?, deployments, replicas).await?],
            Command::Time { name, count, command } => vec![process::time(&name, count, &command)?],
            Command::Join { node, count, dir, command } => {
                vec![process::join(&cluster()?, &node, count, &dir, &command).await?]
            }
            Command::Wait { seconds } => vec![start::wait(&args.kubeconfig, seconds).await?],
            Command::Table { ours, theirs } => return report::table(&ours, &theirs),
        };
        reports.iter().for_each(|r| r.print(args.json));
        Ok(())
    })
}
