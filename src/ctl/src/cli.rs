//! The command line: commands and flags as kubectl names them.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    apply, auth, autoscale, certificate, cluster_info, config, cp, create, debug, delete, describe, drain, edit,
    events, exec, explain, expose, get, logs, marks, patch, port_forward, proxy, rollout, run, scale, set, taint, top,
    version, wait,
};

#[derive(Parser)]
#[command(name = "skiff ctl", version, about = "Talks to a Kubernetes cluster, as kubectl does", max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The command line parsed, or the code to exit with after the help or the error has been printed.
pub fn parse(args: Vec<OsString>) -> Result<Cli, ExitCode> {
    let parsed = command().try_get_matches_from(args).and_then(|m| Cli::from_arg_matches(&m));
    parsed.map_err(|error| {
        let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
        match error.kind() {
            ErrorKind::UnknownArgument => {
                let flag = context(ContextKind::InvalidArg);
                if flag.starts_with("--") {
                    eprintln!("error: unknown flag: {flag}\nSee 'kubectl --help' for usage.");
                } else if flag.starts_with('-') {
                    eprintln!(
                        "error: unknown shorthand flag: {:?} in {flag}\nSee 'kubectl --help' for usage.",
                        flag.chars().nth(1).unwrap_or_default()
                    );
                } else {
                    let _ = error.print();
                }
            }
            ErrorKind::InvalidSubcommand => {
                eprintln!("error: unknown command {:?} for \"kubectl\"", context(ContextKind::InvalidSubcommand));
            }
            _ => drop(error.print()),
        }
        ExitCode::from(u8::from(error.use_stderr()))
    })
}

/// clap's command with flags as Go's pflag takes them: `--all=true` as well as `--all`.
pub fn command() -> clap::Command {
    fn flags(command: clap::Command) -> clap::Command {
        let command = command.mut_args(|arg| match arg.get_action() {
            ArgAction::SetTrue => arg
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .value_parser(clap::value_parser!(bool))
                .default_value("false")
                .default_missing_value("true")
                .hide_default_value(true)
                .hide_possible_values(true)
                .value_name(""),
            _ => arg,
        });
        command.mut_subcommands(flags)
    }
    flags(Cli::command())
}

/// Flags of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// The kubeconfig file
    #[arg(long, global = true)]
    pub kubeconfig: Option<String>,
    /// The context of the kubeconfig
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The cluster of the kubeconfig
    #[arg(long, global = true)]
    pub cluster: Option<String>,
    /// The user of the kubeconfig
    #[arg(long, global = true)]
    pub user: Vec<String>,
    /// The namespace
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// The server's URL
    #[arg(short, long, global = true)]
    pub server: Option<String>,
    /// Act as this user
    #[arg(long = "as", global = true)]
    pub as_user: Option<String>,
    /// Act as a member of these groups
    #[arg(long, global = true)]
    pub as_group: Vec<String>,
    /// The bearer token
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// The file of the authority that signed the server's certificate
    #[arg(long, global = true)]
    pub certificate_authority: Option<String>,
    /// The file of the client's certificate
    #[arg(long, global = true)]
    pub client_certificate: Option<String>,
    /// The file of the client's key
    #[arg(long, global = true)]
    pub client_key: Option<String>,
    /// Do not check the server's certificate
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,
    /// The name in the server's certificate
    #[arg(long, global = true)]
    pub tls_server_name: Option<String>,
    /// Accepted for compatibility
    #[arg(short = 'v', long = "v", global = true, hide = true)]
    pub verbosity: Option<String>,
    /// Accepted for compatibility
    #[arg(long, global = true, hide = true)]
    pub cache_dir: Option<String>,
    /// How long one request may take (accepted for compatibility)
    #[arg(long, global = true, hide = true)]
    pub request_timeout: Option<String>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Show objects
    Get(get::Flags),
    /// Show objects in detail, with their events
    Describe(describe::Flags),
    /// Change fields of objects
    Patch(patch::Flags),
    /// Set the number of replicas
    Scale(scale::Flags),
    /// Set or remove labels
    Label(marks::Flags),
    /// Set or remove annotations
    Annotate(marks::Flags),
    /// Set or remove taints of nodes
    Taint(taint::Flags),
    /// Follow, undo and restart rollouts
    Rollout(rollout::Flags),
    /// Make objects be as files say
    Apply(apply::Flags),
    /// Show what apply would change
    Diff(apply::DiffFlags),
    /// Create objects
    Create(create::Flags),
    /// Replace objects by files
    Replace(create::ReplaceFlags),
    /// Delete objects
    Delete(delete::Flags),
    /// Edit objects in $EDITOR
    Edit(edit::Flags),
    /// Run an image in a pod
    Run(run::Flags),
    /// Make a service for pods
    Expose(expose::Flags),
    /// Let the number of pods follow their load
    Autoscale(autoscale::Flags),
    /// Wait for a condition
    Wait(wait::Flags),
    /// Set fields such as images
    Set(set::Flags),
    /// Mark a node unschedulable
    Cordon(drain::CordonFlags),
    /// Mark a node schedulable
    Uncordon(drain::CordonFlags),
    /// Move all pods off a node
    Drain(drain::Flags),
    /// Ask what one may do
    Auth(auth::Flags),
    /// Approve and deny certificate requests
    Certificate(certificate::Flags),
    /// CPU and memory of nodes and pods
    Top(top::Flags),
    /// What happened
    Events(events::Flags),
    /// Explain the fields of a kind
    Explain(explain::Flags),
    /// Show and change kubeconfig files
    Config(config::Flags),
    /// Print logs of a container
    Logs(logs::Flags),
    /// Run a command in a container
    Exec(exec::Flags),
    /// Attach to a running container
    Attach(exec::AttachFlags),
    /// Copy files to and from containers
    Cp(cp::Flags),
    /// Forward local ports to a pod
    PortForward(port_forward::Flags),
    /// A container to look into a pod or a node
    Debug(debug::Flags),
    /// The API server on a local port
    Proxy(proxy::Flags),
    /// Versions of client and server
    Version(version::Flags),
    /// The resources that the server serves
    ApiResources(version::ResourcesFlags),
    /// The group versions that the server serves
    ApiVersions,
    /// Addresses of the cluster
    ClusterInfo(cluster_info::Flags),
    /// Print the completion script for a shell
    Completion { shell: clap_complete::Shell },
}

/// `-f`, `-k`-less: files, folders, URLs are not fetched, `-` is stdin.
#[derive(Args, Clone, Debug, Default)]
pub struct Files {
    /// Files or folders of manifests; - is stdin
    #[arg(short, long = "filename", value_delimiter = ',')]
    pub filename: Vec<String>,
    /// Folders with all they hold
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// `-o`
#[derive(Args, Clone, Debug, Default)]
pub struct Output {
    /// json, yaml, name, wide, jsonpath=…, jsonpath-file=…, custom-columns=…, custom-columns-file=…
    #[arg(short, long)]
    pub output: Option<String>,
}

/// `-l`, `--field-selector`, `-A`, `--all`
#[derive(Args, Clone, Debug, Default)]
pub struct Select {
    /// Label selector
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Field selector
    #[arg(long)]
    pub field_selector: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent_and_like_pflags() {
        command().debug_assert();
        let get = |args: &str| match parse(args.split(' ').map(OsString::from).collect()) {
            Ok(Cli { command: Command::Get(_), global }) => global.namespace,
            _ => None,
        };
        let n = Some("n".to_owned());
        for args in [
            "k get pods -n n",
            "k -n n get pods",
            "k get -n=n pods -w=true",
            "k get pods --namespace=n --show-labels=false -oyaml",
        ] {
            assert_eq!(get(args), n, "{args}");
        }
    }
}
