//! The log backend: a line of JSON per event, in a file that is rotated by size. Old files go by number and age, as
//! lumberjack has it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Lines that may wait for the disk; then requests do, as upstream's `blocking` mode has it.
const WAITING: usize = 4096;

#[derive(Debug, Clone, Default)]
pub struct Rotation {
    /// Megabytes; 0: 100.
    pub max_size: u64,
    /// Old files are kept for so many days; 0: for ever.
    pub max_age: u64,
    /// So many old files are kept; 0: all.
    pub max_backups: usize,
}

pub struct LogFile {
    lines: SyncSender<Vec<u8>>,
}

struct Writer {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    size: u64,
}

impl LogFile {
    /// `-` is the standard output. Errors where the file cannot be written.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<LogFile> {
        let mut writer = Writer { path: path.into(), rotation, file: None, size: 0 };
        if path != Path::new("-") {
            writer.open()?;
        }
        let (lines, receiver) = sync_channel(WAITING);
        std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&receiver))?;
        Ok(LogFile { lines })
    }

    pub fn write(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(line)) = self.lines.try_send(line) {
            // the thread lives as long as the sender
            let _ = self.lines.send(line);
        }
    }
}

impl Writer {
    fn run(mut self, lines: &Receiver<Vec<u8>>) {
        while let Ok(mut batch) = lines.recv() {
            while batch.len() < 1 << 16
                && let Ok(more) = lines.try_recv()
            {
                batch.extend_from_slice(&more);
            }
            if let Err(error) = self.write(&batch) {
                tracing::error!(%error, path = %self.path.display(), "the audit log cannot be written");
            }
        }
    }

    fn open(&mut self) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.path == Path::new("-") {
            return io::stdout().lock().write_all(bytes);
        }
        let limit = if self.rotation.max_size == 0 { 100 } else { self.rotation.max_size } << 20;
        if self.size > 0 && self.size + bytes.len() as u64 > limit {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.open()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            self.size += bytes.len() as u64;
        }
        Ok(())
    }

    /// `audit.log` becomes `audit-2026-01-02T15-04-05.000.log`.
    fn backup(&self, now: Timestamp) -> PathBuf {
        let (stem, extension) = self.names();
        let time = now.strftime("%Y-%m-%dT%H-%M-%S%.3f");
        self.path.with_file_name(format!("{stem}-{time}{extension}"))
    }

    fn names(&self) -> (String, String) {
        let text = |s: Option<&std::ffi::OsStr>| s.map(|s| s.to_string_lossy().into_owned());
        let extension = text(self.path.extension()).map(|e| format!(".{e}")).unwrap_or_default();
        (text(self.path.file_stem()).unwrap_or_default(), extension)
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        self.size = 0;
        std::fs::rename(&self.path, self.backup(Timestamp::now()))?;
        self.prune()
    }

    fn prune(&self) -> io::Result<()> {
        let (stem, extension) = self.names();
        let dir = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut old: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let middle = name.strip_prefix(&stem).and_then(|n| n.strip_prefix('-')?.strip_suffix(&extension));
            if middle.is_some_and(|m| m.len() == 23) {
                old.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        // newest first; names tell those apart that are of one moment
        old.sort_by(|a, b| b.1.cmp(&a.1));
        let age = Duration::from_secs(self.rotation.max_age * 86_400);
        for (i, (written, path)) in old.iter().enumerate() {
            let many = self.rotation.max_backups > 0 && i >= self.rotation.max_backups;
            let aged = self.rotation.max_age > 0 && written.elapsed().is_ok_and(|e| e > age);
            if many || aged {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/audit.log");
        let rotation = Rotation { max_size: 1, max_age: 1, max_backups: 2 };
        let mut writer = Writer { path: path.clone(), rotation, file: None, size: 0 };
        let chunk = vec![b'x'; 700 << 10];
        for _ in 0..6 {
            writer.write(&chunk).unwrap();
            // backups are named by the millisecond
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut names: Vec<String> = std::fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names.contains(&"audit.log".to_owned()), "{names:?}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 700 << 10);
    }
}
