//! The shim alone, for this crate's tests: `shim shim DIRECTORY`.

fn main() {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(command) if command == "shim" => runtime::shim::main(args.collect()),
        _ => std::process::exit(2),
    }
}
