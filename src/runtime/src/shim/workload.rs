//! The last steps inside a container: find the program, set its environment, become it. The messages are runc's, which
//! users and tests know.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::unistd::AccessFlags;
use oci_spec::runtime::Spec;

#[derive(Clone)]
pub struct Workload;

impl Executor for Workload {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        program(spec).map(drop).map_err(ExecutorValidationError::ArgValidationError)
    }

    /// Nothing: [`Self::exec`] hands the environment over as it was given, with its order and its repetitions.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let path = program(spec).map_err(ExecutorError::Other)?;
        let Some(process) = spec.process() else { return Err(ExecutorError::InvalidArg) };
        let strings = |list: &Option<Vec<String>>| -> Result<Vec<CString>, ExecutorError> {
            let list = list.as_deref().unwrap_or_default();
            list.iter().map(|s| CString::new(s.as_bytes()).map_err(|_| ExecutorError::InvalidArg)).collect()
        };
        let (args, env) = (strings(process.args())?, strings(process.env())?);
        let file = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| ExecutorError::InvalidArg)?;
        match nix::unistd::execve(&file, &args, &env) {
            Err(error) => {
                Err(ExecutorError::Other(format!("exec {}: {}", path.display(), error.desc().to_lowercase())))
            }
            Ok(never) => match never {},
        }
    }
}

fn program(spec: &Spec) -> Result<PathBuf, String> {
    let process = spec.process().as_ref().ok_or("no process")?;
    let name = process.args().as_ref().and_then(|a| a.first()).ok_or("no command specified")?;
    let path = process.env().iter().flatten().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default();
    find(name, path)
}

/// As execvp looks for it.
fn find(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        return usable(Path::new(name)).map_err(|why| format!("exec: \"{name}\": stat {name}: {why}"));
    }
    let mut denied = false;
    for directory in path.split(':').filter(|d| !d.is_empty()) {
        match usable(&Path::new(directory).join(name)) {
            Ok(path) => return Ok(path),
            Err(why) => denied |= why == DENIED,
        }
    }
    let why = if denied { DENIED } else { "executable file not found in $PATH" };
    Err(format!("exec: \"{name}\": {why}"))
}

const DENIED: &str = "permission denied";

fn usable(path: &Path) -> Result<PathBuf, &'static str> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err("is a directory"),
        Ok(_) if nix::unistd::access(path, AccessFlags::X_OK).is_err() => Err(DENIED),
        Ok(_) => Ok(path.to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(DENIED),
        Err(_) => Err("no such file or directory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plain"), "x").unwrap();
        let path = format!("/nowhere:{}:/bin", dir.path().display());
        assert!(find("sh", &path).is_ok());
        assert!(find("/bin/sh", "").is_ok());
        assert_eq!(find("plain", &path).unwrap_err(), "exec: \"plain\": permission denied");
        assert_eq!(find("nope", &path).unwrap_err(), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(find("/nope", &path).unwrap_err(), "exec: \"/nope\": stat /nope: no such file or directory");
    }
}
