//! Secrets on the command line: where they come from, and that nobody sees them there.
//!
//! Whoever can list processes reads their arguments. A skiff that is given a secret as one starts itself anew, with the secret
//! in a pipe: the argument is gone before anything else happens, and so is the environment variable, which every child would
//! inherit.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use pki::JoinToken;

/// Flag, its short form, the variables that stand for it, and the flag that reads it from a file.
const SECRETS: [(&str, &str, &[&str], &str); 2] = [
    ("--token", "-t", &["SKIFF_TOKEN", "K3S_TOKEN"], "--token-file"),
    ("--agent-token", "", &["SKIFF_AGENT_TOKEN", "K3S_AGENT_TOKEN"], "--agent-token-file"),
];

/// Takes `flag`'s value out of `args`, whichever way it is written.
fn take(args: &mut Vec<OsString>, flag: &str, short: &str) -> Option<OsString> {
    let mut found = None;
    let mut i = 0;
    while i < args.len() {
        let text = args[i].to_string_lossy().into_owned();
        if text == "--" {
            break;
        }
        if text == flag || (!short.is_empty() && text == short) {
            if i + 1 >= args.len() {
                break;
            }
            found = Some(args.remove(i + 1));
            args.remove(i);
        } else if let Some(value) = text.strip_prefix(flag).and_then(|t| t.strip_prefix('=')) {
            found = Some(value.into());
            args.remove(i);
        } else {
            i += 1;
        }
    }
    found
}

/// For `skiff server` and `skiff agent`: starts the process anew where a secret is in its arguments or environment. Returns
/// only where there is none, or with why it could not.
pub fn hide(args: &[OsString]) -> Result<()> {
    if !args.get(1).is_some_and(|a| a == "server" || a == "agent") {
        return Ok(());
    }
    let mut args = args.to_vec();
    let mut command = std::process::Command::new("/proc/self/exe");
    let mut pipes = Vec::new();
    for (flag, short, variables, file_flag) in SECRETS {
        let given = take(&mut args, flag, short);
        let set = variables.iter().filter_map(std::env::var_os).find(|v| !v.is_empty());
        if let Some(secret) = given.or(set) {
            let (read, write) = nix::unistd::pipe().context("pipe")?;
            std::fs::File::from(write).write_all(secret.as_encoded_bytes()).context("pipe")?;
            args.push(format!("{file_flag}=/dev/fd/{}", read.as_raw_fd()).into());
            pipes.push(read);
        }
        for variable in variables {
            command.env_remove(variable);
        }
    }
    if pipes.is_empty() {
        return Ok(());
    }
    Err(command.arg0(&args[0]).args(&args[1..]).exec()).context("cannot start anew without the secret in sight")
}

/// The secret that a flag or its file holds.
pub fn read(given: Option<&str>, file: Option<&Path>) -> Result<Option<String>> {
    let Some(path) = file else { return Ok(given.map(str::to_owned)) };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    // not for the children
    let descriptor = path.strip_prefix("/dev/fd").ok().map(Path::as_os_str).and_then(OsStr::to_str);
    if let Some(fd) = descriptor.and_then(|fd| fd.parse::<i32>().ok()).filter(|fd| *fd > 2) {
        nix::unistd::close(fd).context("pipe")?;
    }
    match text.trim() {
        "" => bail!("{}: it is empty", path.display()),
        text => Ok(Some(text.to_owned())),
    }
}

pub fn join_token(given: Option<&str>, file: Option<&Path>) -> Result<Option<JoinToken>> {
    Ok(read(given, file)?.map(|text| JoinToken::parse(&text)).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_out_of_the_arguments() {
        for (line, secret, rest) in [
            ("skiff agent --token x --server y", Some("x"), "skiff agent --server y"),
            ("skiff agent --token=x", Some("x"), "skiff agent"),
            ("skiff agent -t x", Some("x"), "skiff agent"),
            ("skiff agent --token-file x", None, "skiff agent --token-file x"),
            ("skiff agent --token", None, "skiff agent --token"),
        ] {
            let mut args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let taken = take(&mut args, "--token", "-t");
            assert_eq!(taken.as_deref(), secret.map(OsStr::new), "{line}");
            assert_eq!(args.join(OsStr::new(" ")), rest, "{line}");
        }
    }
}
