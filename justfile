# every chore of the house; `just` lists them

default:
    @just --list

# build the release binary
build:
    cargo build --release -p skiff

# formatting, lints, unit tests, black-box tests, the guestbook: what CI runs
test *WHAT:
    ./tests/run {{WHAT}}

# install.sh in an emulated machine with systemd and cgroup v2, and in one with OpenRC: minutes, not part of CI
test-install-guest *PART="guest openrc":
    ./tests/install/run {{PART}}

# the files of a release
release DIR="target/dist": build
    ./packaging/release ${CARGO_TARGET_DIR:-target}/release/skiff {{DIR}}

# the first user's application, step by step
demo:
    ./tests/demo/run

fmt:
    cargo fmt --all

lint:
    cargo clippy --workspace --all-targets -- -D warnings

# licences and duplicate versions (cargo install cargo-deny)
deny:
    cargo deny check licenses bans sources

# all benchmarks, beside upstream's control plane
bench *ARGS:
    ./benches/run {{ARGS}}

# the schema of the built-in kinds, from Kubernetes' definitions
schema:
    python3 src/api/data/generate.py

# one of fuzz/targets for a while, with what `cargo install cargo-fuzz` gives; what it finds stays in the target directory
fuzz TARGET SECONDS="600":
    ./fuzz/run {{TARGET}} {{SECONDS}}
