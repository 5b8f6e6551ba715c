//! Several machines on a network: one server, and agents that join it.

use std::future::Future;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::lan::Lan;
use crate::machine::{Machine, skiff, succeed};
use crate::{Cx, SOON, Server};

/// A machine that runs `skiff agent`.
pub struct Agent {
    machine: Machine,
    pub name: String,
    /// Its number on the [`Lan`].
    pub number: u8,
    args: Vec<String>,
}

impl Agent {
    /// `skiff agent` with this agent's arguments, not yet run.
    pub fn agent_command(&self) -> Command {
        self.agent(skiff(), &self.args)
    }
    pub fn start(&self) {
        self.spawn(self.agent_command(), || true);
    }
    /// With another binary.
    pub fn start_as(&self, skiff: &Path) {
        self.spawn(self.agent(skiff, &self.args), || true);
    }
    /// With other arguments.
    pub fn start_with(&self, args: &[String]) {
        self.spawn(self.agent(skiff(), args), || true);
    }
    fn agent(&self, skiff: &Path, args: &[String]) -> Command {
        let mut command = self.command(skiff);
        command.args(["agent", "--data-dir", &self.data(), "--node-name", &self.name]).args(args);
        command
    }

    /// What the agent has written down for the time without a server.
    pub fn known(&self) -> String {
        let dir = Path::new(&self.data()).join("agent/known");
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|f| f.path());
        files.filter_map(|f| std::fs::read(f).ok()).map(|b| String::from_utf8_lossy(&b).into_owned()).collect()
    }

    /// What is left of a machine whose plug was pulled: the disk.
    pub fn power_cut(&self) {
        let (data, disk) = (self.data(), self.dir().join("disk"));
        succeed(self.command("cp").args(["-a", "--one-file-system", &data]).arg(&disk));
        self.killall();
        std::fs::remove_dir_all(&data).expect("nothing is mounted there");
        std::fs::rename(&disk, &data).expect("beside it");
    }
    pub fn address(&self) -> String {
        Lan::address(self.number)
    }
}

impl Deref for Agent {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        &self.machine
    }
}

/// The server is machine 1 and node `n1`, the agents are `n2` and so on.
pub struct Cluster {
    // in the order in which they go
    pub agents: Vec<Agent>,
    pub server: Arc<Server>,
    pub lan: Lan,
}

impl Cluster {
    /// A running server; nobody has joined.
    pub fn new(server_args: &[&str]) -> Cluster {
        let lan = Lan::new();
        let (netns, _) = lan.plug();
        let mut args = vec!["--node-name", "n1"];
        args.extend(server_args);
        let server = Server::on(Machine::apart(netns), &args);
        server.import_image();
        server.start();
        Cluster { agents: Vec::new(), server: Arc::new(server), lan }
    }

    pub fn url(&self) -> String {
        format!("https://{}:6443", Lan::address(1))
    }
    pub fn token(&self) -> String {
        self.server.skiff(&["token", "--data-dir", &self.server.data()]).trim().to_owned()
    }

    /// Another machine with its images, whose `skiff agent` has not run yet.
    pub fn machine(&self, args: &[&str]) -> Agent {
        let (netns, number) = self.lan.plug();
        let machine = Machine::apart(netns);
        machine.import_image();
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        Agent { machine, name: format!("n{number}"), number, args }
    }

    /// How an agent joins, with the server's token.
    pub fn joining(&self) -> Vec<String> {
        ["--join".into(), self.url(), "--token".into(), self.token()].into()
    }

    /// Another machine, whose agent has been started with the server's token and `args`.
    pub fn join(&mut self, args: &[&str]) -> &Agent {
        let joining = self.joining();
        let all: Vec<&str> = joining.iter().map(String::as_str).chain(args.iter().copied()).collect();
        let agent = self.machine(&all);
        agent.start();
        self.agents.push(agent);
        self.agents.last().expect("just put there")
    }
}

impl Cx {
    /// Waits until a node is Ready.
    pub async fn node_ready(&self, name: &str) -> Value {
        self.node_when("is Ready", name, crate::pods::is_ready).await
    }
    pub async fn node_when(&self, what: &str, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.api.wait(what, &format!("/api/v1/nodes/{name}"), SOON, is).await
    }
}

/// A test on a cluster of its own with so many agents, all Ready.
pub fn trial<F, T>(agents: usize, name: &'static str, test: F) -> Trial
where
    F: FnOnce(Arc<Cluster>, Cx) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    trial_with(&[], agents, name, test)
}

/// The same, with flags for the server.
pub fn trial_with<F, T>(server_args: &'static [&'static str], agents: usize, name: &'static str, test: F) -> Trial
where
    F: FnOnce(Arc<Cluster>, Cx) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    Trial::test(name.trim_start_matches("r#box::"), move || {
        let mut cluster = Cluster::new(server_args);
        for _ in 0..agents {
            cluster.join(&[]);
        }
        let cluster = Arc::new(cluster);
        let failed = cluster.server.run({
            let cluster = cluster.clone();
            async move {
                let cx = Cx::new(cluster.server.clone(), name).await;
                let task = async move {
                    for agent in &cluster.agents {
                        cx.node_ready(&agent.name).await;
                    }
                    test(cluster, cx).await;
                };
                tokio::spawn(task).await.err()
            }
        });
        if let Some(panic) = failed {
            eprintln!("--- server:\n{}", tail(&cluster.server.log()));
            for agent in &cluster.agents {
                eprintln!("--- {}:\n{}", agent.name, tail(&agent.log()));
            }
            std::panic::resume_unwind(panic.into_panic());
        }
        Ok(())
    })
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
