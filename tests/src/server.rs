//! A skiff server on a machine: start, stop, kill.

use std::ops::Deref;
use std::process::Command;

use crate::Api;
use crate::lan::Netns;
use crate::machine::{Machine, skiff};

pub struct Server {
    machine: Machine,
    args: Vec<String>,
}

impl Server {
    /// Only the control plane; the first free port.
    pub fn control_plane(args: &[&str]) -> Server {
        let mut all = vec!["--disable-agent", "--https-listen-port", "0", "--node-name", "n1"];
        all.extend(args);
        Server::on(Machine::new(None), &all)
    }

    /// A whole cluster of one node, `n1`, on a machine of its own: a network namespace.
    pub fn node(args: &[&str]) -> Server {
        let mut all = vec!["--node-name", "n1"];
        all.extend(args);
        let server = Server::on(Machine::new(Some(Netns::new())), &all);
        server.import_image();
        server
    }

    pub fn on(machine: Machine, args: &[&str]) -> Server {
        Server { machine, args: args.iter().map(|a| (*a).to_owned()).collect() }
    }

    /// `skiff server` with this server's arguments, not yet run.
    pub fn server_command(&self) -> Command {
        let mut command = self.command(skiff());
        command
            .args(["server", "--data-dir", &self.data(), "--write-kubeconfig"])
            .arg(self.kubeconfig())
            .args(&self.args);
        command
    }

    /// Starts the process and waits for its API.
    pub fn start(&self) {
        self.start_with(self.server_command());
    }

    pub fn start_with(&self, command: Command) {
        let kubeconfig = self.kubeconfig();
        let _ = std::fs::remove_file(&kubeconfig);
        // written when the API answers
        self.spawn(command, || kubeconfig.exists());
    }

    /// A client with the admin's kubeconfig. Inside [`Machine::run`] only: that is where the network is.
    pub async fn api(&self) -> Api {
        Api::from_kubeconfig(&self.kubeconfig()).await
    }
}

impl Deref for Server {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        &self.machine
    }
}
