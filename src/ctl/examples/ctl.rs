//! The command line alone, for work on it: `cargo run -p ctl --example ctl -- get pods`.
fn main() -> std::process::ExitCode {
    ctl::main(std::env::args_os().collect())
}
