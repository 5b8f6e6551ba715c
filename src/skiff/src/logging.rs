//! Logs for the operator: one line a decision on stderr, silence when idle. `SKIFF_LOG` filters as `RUST_LOG` does.

use tracing_subscriber::EnvFilter;

pub fn start() {
    let filter = EnvFilter::try_from_env("SKIFF_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
}
