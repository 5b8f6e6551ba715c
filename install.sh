#!/bin/sh
# Installs skiff on this machine and starts it; from a checkout it builds it first.
#
#   sudo ./install.sh                    build if need be, install, start, wait until the node is Ready
#   sudo SKIFF_BIN=path ./install.sh     install that binary
#   sudo SKIFF_EXEC="--node-name edge-1" ./install.sh     more flags for `skiff server`
#   sudo ./install.sh --uninstall        stop it and remove everything, data too
#
# With systemd it becomes a service; without, it is started in the background and logs to /var/log/skiff.log.
# Running it again upgrades: pods keep running.
set -eu

bin_dir=${SKIFF_BIN_DIR:-/usr/local/bin}
data_dir=${SKIFF_DATA_DIR:-/var/lib/skiff}
kubeconfig=/etc/skiff/skiff.yaml
unit=/etc/systemd/system/skiff.service
pid_file=/run/skiff.pid
log=/var/log/skiff.log

say() { printf '[skiff] %s\n' "$*"; }
die() { printf '[skiff] %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "this needs root: sudo $0"

systemd() { [ -d /run/systemd/system ]; }

stop() {
    if systemd; then
        systemctl stop skiff 2>/dev/null || true
    elif [ -f "$pid_file" ]; then
        pid=$(cat "$pid_file")
        # only if it is still ours
        case "$(readlink "/proc/$pid/exe" 2>/dev/null)" in
            *skiff*)
                kill "$pid"
                n=0
                while [ -d "/proc/$pid" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
                ;;
        esac
        rm -f "$pid_file"
    fi
}

if [ "${1:-}" = --uninstall ]; then
    stop
    [ -x "$bin_dir/skiff" ] && "$bin_dir/skiff" killall --data-dir "$data_dir"
    if systemd; then
        systemctl disable skiff 2>/dev/null || true
        rm -f "$unit"
        systemctl daemon-reload
    fi
    [ "$(readlink "$bin_dir/kubectl" 2>/dev/null)" = skiff ] && rm -f "$bin_dir/kubectl"
    rm -rf "$bin_dir/skiff" "$data_dir" /etc/skiff "$log"
    say "removed"
    exit 0
fi

# what a node needs beside the kernel
if ! command -v nft >/dev/null; then
    say "installing nftables"
    if command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nftables >/dev/null
    elif command -v dnf >/dev/null; then dnf install -y -q nftables
    elif command -v apk >/dev/null; then apk add -q nftables
    elif command -v pacman >/dev/null; then pacman -Sy --noconfirm -q nftables
    elif command -v zypper >/dev/null; then zypper -q install -y nftables
    else die "nftables is missing: install your distribution's package and run this again"
    fi
fi

# the binary: given, beside this script, or built
here=$(cd "$(dirname "$0")" && pwd)
bin=${SKIFF_BIN:-}
if [ -z "$bin" ]; then
    if [ -f "$here/Cargo.toml" ]; then
        # sudo forgets where rustup put it
        command -v cargo >/dev/null || for d in "$HOME/.cargo/bin" "/home/${SUDO_USER:-nobody}/.cargo/bin" /usr/local/cargo/bin; do
            [ -x "$d/cargo" ] && PATH=$d:$PATH
        done
        command -v cargo >/dev/null || die "cargo is missing: install Rust from https://rustup.rs, or set SKIFF_BIN"
        if ! command -v cc >/dev/null; then
            say "installing a C compiler"
            apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev >/dev/null || die "a C compiler is missing"
        fi
        target=${CARGO_TARGET_DIR:-$here/target}
        say "building (some minutes the first time)"
        (cd "$here" && CARGO_TARGET_DIR=$target cargo build --release -q -p skiff)
        bin=$target/release/skiff
    else
        bin=$here/skiff
    fi
fi
[ -x "$bin" ] || die "no binary at $bin"

stop
mkdir -p "$bin_dir"
# a running binary cannot be written over, but its name can be given to another
cp "$bin" "$bin_dir/.skiff.new"
chmod 755 "$bin_dir/.skiff.new"
mv -f "$bin_dir/.skiff.new" "$bin_dir/skiff"
[ -e "$bin_dir/kubectl" ] || command -v kubectl >/dev/null || ln -s skiff "$bin_dir/kubectl"
say "installed $("$bin_dir/skiff" --version) in $bin_dir"

set -- server --data-dir "$data_dir"
if systemd; then
    cat >"$unit" <<U
[Unit]
Description=skiff: Kubernetes in one small binary
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=$bin_dir/skiff $* ${SKIFF_EXEC:-}
EnvironmentFile=-/etc/skiff/skiff.env
# containers outlive the server
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
U
    systemctl daemon-reload
    systemctl enable -q skiff
    systemctl start skiff
else
    say "no systemd: starting in the background, logging to $log"
    if [ -f /etc/skiff/skiff.env ]; then set -a; . /etc/skiff/skiff.env; set +a; fi
    # shellcheck disable=SC2086  # SKIFF_EXEC is words
    setsid "$bin_dir/skiff" "$@" ${SKIFF_EXEC:-} >>"$log" 2>&1 </dev/null &
    echo $! >"$pid_file"
fi

say "waiting for the node"
n=0
until "$bin_dir/skiff" ctl --kubeconfig "$kubeconfig" get nodes 2>/dev/null | grep -qw Ready; do
    n=$((n + 1))
    [ $n -lt 300 ] || die "the node is not Ready after 60 s: see $(systemd && echo 'journalctl -u skiff' || echo "$log")"
    sleep 0.2
done
"$bin_dir/skiff" ctl --kubeconfig "$kubeconfig" get nodes

cat <<E

skiff runs. Try:
    skiff ctl get pods -A
    skiff ctl create deployment web --image=docker.io/library/nginx
    skiff ctl expose deployment web --port=80 --type=NodePort
    skiff ctl get all
The admin's kubeconfig is $kubeconfig (root only). To remove everything: sudo ./install.sh --uninstall
E
