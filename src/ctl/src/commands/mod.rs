//! One file a command.

use crate::cli::{Cli, Command, command};
use crate::error::Result;
use crate::session::Session;

pub mod apply;
pub mod create;
pub mod delete;
pub mod get;

/// Does what the command line says.
pub async fn run(cli: Cli) -> Result<()> {
    let command = match cli.command {
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut command(), "skiff ctl", &mut std::io::stdout());
            return Ok(());
        }
        other => other,
    };
    let session = Session::open(cli.global).await?;
    let s = &session;
    match command {
        Command::Get(f) => get::run(s, f).await,
        Command::Apply(f) => apply::run(s, f).await,
        Command::Diff(f) => apply::diff(s, f).await,
        Command::Create(f) => create::run(s, f).await,
        Command::Replace(f) => create::replace(s, f).await,
        Command::Delete(f) => delete::run(s, f).await,
        Command::Completion { .. } => Ok(()),
    }
}
