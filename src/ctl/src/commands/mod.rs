//! One file a command.

use crate::cli::{Cli, Command, command};
use crate::error::Result;
use crate::session::Session;

pub mod apply;
pub mod auth;
pub mod autoscale;
pub mod certificate;
pub mod cluster_info;
pub mod config;
pub mod cp;
pub mod create;
pub mod debug;
pub mod delete;
pub mod describe;
pub mod drain;
pub mod edit;
pub mod events;
pub mod exec;
pub mod explain;
pub mod expose;
pub mod get;
pub mod last_applied;
pub mod logs;
pub mod marks;
pub mod migrate;
pub mod patch;
pub mod port_forward;
pub mod proxy;
pub mod reconcile;
pub mod rollout;
pub mod run;
pub mod scale;
pub mod set;
pub mod taint;
pub mod top;
pub mod version;
pub mod wait;

/// Does what the command line says.
pub async fn run(cli: Cli) -> Result<()> {
    let command = match cli.command {
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut command(), "skiff ctl", &mut std::io::stdout());
            return Ok(());
        }
        Command::Config(flags) => return config::run(&cli.global, flags),
        Command::Version(flags) => return version::run(cli.global, flags).await,
        other => other,
    };
    let mut global = cli.global;
    // `create rolebinding --user` names a subject
    let users = match &command {
        Command::Create(f) if f.binds() => std::mem::take(&mut global.user),
        _ => Vec::new(),
    };
    let session = Session::open(global).await?;
    let s = &session;
    match command {
        Command::Get(f) => get::run(s, f).await,
        Command::Describe(f) => describe::run(s, f).await,
        Command::Patch(f) => patch::run(s, f).await,
        Command::Scale(f) => scale::run(s, f).await,
        Command::Label(f) => marks::run(s, f, marks::Which::Labels).await,
        Command::Annotate(f) => marks::run(s, f, marks::Which::Annotations).await,
        Command::Taint(f) => taint::run(s, f).await,
        Command::Rollout(f) => rollout::run(s, f).await,
        Command::Apply(f) => apply::run(s, f).await,
        Command::Diff(f) => apply::diff(s, f).await,
        Command::Create(f) => create::run(s, f, &users).await,
        Command::Replace(f) => create::replace(s, f).await,
        Command::Delete(f) => delete::run(s, f).await,
        Command::Edit(f) => edit::run(s, f).await,
        Command::Run(f) => run::run(s, f).await,
        Command::Expose(f) => expose::run(s, f).await,
        Command::Autoscale(f) => autoscale::run(s, f).await,
        Command::Wait(f) => wait::run(s, f).await,
        Command::Explain(f) => explain::run(s, f).await,
        Command::Set(f) => set::run(s, f).await,
        Command::Cordon(f) => drain::cordon(s, f, true).await,
        Command::Uncordon(f) => drain::cordon(s, f, false).await,
        Command::Drain(f) => drain::run(s, f).await,
        Command::Auth(f) => auth::run(s, f).await,
        Command::Certificate(f) => certificate::run(s, f).await,
        Command::Top(f) => top::run(s, f).await,
        Command::Events(f) => events::run(s, f).await,
        Command::Debug(f) => debug::run(s, f).await,
        Command::Proxy(f) => proxy::run(s, f).await,
        Command::Exec(f) => exec::run(s, f).await,
        Command::Attach(f) => exec::attach(s, f).await,
        Command::Cp(f) => cp::run(s, f).await,
        Command::PortForward(f) => port_forward::run(s, f).await,
        Command::Logs(f) => logs::run(s, f).await,
        Command::ApiResources(f) => version::resources(s, f).await,
        Command::ApiVersions => version::versions(s).await,
        Command::ClusterInfo(f) => cluster_info::run(s, f).await,
        Command::Completion { .. } | Command::Version(_) | Command::Config(_) => Ok(()),
    }
}
