//! Everything a user is promised, asked of the real binary. See the harness, `tests/src/lib.rs`.

mod access;
mod aggregation;
mod clients;
mod cluster;
mod conformance;
mod containers;
mod crictl;
mod crud;
mod ctl;
mod faults;
mod garbage;
mod guard;
mod hook;
mod joining;
mod kinds;
mod machine;
mod policies;
mod probes;
mod process;
mod services;
mod streams;
mod versions;
mod volumes;
mod watching;
mod webhooks;
mod workloads;

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
        aggregation::trials(),
        clients::trials(),
        cluster::trials(),
        conformance::trials(),
        containers::trials(),
        crictl::trials(),
        crud::trials(),
        ctl::trials(),
        faults::trials(),
        garbage::trials(),
        guard::trials(),
        joining::trials(),
        kinds::trials(),
        machine::trials(),
        policies::trials(),
        probes::trials(),
        process::trials(),
        services::trials(),
        streams::trials(),
        versions::trials(),
        volumes::trials(),
        watching::trials(),
        webhooks::trials(),
        workloads::trials(),
    ];
    let conclusion = libtest_mimic::run(&args, all.into_iter().flatten().collect());
    tests::cx::down();
    conclusion.exit_code()
}
