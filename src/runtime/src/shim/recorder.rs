//! libcontainer says why something failed only in its log, and a forked process only half of it in its answer. A runner
//! therefore records that log's errors, its children's too, in a file that they share.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A handle on what was recorded.
pub struct Recording(Arc<File>);

struct Recorder(Arc<File>);

/// Begins to record, for the rest of this process. The file has no name; `directory` is where it is.
pub fn begin(directory: &Path) -> io::Result<Recording> {
    let file = File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory)?;
    let file = Arc::new(file);
    // a process that has a subscriber already (none has) keeps it
    let _ = tracing::subscriber::set_global_default(Recorder(file.clone()));
    Ok(Recording(file))
}

impl Recording {
    /// The first error: the others are what followed from it.
    pub fn first(&self) -> Option<String> {
        let mut buffer = [0; 1024];
        let n = self.0.read_at(&mut buffer, 0).ok()?;
        let text = String::from_utf8_lossy(&buffer[..n]);
        text.lines().next().map(str::to_owned).filter(|line| !line.is_empty())
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}\n", line.message, line.fields).replace('\n', " ");
        // what cannot be recorded is missed in a message, no more
        let _ = writeln!(&*self.0, "{}", text.trim_end());
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // writing to a String cannot fail
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
