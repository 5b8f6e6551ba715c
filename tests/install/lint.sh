# shellcheck shell=bash disable=SC2154
# Sourced by run: shellcheck of every script of the house, and of those that install.sh generates.

step "shellcheck"
# made as an image's build would make them, with an /etc of their own
mkdir -p "$work"/lint/path
printf '#!/bin/sh\necho skiff 0.0.0\n[ "$1" != crictl ]\n' >"$work/lint/fake"
printf '#!/bin/sh\n' >"$work/lint/path/systemctl"
chmod 755 "$work/lint/fake" "$work/lint/path/systemctl"
# shellcheck disable=SC2016
unshare --mount sh -euc '
  for d in /etc /run; do mount -t tmpfs none $d; done
  mkdir /etc/logrotate.d
  export PATH=$1/path:$PATH INSTALL_SKIFF_BIN=$1/fake INSTALL_SKIFF_BIN_DIR=$1/bin INSTALL_SKIFF_SYSTEMD_DIR=$1 INSTALL_SKIFF_SKIP_START=true
  "$2" server --disable-agent --tls-san "it'\''s \$one%" --token sesame --agent-token=sesame -tsesame >/dev/null
  cp /etc/skiff/* "$1"
' sh "$work/lint" "$repo/install.sh"
[[ $(stat -c %a "$work/lint/skiff.env") == 600 ]] || fail "the environment file can be read"
if grep -l sesame "$work"/lint/*.service "$work"/lint/*.install "$work"/lint/bin/*; then fail "a token is outside of the environment file"; fi
grep -qF -- '"--tls-san" "it'"'"'s $$one%%"' "$work/lint/skiff.service" || fail "the flag's value in the unit: $(grep ExecStart "$work/lint/skiff.service")"

mapfile -t scripts < <(cd "$repo" && git ls-files -co --exclude-standard -- '*.sh' tests .ci benches packaging | sort -u | while read -r f; do
  if [[ -f $f ]] && { [[ $f == *.sh ]] || head -n 1 "$f" | grep -qaE '^#!.*[ /](ba|da)?sh( |$)'; }; then echo "$repo/$f"; fi
done)
shellcheck --shell=sh "$repo/install.sh" "$work"/lint/bin/*.sh
shellcheck --severity=warning "${scripts[@]}"
echo "$((${#scripts[@]} + 2)) scripts are clean"
for sh in dash "busybox sh" bash; do $sh -n "$repo/install.sh"; done
if command -v systemd-analyze >/dev/null; then
  if systemd-analyze verify "$work/lint/skiff.service" 2>&1 | grep 'skiff.service:[0-9]'; then fail "the unit"; fi
fi
