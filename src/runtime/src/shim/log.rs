//! A container's log in CRI's format: `<RFC 3339 time> stdout F <line>`; `P` marks a piece of a line that goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Longer lines are cut into pieces, as containerd does.
const LINE_MAX: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
}

/// The writer for both streams of one container.
pub struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    max_bytes: u64,
    max_files: usize,
    /// The begun line of each stream.
    pending: [Vec<u8>; 2],
}

impl Log {
    pub fn open(path: &Path, max_bytes: u64, max_files: usize) -> io::Result<Self> {
        let mut log = Self {
            path: path.to_owned(),
            file: None,
            size: 0,
            max_bytes,
            max_files: max_files.max(1),
            pending: Default::default(),
        };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the file anew, after someone has renamed it.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Takes output as it comes and writes the lines that are complete. A full disk loses output, never the container.
    pub fn write(&mut self, source: Source, mut data: &[u8], now_nanos: i64) {
        let mut out = Vec::with_capacity(data.len() + 64);
        let stamp = timestamp(now_nanos);
        let pending = &mut self.pending[source as usize];
        while !data.is_empty() {
            let room = LINE_MAX - pending.len();
            let end = data.iter().take(room + 1).position(|b| *b == b'\n');
            match end {
                Some(end) => {
                    entry(&mut out, &stamp, source, b'F', pending, &data[..end]);
                    pending.clear();
                    data = &data[end + 1..];
                }
                None if data.len() > room => {
                    entry(&mut out, &stamp, source, b'P', pending, &data[..room]);
                    pending.clear();
                    data = &data[room..];
                }
                None => {
                    pending.extend_from_slice(data);
                    data = &[];
                }
            }
        }
        if pending.is_empty() {
            // an idle shim keeps no buffer
            *pending = Vec::new();
        }
        self.append(&out, now_nanos);
    }

    /// The stream has ended: its last line may lack the newline.
    pub fn finish(&mut self, source: Source, now_nanos: i64) {
        let rest = std::mem::take(&mut self.pending[source as usize]);
        if !rest.is_empty() {
            let mut out = Vec::with_capacity(rest.len() + 64);
            // without its newline it is a piece, as containerd has it
            entry(&mut out, &timestamp(now_nanos), source, b'P', &rest, &[]);
            self.append(&out, now_nanos);
        }
    }

    fn append(&mut self, out: &[u8], now_nanos: i64) {
        if out.is_empty() {
            return;
        }
        if self.max_bytes > 0 && self.size > 0 && self.size + out.len() as u64 > self.max_bytes {
            // a log that cannot be rotated goes on growing, that loses less
            let _ = self.rotate(now_nanos);
        }
        if let Some(file) = &mut self.file
            && file.write_all(out).is_ok()
        {
            self.size += out.len() as u64;
        }
    }

    /// `0.log` becomes `0.log.<time>`, the oldest beyond the count go.
    fn rotate(&mut self, now_nanos: i64) -> io::Result<()> {
        let Some(name) = self.path.file_name().and_then(|n| n.to_str()).map(str::to_owned) else { return Ok(()) };
        let directory = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        let digits: String = timestamp(now_nanos).chars().filter(char::is_ascii_digit).collect();
        let (date, rest) = digits.split_at(8);
        std::fs::rename(&self.path, directory.join(format!("{name}.{date}-{}", &rest[..12])))?;
        let prefix = format!("{name}.");
        let mut old: Vec<PathBuf> = std::fs::read_dir(&directory)?
            .flatten()
            .filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)))
            .map(|e| e.path())
            .collect();
        old.sort();
        let surplus = (old.len() + 1).saturating_sub(self.max_files);
        for path in old.into_iter().take(surplus) {
            std::fs::remove_file(path)?;
        }
        self.reopen()
    }
}

fn entry(out: &mut Vec<u8>, stamp: &str, source: Source, tag: u8, head: &[u8], tail: &[u8]) {
    out.extend_from_slice(stamp.as_bytes());
    out.extend_from_slice(if source == Source::Stdout { b" stdout " } else { b" stderr " });
    out.extend_from_slice(&[tag, b' ']);
    out.extend_from_slice(head);
    out.extend_from_slice(tail);
    out.push(b'\n');
}

/// `2026-11-21T02:18:38.123456789Z`
fn timestamp(nanos: i64) -> String {
    let (seconds, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // days to a date in the proleptic Gregorian calendar, counted from 0000-03-01
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * m + 2) / 5 + 1;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_227_518_123_456_789;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn times() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(timestamp(NOW), "2026-11-21T02:18:38.123456789Z");
        assert_eq!(timestamp(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
    }

    #[test]
    fn lines_pieces_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c/0.log");
        let mut log = Log::open(&path, 0, 0).unwrap();
        log.write(Source::Stdout, b"one\ntw", NOW);
        log.write(Source::Stderr, b"err\n\n", NOW);
        log.write(Source::Stdout, b"o\nlast", NOW);
        log.finish(Source::Stdout, NOW);
        log.finish(Source::Stderr, NOW);
        let t = timestamp(NOW);
        let want = format!("{t} stdout F one\n{t} stderr F err\n{t} stderr F \n{t} stdout F two\n{t} stdout P last\n");
        assert_eq!(read(&path), want);
    }

    #[test]
    fn long_lines_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = Log::open(&path, 0, 0).unwrap();
        let mut line = vec![b'x'; LINE_MAX];
        line.push(b'\n');
        log.write(Source::Stdout, &line, NOW);
        log.write(Source::Stdout, &vec![b'y'; LINE_MAX + 3], NOW);
        log.write(Source::Stdout, b"\n", NOW);
        let text = read(&path);
        let tags: Vec<_> = text.lines().map(|l| (&l[38..39], l.len() - 40)).collect();
        assert_eq!(tags, [("F", LINE_MAX), ("P", LINE_MAX), ("F", 3)]);
    }

    #[test]
    fn rotation_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = Log::open(&path, 100, 3).unwrap();
        for i in 0..10 {
            log.write(Source::Stdout, format!("{i}{}\n", "-".repeat(40)).as_bytes(), NOW + i * 1_000_000_000);
        }
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(names[0], "0.log");
        assert!(names[1].starts_with("0.log.20261121-0218"), "{names:?}");
        assert!(read(&path).contains("9---"));
    }
}
