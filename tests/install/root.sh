# shellcheck shell=bash disable=SC2154
# Sourced by run: a server and an agent, each on a small Debian in namespaces of its own, without a service manager; installed
# from a file and from a release, upgraded, removed.

id=ins$$
declare -A boxes
release=$work/release

# the system, made once
if [[ ! -d $cache/root ]]; then
  step "a small Debian"
  rm -rf "$cache/root.part"
  mmdebstrap --quiet --variant=essential --include=nftables,curl --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$cache/root.part"
  mv "$cache/root.part" "$cache/root"
fi

# hierarchies of control groups: one, or one a controller
groups=()
if [[ -f /sys/fs/cgroup/cgroup.controllers ]]; then groups=(/sys/fs/cgroup); else
  for d in /sys/fs/cgroup/*/; do
    d=${d%/}
    if [[ ! -L $d && -f $d/cgroup.procs ]]; then groups+=("$d"); fi
  done
fi

# box NAME NUMBER: a machine at 192.0.2.NUMBER
box() {
  local name=$1 root=$work/$1 g
  cp -a "$cache/root" "$root"
  ip netns add "$id-$name"
  undo+=("ip netns del $id-$name")
  ip -n "$id-$name" link set lo up
  ip -n "$id-lan" link add "port$2" type veth peer name up0 netns "$id-$name"
  ip -n "$id-lan" link set "port$2" master lan up
  ip -n "$id-$name" addr add "192.0.2.$2/24" dev up0
  ip -n "$id-$name" link set up0 up
  ip -n "$id-$name" route add default via 192.0.2.254
  for g in "${groups[@]}"; do
    mkdir "$g/$id-$name"
    undo+=("remove_group $g/$id-$name")
    for f in cpuset.cpus cpuset.mems; do
      if [[ -f $g/$f ]]; then cat "$g/$f" >"$g/$id-$name/$f"; fi
    done
  done
  (
    for g in "${groups[@]}"; do echo "$BASHPID" >"$g/$id-$name/cgroup.procs"; done
    exec nsenter --net="/run/netns/$id-$name" unshare --mount --pid --cgroup --uts --ipc --fork --kill-child \
      --propagation private "$here/box" "$root" "$name"
  ) &
  local outer=$!
  undo+=("kill -9 $outer; wait $outer")
  until [[ $(cat "/proc/${boxes[$name]:-self}/comm") == bash ]]; do
    kill -0 "$outer" || fail "the box did not start"
    read -r "boxes[$name]" <"/proc/$outer/task/$outer/children" || true
    boxes[$name]=${boxes[$name]% }
    pause
  done
}
remove_group() {
  local end=$((SECONDS + 10))
  while [[ -d $1 ]] && ((SECONDS < end)); do
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || pause
  done
}
pause() { read -rt 0.05 <> <(:) || true; }
# until_true WHAT SECONDS COMMAND...
until_true() {
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "$what: $("$@" 2>&1 | tail -3)"
    pause
  done
}
# at BOX [NAME=VALUE...] COMMAND...
at() {
  local b=$1
  shift
  nsenter -t "${boxes[$b]}" --mount --pid --net --cgroup --uts --ipc -- \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"
}
# install BOX [NAME=VALUE...] [-- ARGS...]: piped into sh, as users do it
install() {
  local b=$1 env=()
  shift
  while (($#)) && [[ $1 != -- ]]; do env+=("$1"); shift; done
  at "$b" "${env[@]}" sh -s - "${@:2}" <"$repo/install.sh"
}
# publish VERSION FILE: a release, as GitHub lays it out
publish() {
  "$repo/packaging/release" "$2" "$release/download/$1"
  mkdir -p "$release/latest"
  ln -sfn "../download/$1" "$release/latest/download"
}
# all that is on the machine
traces() {
  at "$1" sh -c '
    find / -xdev -path /root/.cache -prune -o -print
    find /run /tmp
    cut -d " " -f 5- /proc/self/mountinfo | sed "s/ shared:[0-9]*//"
    ls /sys/class/net
    nft list ruleset
    find /sys/fs/cgroup -type d
    for p in /proc/[0-9]*; do readlink "$p/exe"; done | grep skiff || true' | sort
}
containers() { at "$1" kubectl get pods -A -o 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}{"\n"}{end}'; }
runs() { [[ $(at server kubectl get pod "$1" -o 'jsonpath={.status.phase} {.status.podIP}') == "Running 10."* ]]; }
server_pid() { at server cat /run/skiff.pid; }
pod() { # name node
  at server kubectl apply -f - <<E
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "$1"}, "spec": {"nodeName": "$2", "terminationGracePeriodSeconds": 0,
 "containers": [{"name": "c", "image": "box:1", "imagePullPolicy": "Never"}]}}
E
}

step "two machines"
image
ip netns add "$id-lan"
undo+=("ip netns del $id-lan")
ip -n "$id-lan" link add lan type bridge
ip -n "$id-lan" addr add 192.0.2.254/24 dev lan
ip -n "$id-lan" link set lan up
box server 1
box edge 2
cp "$skiff" "$work/server/opt/skiff"
cp "$work/box.tar" "$work/server/opt/"
cp "$work/box.tar" "$work/edge/opt/"
traces server >"$work/before.server"
traces edge >"$work/before.edge"

step "nftables is installed by whatever there is"
at server mv /usr/sbin/nft /opt/nft
for manager in apt-get dnf yum apk zypper pacman; do
  at server sh -c 'printf "#!/bin/sh\ncp /opt/nft /usr/local/sbin/nft\n" >$1; chmod 755 $1' sh "/usr/local/sbin/$manager"
  install server SKIFF_BIN=/opt/skiff INSTALL_SKIFF_SKIP_START=true >"$work/out"
  at server test -x /usr/local/sbin/nft || fail "$manager: $(cat "$work/out")"
  at server rm "/usr/local/sbin/$manager" /usr/local/sbin/nft
done
if install server SKIFF_BIN=/opt/skiff >"$work/out" 2>&1; then fail "without nft and a package manager"; fi
grep "nftables is missing" "$work/out"
at server mv /opt/nft /usr/sbin/nft
at server skiff-uninstall.sh

step "from a checkout, and from an unpacked release; two services"
at server mkdir -p /opt/checkout/src/skiff
cp "$repo/install.sh" "$work/server/opt/checkout/"
at server touch /opt/checkout/src/skiff/Cargo.toml
at server sh -c 'printf "#!/bin/sh\nmkdir -p \$CARGO_TARGET_DIR/release\ncp /opt/skiff \$CARGO_TARGET_DIR/release/\n" >/usr/local/sbin/cargo
  ln -s true /usr/bin/cc; chmod 755 /usr/local/sbin/cargo'
at server INSTALL_SKIFF_SKIP_START=true /opt/checkout/install.sh server --node-name one | grep building
at server rm -r /opt/checkout/src /opt/checkout/target /usr/local/sbin/cargo /usr/bin/cc
at server cp /opt/skiff /opt/checkout/
at server INSTALL_SKIFF_SKIP_START=true INSTALL_SKIFF_NAME=two INSTALL_SKIFF_EXEC="server --node-name two" SKIFF_DATA_DIR=/var/lib/two /opt/checkout/install.sh
at server rm -r /opt/checkout
at server sh -c '. /etc/skiff/skiff-two.install; echo "$role $args $data_dir"' | grep "server '--node-name=two' /var/lib/two"
at server skiff-uninstall.sh | grep "skiff-two stays"
at server skiff --version
at server skiff-two-uninstall.sh
diff "$work/before.server" <(traces server) || fail "traces are left"

step "from a file"
install server SKIFF_BIN=/opt/skiff -- server --node-name one --token sesame --node-label=disk=ssd
[[ $(at server kubectl get nodes -l disk=ssd -o 'jsonpath={.items[*].metadata.name}') == one ]] || fail "the flags were lost"
[[ $(at server stat -c %a /etc/skiff/skiff.env) == 600 ]] || fail "the environment file can be read"
at server sh -c 'cat /proc/[0-9]*/cmdline' | grep -qa sesame && fail "the token is on the process list"
at server skiff token | grep -q ':sesame$' || fail "the token: $(at server skiff token)"
at server skiff image import /opt/box.tar
pod first one
until_true "a pod runs" 30 runs first
containers server | tee "$work/containers"
at server crictl ps | grep ' first ' || fail "crictl is not linked, or does not show the pod"

step "again: nothing changes, flags are kept"
before=$(server_pid)
install server SKIFF_BIN=/opt/skiff | tee "$work/out" | grep "nothing changed"
[[ $(server_pid) == "$before" ]] || fail "the server was restarted"

step "an upgrade from a release, with the pods left alone"
cp "$skiff" "$work/next"
echo next >>"$work/next"
publish v9.9.9+skiff1 "$work/next"
nsenter -t "${boxes[server]}" --net python3 -m http.server --directory "$release" --bind 127.0.0.1 8000 >"$work/http.log" 2>&1 &
undo+=("kill $!")
until_true "the release server answers" 10 at server curl -sf http://127.0.0.1:8000
from=SKIFF_ARTIFACT_URL=http://127.0.0.1:8000
sed -i 's/^./x/' "$release"/download/*/skiff-*
if install server $from >"$work/out" 2>&1; then fail "a wrong checksum was accepted"; fi
grep "does not match its checksum" "$work/out"
at server cmp /opt/skiff /usr/local/bin/skiff || fail "the binary changed all the same"
if install server $from SKIFF_VERSION=v0 >"$work/out" 2>&1; then fail "there is no v0"; fi
grep "could not be downloaded" "$work/out"
publish v9.9.9+skiff1 "$work/next"
ln -s v9.9.9+skiff1 "$release/download/v9.9.9%2Bskiff1"
install server $from
at server tail -n 1 /usr/local/bin/skiff | grep -qa next || fail "the binary is the old one"
[[ $(server_pid) != "$before" ]] || fail "the server was not restarted"
[[ $(at server kubectl get nodes -l disk=ssd -o 'jsonpath={.items[*].metadata.name}') == one ]] || fail "the flags were lost"
diff "$work/containers" <(containers server) || fail "the pods were touched"
install server $from INSTALL_SKIFF_VERSION=v9.9.9+skiff1 | grep "is here already"

if at server skiff agent --help >/dev/null 2>&1; then
  step "another machine joins"
  cp "$skiff" "$work/edge/opt/skiff"
  if install edge SKIFF_BIN=/opt/skiff -- agent >"$work/out" 2>&1; then fail "an agent without a server"; fi
  grep "needs its server" "$work/out"
  if install edge SKIFF_BIN=/opt/skiff SKIFF_URL=https://192.0.2.1:6443 SKIFF_TOKEN=wrong >"$work/out" 2>&1; then fail "with a wrong token"; fi
  grep -B 1 "does not start" "$work/out"
  install edge SKIFF_BIN=/opt/skiff K3S_URL=https://192.0.2.1:6443 K3S_TOKEN="$(at server skiff token)" -- agent --node-name two
  two() { [[ $(at server kubectl get node two --no-headers) == *" Ready "* ]]; }
  until_true "the second node is Ready" 10 two
  at edge sh -c 'cat /proc/[0-9]*/cmdline' | grep -qa sesame && fail "the token is on the process list"
  at edge skiff image import /opt/box.tar
  pod second two
  until_true "a pod runs there" 30 runs second
  containers server >"$work/containers"
  install edge SKIFF_BIN=/opt/skiff INSTALL_SKIFF_FORCE_RESTART=true
  diff "$work/containers" <(containers server) || fail "the pods were touched"
  at edge skiff-agent-uninstall.sh
  diff "$work/before.edge" <(rm -f "$work"/edge/opt/skiff; traces edge) || fail "traces are left of the agent"
fi

step "killall leaves no pod, and the next start has them again"
at server skiff-killall.sh
at server sh -c 'for p in /proc/[0-9]*; do readlink "$p/exe"; done' | grep skiff && fail "skiff still runs"
install server SKIFF_BIN=/opt/skiff >"$work/out"
until_true "the pod runs again" 30 runs first

step "uninstall leaves nothing"
at server skiff-uninstall.sh
diff "$work/before.server" <(traces server) || fail "traces are left"
