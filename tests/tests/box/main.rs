//! Everything a user is promised, asked of the real binary. See the harness, `tests/src/lib.rs`.

mod access;
mod crud;
mod garbage;
mod process;
mod versions;
mod watching;

use std::process::ExitCode;

/// `trials!(ControlPlane: a, b)`: these functions of this module, on that shared server.
#[macro_export]
macro_rules! trials {
    ($shared:ident: $($test:ident),+ $(,)?) => {
        vec![$(tests::trial(tests::cx::Shared::$shared, concat!(module_path!(), "::", stringify!($test)), $test)),+]
    };
}

fn main() -> ExitCode {
    let mut args = libtest_mimic::Arguments::from_args();
    // they wait more than they work
    args.test_threads.get_or_insert(6);
    let all = [
        access::trials(),
        crud::trials(),
        garbage::trials(),
        process::trials(),
        versions::trials(),
        watching::trials(),
    ];
    let conclusion = libtest_mimic::run(&args, all.into_iter().flatten().collect());
    tests::cx::down();
    conclusion.exit_code()
}
