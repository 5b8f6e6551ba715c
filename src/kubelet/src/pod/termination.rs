//! Termination messages: the file that a container may leave behind, or the end of its log.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use runtime::ContainerStatus;

use super::observe::label;

const MAX_MESSAGE: u64 = 4096;
const MAX_LOG_BYTES: u64 = 2048;
const MAX_LOG_LINES: usize = 80;

/// Of an ended container, by its `terminationMessagePolicy`.
pub(crate) fn message(c: &ContainerStatus) -> String {
    let file = c.annotations.get(label::MESSAGE_PATH).map(|p| tail(Path::new(p), MAX_MESSAGE)).unwrap_or_default();
    if !file.is_empty() {
        return file;
    }
    let from_logs = c.annotations.get(label::MESSAGE_POLICY).is_some_and(|p| p == "FallbackToLogsOnError");
    if from_logs && c.exit_code != 0 {
        // CRI's line prefix is some 40 bytes
        let raw = tail(&c.log_path, MAX_LOG_BYTES * 4);
        let lines: Vec<&str> = raw.lines().collect();
        let mut text = String::new();
        for line in &lines[lines.len().saturating_sub(MAX_LOG_LINES)..] {
            // time, stream, tag, text; a piece (`P`) goes on in the next line
            let [_, _, tag, said] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else { continue };
            text.push_str(said);
            if !tag.starts_with('P') {
                text.push('\n');
            }
        }
        let mut cut = text.len().saturating_sub(MAX_LOG_BYTES as usize);
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        return text[cut..].to_owned();
    }
    c.message.clone()
}

fn tail(path: &Path, max: u64) -> String {
    let Ok(mut file) = std::fs::File::open(path) else { return String::new() };
    let length = file.metadata().map(|m| m.len()).unwrap_or(0);
    let mut bytes = Vec::new();
    let _ = file.seek(SeekFrom::Start(length.saturating_sub(max)));
    let _ = file.take(max).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
