//! Everything a user is promised, asked of the real binary. See the harness, `tests/src/lib.rs`.

mod crud;

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
    let trials = [crud::trials()].into_iter().flatten().collect();
    let conclusion = libtest_mimic::run(&args, trials);
    tests::cx::down();
    conclusion.exit_code()
}
