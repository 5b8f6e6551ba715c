//! The command line, as crictl has it.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use regex::Regex;

use super::show::Format;
use crate::flags::DataDir;

#[derive(Parser)]
#[command(name = "crictl", version = concat!("version v", env!("CARGO_PKG_VERSION")), about = "The containers of this node", max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub data: DataDir,
    /// Accepted for compatibility
    #[arg(short = 'D', long, hide = true)]
    pub debug: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// List containers
    Ps(Ps),
    /// List pods
    Pods(Pods),
    /// List images
    #[command(aliases = ["image", "img"])]
    Images(Images),
    /// Show what is known of containers
    Inspect(Inspect),
    /// Show what is known of pods
    Inspectp(Inspect),
    /// Show what is known of images
    Inspecti(Inspect),
    /// Print a container's log
    Logs(Logs),
    /// Run a command in a running container
    Exec(Exec),
    /// Attach to a running container
    Attach(Attach),
    /// Show what containers use
    Stats(Stats),
    /// Show what pods use
    Statsp(Stats),
    /// Pull an image from its registry
    Pull(Pull),
    /// Remove images
    Rmi(Rmi),
    /// Stop running containers; the kubelet starts them again as their pods ask for
    Stop {
        /// Seconds until it is killed
        #[arg(short, long, default_value_t = 0)]
        timeout: u64,
        #[arg(required = true)]
        containers: Vec<String>,
    },
    /// Remove containers
    Rm(Remove),
    /// Stop running pods; the kubelet makes them anew
    Stopp {
        #[arg(required = true)]
        pods: Vec<String>,
    },
    /// Remove pods
    Rmp(Remove),
    /// Show what the runtime is
    Info {
        #[arg(short, long, value_enum, default_value = "json")]
        output: Format,
    },
    /// Show the runtime's version
    Version,
}

/// What all lists know.
#[derive(Args, Default)]
pub struct List {
    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Whole ids
    #[arg(long)]
    pub no_trunc: bool,
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Format,
}

#[derive(Args, Default)]
pub struct Ps {
    #[command(flatten)]
    pub list: List,
    /// Those that do not run, too
    #[arg(short, long)]
    pub all: bool,
    /// By id
    #[arg(long)]
    pub id: Option<String>,
    /// By name: a regular expression
    #[arg(long)]
    pub name: Option<Regex>,
    /// By the pod's namespace: a regular expression
    #[arg(long)]
    pub namespace: Option<Regex>,
    /// By label: key=value
    #[arg(long)]
    pub label: Vec<String>,
    /// By the pod's id
    #[arg(short, long)]
    pub pod: Option<String>,
    /// By image: id or name
    #[arg(long)]
    pub image: Option<String>,
    /// By state
    #[arg(short, long, value_parser = ["created", "running", "exited", "unknown"], ignore_case = true)]
    pub state: Option<String>,
    /// The image's name instead of its id
    #[arg(short, long)]
    pub resolve_image_path: bool,
    /// Only the newest of all states
    #[arg(short, long)]
    pub latest: bool,
    /// Only the newest n of all states
    #[arg(short = 'n', long)]
    pub last: Option<usize>,
}

#[derive(Args, Default)]
pub struct Pods {
    #[command(flatten)]
    pub list: List,
    /// By id
    #[arg(long)]
    pub id: Option<String>,
    /// By name: a regular expression
    #[arg(long)]
    pub name: Option<Regex>,
    /// By namespace: a regular expression
    #[arg(long)]
    pub namespace: Option<Regex>,
    /// By label: key=value
    #[arg(long)]
    pub label: Vec<String>,
    /// By state
    #[arg(short, long, value_parser = ["ready", "notready"], ignore_case = true)]
    pub state: Option<String>,
    /// Only the newest
    #[arg(short, long)]
    pub latest: bool,
    /// Only the newest n
    #[arg(short = 'n', long)]
    pub last: Option<usize>,
}

#[derive(Args)]
pub struct Images {
    #[command(flatten)]
    pub list: List,
    /// With digests
    #[arg(long)]
    pub digests: bool,
    /// Only images of this name
    pub repository: Option<String>,
}

#[derive(Args)]
pub struct Inspect {
    #[arg(required = true)]
    pub ids: Vec<String>,
    #[arg(short, long, value_enum, default_value = "json")]
    pub output: Format,
    /// Accepted for compatibility
    #[arg(short, long, hide = true)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct Logs {
    pub container: String,
    /// Go on as more comes
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines; -1: all
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub tail: i64,
    /// With the time of each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// Since a time (RFC 3339), or so long ago: 42m
    #[arg(long)]
    pub since: Option<String>,
    /// At most so many bytes
    #[arg(long)]
    pub limit_bytes: Option<u64>,
    /// Of the container's last run
    #[arg(short, long)]
    pub previous: bool,
}

#[derive(Args)]
pub struct Exec {
    /// Keep stdin open
    #[arg(short, long)]
    pub interactive: bool,
    /// With a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Run without stdin; the same here
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    pub sync: bool,
    /// Seconds until it is killed; 0: never
    #[arg(long, default_value_t = 0)]
    pub timeout: u64,
    pub container: String,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

#[derive(Args)]
pub struct Attach {
    /// Keep stdin open
    #[arg(short, long)]
    pub interactive: bool,
    /// With a terminal
    #[arg(short, long)]
    pub tty: bool,
    pub container: String,
}

#[derive(Args)]
pub struct Stats {
    /// Those that do not run, too
    #[arg(short, long)]
    pub all: bool,
    /// Seconds over which the CPU is measured
    #[arg(short, long, default_value = "1", value_parser = seconds)]
    pub seconds: Duration,
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Format,
    /// By id
    #[arg(long)]
    pub id: Option<String>,
    /// By label: key=value
    #[arg(short, long)]
    pub label: Vec<String>,
    /// By the pod's id
    #[arg(short, long)]
    pub pod: Option<String>,
    pub ids: Vec<String>,
}

#[derive(Args)]
pub struct Pull {
    pub image: String,
    /// USERNAME[:PASSWORD] for the registry
    #[arg(long, env = "CRICTL_CREDS", hide_env_values = true)]
    pub creds: Option<String>,
}

#[derive(Args)]
pub struct Rmi {
    /// All images
    #[arg(short, long)]
    pub all: bool,
    /// All that no container has
    #[arg(short = 'q', long)]
    pub prune: bool,
    #[arg(required_unless_present_any = ["all", "prune"])]
    pub images: Vec<String>,
}

#[derive(Args)]
pub struct Remove {
    /// All
    #[arg(short, long)]
    pub all: bool,
    /// Running ones, too: they are stopped first
    #[arg(short, long)]
    pub force: bool,
    #[arg(required_unless_present = "all")]
    pub ids: Vec<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| "expected seconds".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn as_users_type_it() {
        Cli::command().debug_assert();
        for line in [
            "ps -a -q",
            "ps -aq --name ^web --label a=b --state Exited",
            "ps -p 1234 -o json --data-dir /x",
            "pods --namespace kube-system -s ready",
            "images --digests",
            "logs -f --tail 5 abc",
            "logs --tail=-1 abc",
            "exec -it abc sh -c ls -l",
            "exec abc ls --color",
            "stop -t 5 abc def",
            "rm -fa",
            "rmi --prune",
            "stats -a",
            "info",
        ] {
            let args = std::iter::once("crictl").chain(line.split(' '));
            assert!(Cli::try_parse_from(args).is_ok(), "{line}");
        }
        for line in ["rm", "rmi", "exec abc", "ps --state gone", "inspect"] {
            assert!(Cli::try_parse_from(std::iter::once("crictl").chain(line.split(' '))).is_err(), "{line}");
        }
    }
}
