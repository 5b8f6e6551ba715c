//! Reading a container's log in CRI's format, rotated files included: `<RFC 3339 time> <stream> <P|F> <text>`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Which part of a log, and how: as `PodLogOptions`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub follow: bool,
    pub tail_lines: Option<u64>,
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    pub limit_bytes: Option<u64>,
    /// `stdout`, `stderr`; `None`: both.
    pub stream: Option<String>,
}

const CHUNK: usize = 64 << 10;
/// A line is never longer than the shim's buffer; beyond this it is passed on as it is.
const MAX_LINE: usize = 1 << 20;

/// Gives the log piece by piece, as the client is to see it.
pub struct LogReader {
    path: PathBuf,
    older: VecDeque<PathBuf>,
    file: Option<BufReader<File>>,
    /// Where in the first file to begin.
    start: u64,
    /// A line whose end is not written yet.
    partial: Vec<u8>,
    options: Options,
    left: Option<u64>,
}

/// `0.log.<time>`, …, `0.log`: the oldest first.
fn files(path: &Path) -> VecDeque<PathBuf> {
    let prefix = format!("{}.", path.file_name().and_then(|n| n.to_str()).unwrap_or(""));
    let rotated = |p: &PathBuf| {
        p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&prefix) && !n.ends_with(".gz"))
    };
    let entries = path.parent().and_then(|d| std::fs::read_dir(d).ok()).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|e| e.path()).filter(rotated).collect();
    all.sort();
    all.push(path.to_owned());
    all.into()
}

impl LogReader {
    /// `path`: the newest file, which need not be there yet.
    pub fn open(path: &Path, options: Options) -> io::Result<LogReader> {
        let mut older = files(path);
        let mut start = 0;
        if let Some(n) = options.tail_lines {
            let mut wanted = n;
            let mut kept = VecDeque::new();
            while let Some(p) = older.pop_back() {
                let (offset, found) = match File::open(&p) {
                    Ok(mut f) => last_lines(&mut f, wanted)?,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => (0, 0),
                    Err(e) => return Err(e),
                };
                kept.push_front(p);
                start = offset;
                wanted -= found.min(wanted);
                if wanted == 0 {
                    break;
                }
            }
            older = kept;
        }
        let left = options.limit_bytes;
        Ok(LogReader { path: path.to_owned(), older, file: None, start, partial: Vec::new(), options, left })
    }

    /// What there is next; `None`: nothing more for now. After the limit, [`LogReader::is_full`].
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        while out.len() < CHUNK && !self.is_full() {
            let Some(file) = &mut self.file else {
                if !self.open_next()? {
                    break;
                }
                continue;
            };
            let n = file.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut self.partial)?;
            if self.partial.ends_with(b"\n") || self.partial.len() >= MAX_LINE {
                let line = std::mem::take(&mut self.partial);
                self.line(&line, &mut out);
            } else if n == 0 && !self.at_end()? {
                // rotated away, or there are newer files: what is cut off there stays cut off
                let rest = std::mem::take(&mut self.partial);
                if !rest.is_empty() {
                    self.line(&rest, &mut out);
                }
                self.file = None;
            } else if n == 0 {
                break;
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }

    pub fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    fn open_next(&mut self) -> io::Result<bool> {
        let next = self.older.pop_front().unwrap_or_else(|| self.path.clone());
        match File::open(&next) {
            Ok(mut f) => {
                f.seek(SeekFrom::Start(std::mem::take(&mut self.start)))?;
                self.file = Some(BufReader::new(f));
                Ok(true)
            }
            // not there yet, or removed meanwhile
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(!self.older.is_empty()),
            Err(e) => Err(e),
        }
    }

    /// Whether the open file is the newest, so that more may come in it.
    fn at_end(&self) -> io::Result<bool> {
        if !self.older.is_empty() {
            return Ok(false);
        }
        let Some(file) = &self.file else { return Ok(false) };
        let ours = file.get_ref().metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(m) => Ok(m.ino() == ours.ino() && m.dev() == ours.dev()),
            Err(_) => Ok(true),
        }
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let mut fields = line.splitn(4, |b| *b == b' ');
        let (Some(time), Some(stream), Some(tag), Some(text)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        if self.options.stream.as_ref().is_some_and(|s| s.as_bytes() != stream) {
            return;
        }
        if let Some(since) = self.options.since {
            let at = std::str::from_utf8(time).ok().and_then(|t| t.parse::<Timestamp>().ok());
            if at.is_some_and(|t| t < since) {
                return;
            }
        }
        let begin = out.len();
        if self.options.timestamps {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        let partial = tag.starts_with(b"P");
        out.extend_from_slice(if partial { text.strip_suffix(b"\n").unwrap_or(text) } else { text });
        if !partial && !text.ends_with(b"\n") {
            out.push(b'\n');
        }
        if let Some(left) = &mut self.left {
            let added = (out.len() - begin) as u64;
            if added > *left {
                out.truncate(begin + *left as usize);
            }
            *left -= added.min(*left);
        }
    }
}

/// Where the last `n` lines begin, and how many there are.
fn last_lines(file: &mut File, n: u64) -> io::Result<(u64, u64)> {
    let length = file.metadata()?.len();
    if n == 0 {
        return Ok((length, 0));
    }
    let mut found = 0;
    let mut end = length;
    let mut buffer = vec![0; CHUNK];
    while end > 0 {
        let begin = end.saturating_sub(CHUNK as u64);
        let part = &mut buffer[..(end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(part)?;
        for (i, _) in part.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let after = begin + i as u64 + 1;
            if after == length {
                continue; // the last line's own end
            }
            found += 1;
            if found == n {
                return Ok((after, n));
            }
        }
        end = begin;
    }
    Ok((0, found + u64::from(length > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(path: &Path, options: Options) -> String {
        let mut r = LogReader::open(path, options).unwrap();
        let mut out = Vec::new();
        while let Some(b) = r.chunk().unwrap() {
            out.extend(b);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn logs_are_cut_as_asked_across_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let line =
            |s: u32, stream: &str, tag: &str, text: &str| format!("2026-11-21T00:00:{s:02}.5Z {stream} {tag} {text}\n");
        let old = [line(1, "stdout", "F", "one"), line(2, "stderr", "F", "two")].concat();
        let new =
            [line(3, "stdout", "P", "thr"), line(3, "stdout", "F", "ee"), line(4, "stdout", "F", "four")].concat();
        std::fs::write(dir.path().join("0.log.20261121-000002"), old).unwrap();
        std::fs::write(&path, new).unwrap();
        let o = Options::default;
        for (options, want) in [
            (o(), "one\ntwo\nthree\nfour\n"),
            (Options { tail_lines: Some(1), ..o() }, "four\n"),
            (Options { tail_lines: Some(4), ..o() }, "two\nthree\nfour\n"),
            (Options { tail_lines: Some(99), ..o() }, "one\ntwo\nthree\nfour\n"),
            (Options { tail_lines: Some(0), ..o() }, ""),
            (Options { limit_bytes: Some(6), ..o() }, "one\ntw"),
            (Options { stream: Some("stderr".into()), ..o() }, "two\n"),
            (Options { since: "2026-11-21T00:00:04Z".parse().ok(), ..o() }, "four\n"),
            (Options { tail_lines: Some(1), timestamps: true, ..o() }, "2026-11-21T00:00:04.5Z four\n"),
        ] {
            assert_eq!(read(&path, options.clone()), want, "{options:?}");
        }
    }

    #[test]
    fn a_log_is_followed_over_its_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut f = File::create(&path).unwrap();
        let mut r = LogReader::open(&path, Options::default()).unwrap();
        assert_eq!(r.chunk().unwrap(), None);
        write!(f, "2026-11-21T00:00:01Z stdout F o").unwrap();
        assert_eq!(r.chunk().unwrap(), None, "half a line");
        writeln!(f, "ne").unwrap();
        assert_eq!(r.chunk().unwrap().unwrap(), b"one\n");
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        writeln!(f, "2026-11-21T00:00:02Z stdout F two").unwrap();
        std::fs::write(&path, "2026-11-21T00:00:03Z stdout F three\n").unwrap();
        assert_eq!(r.chunk().unwrap().unwrap(), b"two\nthree\n");
    }
}
