#!/bin/sh
# Installs skiff on this machine and starts it; run again, it upgrades: pods keep running.
#
#   curl -sfL https://…/install.sh | sh -s - server                          a cluster on this machine
#   curl -sfL https://…/install.sh | SKIFF_URL=https://SERVER:6443 SKIFF_TOKEN=… sh -s - agent     another machine for it
#   sudo ./install.sh                    from a checkout: builds it first; waits until the node is Ready
#   sudo ./install.sh --uninstall        stops it and removes everything, data too (as skiff-uninstall.sh does)
#
# What follows `server` or `agent` are flags of `skiff server` and `skiff agent`. Without any argument an installed skiff keeps
# its role and flags. SKIFF_* variables (and K3S_URL, K3S_TOKEN, K3S_TOKEN_FILE, K3S_NODE_NAME, proxies) are kept in /etc/skiff/NAME.env, which
# only root can read; tokens given as flags are moved there, off the process list.
#
# Settings of the installation itself; INSTALL_SKIFF_X or SKIFF_X, named as k3s names them:
#   BIN            install this binary
#   VERSION        install this release [latest]
#   ARTIFACT_URL   where releases lie: URL/download/VERSION/skiff-ARCH, beside it sha256sum-ARCH.txt
#   SKIP_DOWNLOAD  true: use the binary that is installed
#   EXEC           flags, before those of the command line
#   NAME           the service is skiff-NAME [skiff; skiff-agent]
#   TYPE           the type of the systemd unit [exec]
#   BIN_DIR        [/usr/local/bin; /opt/bin where that cannot be written]
#   SYSTEMD_DIR    [/etc/systemd/system]
#   SYMLINK        skip, or force: links that stand in for other programs [only where there is none]
#   SKIP_ENABLE    true: neither enable nor start the service
#   SKIP_START     true: do not start it
#   FORCE_RESTART  true: restart it though nothing changed
set -eu
PATH=$PATH:/usr/sbin:/sbin

etc=/etc/skiff
repository=https://github.com/skiff-sh/skiff

say() { printf '[skiff] %s\n' "$*"; }
die() { printf '[skiff] %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- settings

# setting X [DEFAULT]
setting() {
    eval "value=\${INSTALL_SKIFF_$1:-\${SKIFF_$1:-}}"
    printf '%s' "${value:-${2:-}}"
}
is() { [ "$(setting "$1")" = true ]; }

# 'quoted', for a shell
quote() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }
# "quoted", for a systemd unit
quote_unit() { printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g; s/[$%]/&&/g')"; }

# What the config file says of a key.
configured() {
    [ ! -f "$config" ] || sed -n "s/^$1: *//p" "$config" | tr -d "\"'" | sed -n '$p'
}

# The role, the service's name and `args`, the role's flags, quoted.
plan() {
    url=${SKIFF_URL:-${K3S_URL:-}}
    role=
    given=$(setting EXEC)$*
    case ${1:-} in server | agent) role=$1; shift ;; esac
    set -f
    # shellcheck disable=SC2046  # EXEC is words
    set -- $(setting EXEC) "$@"
    set +f
    case ${1:-} in
        server | agent) role=${role:-$1}; shift ;;
        '' | -*) ;;
        *) die "neither server nor agent: $1" ;;
    esac
    own=$(setting NAME)
    if [ -z "$role" ]; then
        role=server
        if [ -n "$url" ]; then
            role=agent
        elif [ -z "$given" ] && [ -n "$own" ] && [ -f "$etc/skiff-$own.install" ]; then
            # shellcheck source=/dev/null
            role=$(. "$etc/skiff-$own.install" && printf '%s' "$role")
        elif [ -z "$given" ] && [ ! -f "$etc/skiff.install" ] && [ -f "$etc/skiff-agent.install" ]; then
            role=agent
        fi
    fi
    name=skiff
    [ "$role" = server ] || name=skiff-agent
    [ -z "$own" ] || name=skiff-$own
    env_file=$etc/$name.env
    install_file=$etc/$name.install
    log=/var/log/$name.log
    pid_file=/run/$name.pid

    recall
    url=${url:-${SKIFF_URL:-}}
    args=
    config=${SKIFF_CONFIG:-$etc/config.yaml}
    data_dir='' kubeconfig='' node_name='' node=true
    if [ -z "$given" ] && [ -f "$install_file" ]; then
        # shellcheck source=/dev/null
        before=$(. "$install_file" && printf '%s' "$args")
        eval "set -- $before"
    fi
    while [ $# -gt 0 ]; do
        flag=$1 word=$1
        shift
        case $flag in
            --*=*) value=${flag#*=} flag=${flag%%=*} ;;
            -t?*) value=${flag#-t} value=${value#=} flag=-t ;;
            -t | --token | --agent-token | -d | --data-dir | -c | --config | -o | --write-kubeconfig | -s | --server | --join | --node-name)
                [ $# -gt 0 ] || die "$flag needs a value"
                value=$1 word=$flag=$1
                shift
                ;;
            *) value= ;;
        esac
        case $flag in
            -t | --token) SKIFF_TOKEN=$value; export SKIFF_TOKEN; continue ;;
            --agent-token) SKIFF_AGENT_TOKEN=$value; export SKIFF_AGENT_TOKEN; continue ;;
            -d | --data-dir) data_dir=$value ;;
            -c | --config) config=$value ;;
            -o | --write-kubeconfig) kubeconfig=$value ;;
            -s | --server | --join) url=$value ;;
            --disable-agent) node=false ;;
            --node-name) node_name=$value ;;
        esac
        args="$args${args:+ }$(quote "$word")"
    done
    data_dir=${data_dir:-${SKIFF_DATA_DIR:-$(configured data-dir)}}
    data_dir=${data_dir:-/var/lib/skiff}
    case $data_dir in
        / | /bin | /boot | /dev | /etc | /home | /opt | /proc | /root | /run | /srv | /sys | /usr | /var | /var/lib | [!/]*)
            die "the data directory cannot be $data_dir: it must be one of its own, from the root" ;;
    esac
    kubeconfig=${kubeconfig:-${SKIFF_WRITE_KUBECONFIG:-$(configured write-kubeconfig)}}
    kubeconfig=${kubeconfig:-$etc/skiff.yaml}
    node_name=${node_name:-${SKIFF_NODE_NAME:-$(configured node-name)}}
    node_name=${node_name:-$(uname -n | tr '[:upper:]' '[:lower:]')}
    # a pattern
    case "$args${SKIFF_WITH_NODE_ID:+--with-node-id}" in *--with-node-id*) node_name="$node_name-[0-9a-z]*" ;; esac
    case ${SKIFF_DISABLE_AGENT:-$(configured disable-agent)} in true | 1) node=false ;; esac
    if [ "$role" = agent ] && [ -z "$url$(configured server)$(configured join)" ]; then
        die "an agent needs its server: SKIFF_URL=https://SERVER:6443, and SKIFF_TOKEN (on the server: skiff token)"
    fi
}

names() { sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' "$@"; }

# Takes the variables of last time that are not given this time.
recall() {
    for v in URL TOKEN TOKEN_FILE NODE_NAME; do
        eval "[ -n \"\${SKIFF_$v:-}\" ] || [ -z \"\${K3S_$v:-}\" ] || export SKIFF_$v=\"\$K3S_$v\""
    done
    [ -f "$env_file" ] || return 0
    for v in $(names "$env_file"); do
        # shellcheck source=/dev/null
        eval "[ -n \"\${$v+set}\" ] || export $v=\"\$(. \"\$env_file\"; printf '%s' \"\$$v\")\""
    done
}

# Writes them for the next start.
remember() {
    mkdir -p "$etc"
    (
        umask 077
        echo "# the environment of $name; install.sh keeps what is here" >"$env_file.new"
        { env; cat "$env_file" 2>/dev/null || true; } | names | sort -u | while read -r v; do
            case $v in
                SKIFF_BIN | SKIFF_VERSION | SKIFF_ARTIFACT_URL | SKIFF_SKIP_* | SKIFF_EXEC | SKIFF_NAME | SKIFF_TYPE) continue ;;
                SKIFF_BIN_DIR | SKIFF_SYSTEMD_DIR | SKIFF_SYMLINK | SKIFF_FORCE_RESTART) continue ;;
                SKIFF_* | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | http_proxy | https_proxy | no_proxy) ;;
                *) names "$env_file" 2>/dev/null | grep -qx "$v" || continue ;;
            esac
            eval "value=\${$v:-}"
            printf '%s=%s\n' "$v" "$(quote "$value")" >>"$env_file.new"
        done
    )
    place "$env_file"
    {
        echo "# what install.sh was asked for"
        echo "role=$role"
        echo "args=$(quote "$args")"
        echo "data_dir=$(quote "$data_dir")"
    } >"$install_file.new"
    place "$install_file"
}

# FILE.new becomes FILE; `changed` tells whether it is another.
changed=false
place() {
    if cmp -s "$1.new" "$1"; then
        rm -f "$1.new"
    else
        mv -f "$1.new" "$1"
        changed=true
    fi
}

# --- what a node needs beside the kernel

packages() {
    [ "$node" = true ] || return 0
    have nft && return 0
    say "installing nftables"
    if have apt-get; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq || true
        apt-get install -y -qq --no-install-recommends nftables
    elif have dnf; then dnf install -y -q nftables
    elif have yum; then yum install -y -q nftables
    elif have apk; then apk add -q nftables
    elif have zypper; then zypper -q --non-interactive install nftables
    elif have pacman; then pacman -S --noconfirm --needed nftables || pacman -Sy --noconfirm --needed nftables
    else die "nftables is missing: install your distribution's package and run this again"
    fi </dev/null >/dev/null || die "nftables could not be installed"
    have nft || die "nftables is installed, but there is no nft"
}

# --- the binary: given, beside this script, built, or downloaded

architecture() {
    case $(uname -m) in
        x86_64 | amd64) arch=amd64 ;;
        aarch64 | arm64) arch=arm64 ;;
        armv7* | armv8l) arch=arm ;;
        riscv64) arch=riscv64 ;;
        *) die "no release is built for $(uname -m): build skiff from its source" ;;
    esac
    # a 64 bit kernel with a 32 bit system
    if [ "$arch" = arm64 ] && [ "$(getconf LONG_BIT 2>/dev/null || echo 64)" = 32 ]; then arch=arm; fi
}

get() {
    if have curl; then
        curl -fsSL "$1" -o "$2"
    elif have wget; then
        wget -qO "$2" "$1"
    else
        die "neither curl nor wget is here"
    fi || die "could not be downloaded: $1"
}

sha256() { [ ! -f "$1" ] || sha256sum "$1" | cut -d ' ' -f 1; }

download() {
    architecture
    base=$(setting ARTIFACT_URL "$repository/releases")
    version=$(setting VERSION latest)
    case $version in
        latest) from=${base%/}/latest/download ;;
        *) from=${base%/}/download/$(printf '%s' "$version" | sed 's/+/%2B/g') ;;
    esac
    get "$from/sha256sum-$arch.txt" "$tmp/sums"
    want=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]skiff-$arch\$/\1/p" "$tmp/sums")
    [ -n "$want" ] || die "$from/sha256sum-$arch.txt does not tell the checksum of skiff-$arch"
    if [ "$(sha256 "$bin_dir/skiff")" = "$want" ]; then
        say "release $version is here already"
        bin=$bin_dir/skiff
        return
    fi
    say "downloading $from/skiff-$arch"
    get "$from/skiff-$arch" "$tmp/skiff"
    [ "$(sha256 "$tmp/skiff")" = "$want" ] || die "the download does not match its checksum: nothing was installed"
    bin=$tmp/skiff
}

build() {
    # sudo forgets where rustup put it
    have cargo || for d in "$HOME/.cargo/bin" "/home/${SUDO_USER:-nobody}/.cargo/bin" /usr/local/cargo/bin; do
        [ -x "$d/cargo" ] && PATH=$d:$PATH
    done
    have cargo || die "cargo is missing: install Rust from https://rustup.rs, or set SKIFF_BIN"
    if ! have cc; then
        have apt-get || die "a C compiler is missing"
        say "installing a C compiler"
        apt-get update -qq || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev >/dev/null || die "a C compiler is missing"
    fi
    target=${CARGO_TARGET_DIR:-$here/target}
    say "building (some minutes the first time)"
    (cd "$here" && CARGO_TARGET_DIR=$target cargo build --release -q -p skiff) || die "the build failed"
    bin=$target/release/skiff
}

binary() {
    here=
    [ ! -f "$0" ] || here=$(cd "$(dirname "$0")" && pwd)
    bin=$(setting BIN)
    if is SKIP_DOWNLOAD || is BIN_DIR_READ_ONLY; then
        bin=$bin_dir/skiff
    elif [ -n "$bin" ]; then
        :
    elif [ -n "$here" ] && [ -z "$(setting VERSION)$(setting ARTIFACT_URL)" ] && [ -f "$here/src/skiff/Cargo.toml" ]; then
        build
    elif [ -n "$here" ] && [ "$here" != "$bin_dir" ] && [ -z "$(setting VERSION)$(setting ARTIFACT_URL)" ] && [ -x "$here/skiff" ]; then
        bin=$here/skiff
    else
        download
    fi
    [ -f "$bin" ] || die "no binary at $bin"
    if ! cmp -s "$bin" "$bin_dir/skiff"; then
        # a running binary cannot be written over, but its name can be given to another
        cp "$bin" "$bin_dir/.skiff.new"
        chmod 755 "$bin_dir/.skiff.new"
        if ! "$bin_dir/.skiff.new" --version >/dev/null 2>"$tmp/why"; then
            rm -f "$bin_dir/.skiff.new"
            die "$bin does not run here (another architecture or C library?): $(cat "$tmp/why")"
        fi
        mv -f "$bin_dir/.skiff.new" "$bin_dir/skiff"
        changed=true
    fi
    say "$("$bin_dir/skiff" --version) is in $bin_dir"
    link kubectl
    # an older release has none
    if "$bin_dir/skiff" crictl --version >/dev/null 2>&1; then link crictl; fi
}

link() {
    [ "$(readlink "$bin_dir/$1" || true)" != skiff ] || return 0
    case $(setting SYMLINK) in
        skip) ;;
        force) ln -sf skiff "$bin_dir/$1" ;;
        *)
            if [ -e "$bin_dir/$1" ] || have "$1"; then
                say "$1 is here already and stays; skiff's own is: skiff ctl"
            else
                ln -s skiff "$bin_dir/$1"
            fi
            ;;
    esac
}

# --- the service

# Which manager looks after it. Where nothing is to be started (an image is made), the one that is installed.
find_manager() {
    manager=none
    if [ -d /run/systemd/system ]; then manager=systemd
    elif [ -d /run/openrc ] && [ -x /sbin/openrc-run ]; then manager=openrc
    elif is SKIP_START || is SKIP_ENABLE; then
        if have systemctl; then manager=systemd
        elif [ -x /sbin/openrc-run ]; then manager=openrc
        fi
    fi
}

unit() {
    eval "set -- $args"
    line=$role
    for a; do line="$line $(quote_unit "$a")"; done
    cat >"$unit_file.new" <<E
[Unit]
Description=skiff $role: Kubernetes in one small binary
Documentation=$repository
Wants=network-online.target
After=network-online.target
# it waits for its server for as long as it takes
StartLimitIntervalSec=0

[Service]
Type=$(setting TYPE exec)
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=$env_file
ExecStart=$bin_dir/skiff $line
# pods outlive it: their shims move themselves to control groups of their own
KillMode=process
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TimeoutStartSec=0
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
E
}

init_script() {
    cat >"$unit_file.new" <<E
#!/sbin/openrc-run
description="skiff $role: Kubernetes in one small binary"
supervisor=supervise-daemon
command=$(quote "$bin_dir/skiff")
command_args="$role $(printf '%s' "$args" | sed 's/[\\"$\`]/\\&/g')"
pidfile=$pid_file
output_log=$log
error_log=$log
respawn_delay=2
respawn_max=0
rc_ulimit="-n 1048576"
set -a
[ ! -f $env_file ] || . $env_file
set +a

depend() {
    after network-online firewall
    want cgroups
}
E
    chmod 755 "$unit_file.new"
}

# The service's description, for the manager; enabled.
service() {
    case $manager in
        systemd)
            unit_file=$systemd_dir/$name.service
            mkdir -p "$systemd_dir"
            unit
            ;;
        openrc)
            unit_file=/etc/init.d/$name
            init_script
            ;;
        none) return ;;
    esac
    place "$unit_file"
    if [ "$manager" = systemd ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
    is SKIP_ENABLE || case $manager in
        systemd) systemctl -q enable "$name" ;;
        openrc) rc-update -q add "$name" default >/dev/null ;;
    esac
}

# systemd's journal rotates itself
rotate_log() {
    [ "$manager" != systemd ] && [ -d /etc/logrotate.d ] || return 0
    cat >"/etc/logrotate.d/$name" <<E
$log {
    missingok
    notifempty
    copytruncate
    size 10M
    rotate 3
}
E
}

# The function `stop SERVICE`, for this script and those that it leaves behind.
stop_function() {
    cat <<E
stop() {
    if [ -d /run/systemd/system ] && [ -f "$systemd_dir/\$1.service" ]; then
        systemctl stop "\$1"
    elif [ -d /run/openrc ] && [ -x "/etc/init.d/\$1" ]; then
        rc-service -q "\$1" stop
    elif [ -f "/run/\$1.pid" ]; then
        pid=\$(cat "/run/\$1.pid")
        # only if it is still ours
        case \$(readlink "/proc/\$pid/exe" || true) in
            $bin_dir/skiff | "$bin_dir/skiff (deleted)")
                kill "\$pid"
                n=0
                while [ -e "/proc/\$pid/exe" ] && [ \$n -lt 100 ]; do
                    sleep 0.1
                    n=\$((n + 1))
                done
                ;;
        esac
        rm -f "/run/\$1.pid"
    fi
}
E
}

scripts() {
    killall=$bin_dir/skiff-killall.sh
    uninstall=$bin_dir/$name-uninstall.sh
    {
        cat <<E
#!/bin/sh
# Stops skiff and removes all that its pods have on this machine; images and the cluster's state stay.
set -u
[ "\$(id -u)" = 0 ] || exec sudo "\$0" "\$@"
PATH=\$PATH:/usr/sbin:/sbin
E
        stop_function
        cat <<E
for file in $etc/*.install; do
    [ -f "\$file" ] || continue
    stop "\$(basename "\$file" .install)"
    # shellcheck source=/dev/null
    data_dir=\$(. "\$file" && printf '%s' "\$data_dir")
    $bin_dir/skiff killall --data-dir "\$data_dir"
done
E
    } >"$killall.new"
    {
        cat <<E
#!/bin/sh
# Stops $name and removes it from this machine, with its data.
set -u
[ "\$(id -u)" = 0 ] || exec sudo "\$0" "\$@"
PATH=\$PATH:/usr/sbin:/sbin
data_dir=$(quote "$data_dir")
E
        stop_function
        cat <<E
stop $name
if [ -x $bin_dir/skiff ]; then
    $bin_dir/skiff killall --data-dir "\$data_dir" || exit 1
fi
if [ -f $systemd_dir/$name.service ]; then
    systemctl -q disable $name
    rm -f $systemd_dir/$name.service
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
fi
if [ -f /etc/init.d/$name ] && [ -x /sbin/openrc-run ]; then
    rc-update -q delete $name default
    rm -f /etc/init.d/$name
fi
rm -f $etc/$name.env $install_file $log $log.* /etc/logrotate.d/$name
# not through a mount that is still there
if ! command -v find >/dev/null; then
    rm -rf "\$data_dir"
elif [ -d "\$data_dir" ]; then
    find "\$data_dir" -xdev -mindepth 1 -delete
    rmdir "\$data_dir" 2>/dev/null || true
fi
rm -f $uninstall
for file in $etc/*.install; do
    if [ -f "\$file" ]; then
        echo "[skiff] $name is removed; \$(basename "\$file" .install) stays"
        exit
    fi
done
for link in kubectl crictl; do
    [ "\$(readlink $bin_dir/\$link || true)" != skiff ] || rm -f $bin_dir/\$link
done
rm -rf $bin_dir/skiff $bin_dir/skiff-killall.sh $etc
echo "[skiff] removed"
E
    } >"$uninstall.new"
    for file in "$killall" "$uninstall"; do
        chmod 755 "$file.new"
        mv -f "$file.new" "$file"
    done
}

running() {
    case $manager in
        systemd) systemctl -q is-active "$name" ;;
        openrc) rc-service -q "$name" status >/dev/null 2>&1 ;;
        none) [ -f "$pid_file" ] && [ "$(readlink "/proc/$(cat "$pid_file")/exe" || true)" = "$bin_dir/skiff" ] ;;
    esac
}

start() {
    if [ "$changed" = false ] && ! is FORCE_RESTART && running; then
        say "nothing changed: $name keeps running"
        return
    fi
    say "starting $name"
    case $manager in
        systemd) systemctl restart "$name" ;;
        openrc) rc-service -q "$name" restart ;;
        none)
            stop "$name"
            (
                set -a
                # shellcheck source=/dev/null
                . "$env_file"
                set +a
                eval "set -- $args"
                setsid "$bin_dir/skiff" "$role" "$@" >>"$log" 2>&1 </dev/null &
                echo $! >"$pid_file"
            )
            say "there is neither systemd nor OpenRC: it runs in the background, and logs to $log"
            ;;
    esac
}

# --- is it there?

node_ready() { "$bin_dir/skiff" ctl "$@" get nodes --no-headers 2>/dev/null | grep -q "^$node_name  *Ready"; }

ready() {
    if [ "$role" = agent ]; then
        case "$args${SKIFF_SIMULATE:+--simulate}" in
            # many nodes, of names of their own
            *--simulate*) [ $n -ge 10 ] && return ;;
        esac
        # as the node itself: an agent has no other right
        own=$data_dir/agent/cluster
        node_ready --server "$url" --certificate-authority "$own/ca.pem" --tls-server-name kubernetes \
            --client-certificate "$own/node.pem" --client-key "$own/node.pem"
    elif [ "$node" = true ]; then
        node_ready --kubeconfig "$kubeconfig"
    else
        "$bin_dir/skiff" ctl --kubeconfig "$kubeconfig" get --raw /readyz >/dev/null 2>&1
    fi
}

failed() {
    case $manager in
        systemd) case $(systemctl show -p NRestarts "$name") in NRestarts=[1-9]*) ;; *) false ;; esac ;;
        openrc) ! running ;;
        none) ! kill -0 "$(cat "$pid_file")" 2>/dev/null ;;
    esac
}

last_words() {
    case $manager in
        systemd) journalctl -q -n 10 -o cat -u "$name" ;;
        *) tail -n 10 "$log" ;;
    esac >&2
}

wait_ready() {
    say "waiting until it is ready"
    n=0 end=$(($(date +%s) + 180))
    until ready; do
        n=$((n + 1))
        if failed; then
            last_words
            die "$name does not start"
        fi
        if [ "$(date +%s)" -gt $end ]; then
            last_words
            die "it is not ready after three minutes"
        fi
        sleep 0.2
    done
}

hints() {
    if [ "$role" = agent ]; then
        say "this machine is a node of $url. To remove it: $uninstall"
        return
    fi
    "$bin_dir/skiff" ctl --kubeconfig "$kubeconfig" get nodes
    cat <<E

skiff runs. Try:
    skiff ctl get pods -A
    skiff ctl create deployment web --image=docker.io/library/nginx
    skiff ctl expose deployment web --port=80 --type=NodePort
    skiff ctl get all
The admin's kubeconfig is $kubeconfig (root only). Other machines join with the token that \`skiff token\` prints.
To stop it with all its pods: skiff-killall.sh. To remove everything: $name-uninstall.sh
E
}

uninstall() {
    for s in "skiff-$(setting NAME agent)" skiff; do
        [ ! -x "$bin_dir/$s-uninstall.sh" ] || exec "$bin_dir/$s-uninstall.sh"
    done
    die "skiff is not installed in $bin_dir"
}

# Called on the last line, so that half a download does nothing.
main() {
    if [ "$(id -u)" != 0 ]; then
        [ -f "$0" ] && have sudo && exec sudo -E "$0" "$@"
        die "this needs root: sudo"
    fi
    systemd_dir=$(setting SYSTEMD_DIR /etc/systemd/system)
    bin_dir=$(setting BIN_DIR /usr/local/bin)
    mkdir -p "$bin_dir" 2>/dev/null || true
    if [ ! -w "$bin_dir" ] && [ -d /opt/bin ] && [ -z "$(setting BIN_DIR)" ]; then bin_dir=/opt/bin; fi
    [ "${1:-}" != --uninstall ] || uninstall
    tmp=$(mktemp -d)
    trap 'rm -rf "$tmp"' EXIT
    trap 'exit 130' INT TERM
    plan "$@"
    find_manager
    packages
    binary
    scripts
    eval "$(stop_function)"
    remember
    service
    rotate_log
    if is SKIP_ENABLE || is SKIP_START; then
        say "$name is installed and not started"
        return
    fi
    start
    wait_ready
    hints
}

main "$@"
