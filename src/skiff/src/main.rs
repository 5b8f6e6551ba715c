//! Kubernetes in one small binary.

mod admin;
mod agent;
mod commands;
mod config;
mod crictl;
mod dialer;
mod encrypt;
mod flags;
mod guard;
mod hollow;
mod kubelet_args;
mod logging;
mod member;
mod memory;
mod node;
mod node_ip;
mod paths;
mod process;
mod profiler;
mod remote;
mod renew;
mod revoke;
mod secret;
mod server;
mod token;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use flags::{Cli, Command};

fn main() -> ExitCode {
    let mut args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // before anything else: a shim is single-threaded and small
    if args.get(1).is_some_and(|a| a == "shim") {
        runtime::shim::main(args.split_off(2));
    }
    // nor does this one, which watches a server, need more
    if args.get(1).is_some_and(|a| a == profiler::COMMAND) {
        return profiler::main(&args[2..]);
    }
    let name = std::path::Path::new(&args[0]).file_name().map(|n| n.to_string_lossy().into_owned());
    if name.as_deref() == Some("kubectl") {
        return ctl::main(args);
    }
    if args.get(1).is_some_and(|a| a == "ctl" || a == "kubectl") {
        args.remove(0);
        args[0] = "skiff ctl".into();
        return ctl::main(args);
    }
    if name.as_deref() == Some("crictl") {
        return crictl::main(args);
    }
    if args.get(1).is_some_and(|a| a == "crictl") {
        args.remove(0);
        args[0] = "skiff crictl".into();
        return crictl::main(args);
    }
    if let Err(error) = secret::hide(&args) {
        return commands::fail(&error);
    }
    let args = match config::with_file(args) {
        Ok(args) => args,
        Err(error) => return commands::fail(&error),
    };
    let matches = Cli::command().get_matches_from(args);
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let result = match cli.command {
        Command::Server(flags) => commands::server(*flags),
        Command::Agent(flags) => commands::agent(*flags),
        Command::Image(command) => commands::image(command),
        Command::Token(flags) => commands::token(flags),
        Command::Node(command) => commands::node(command),
        Command::SecretsEncrypt(command) => commands::secrets_encrypt(command),
        Command::Killall(flags) => commands::killall(&flags),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "skiff", &mut std::io::stdout());
            Ok(())
        }
        // handled above, listed for `--help` and completion
        Command::Ctl { .. } => return ctl::main(vec!["skiff ctl".into()]),
        Command::Crictl { .. } => return crictl::main(vec!["skiff crictl".into()]),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => commands::fail(&error),
    }
}
