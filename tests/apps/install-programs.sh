#!/bin/sh
# Installs the programs of debian-packages.txt, where this runs as root on Debian; elsewhere
# says which are missing and what is skipped for it. Never fails: the tests skip what needs a
# missing program and report it.
#
#   install-programs.sh                all the programs
#   install-programs.sh PACKAGE...     those of these packages only
#   install-programs.sh --python EXE   what EXE needs to build the package: headers and venv
#
# No daemon is started: a policy-rc.d that refuses is in place while apt runs.
set -eu
list="$(dirname "$0")/debian-packages.txt"

can_install() {
    [ "$(id -u)" = 0 ] && [ -r /etc/debian_version ] && command -v apt-get >/dev/null
}

apt_install() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        # shellcheck disable=SC2064 # the name as it is now
        trap "rm -f $policy" EXIT INT TERM HUP
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    log="$(mktemp)"
    export DEBIAN_FRONTEND=noninteractive
    # The first try is without an update: a list of packages is often already there.
    # shellcheck disable=SC2086 # a list of words
    if apt-get install -y --no-install-recommends $1 >"$log" 2>&1 </dev/null || {
        apt-get update >"$log" 2>&1 </dev/null &&
            apt-get install -y --no-install-recommends $1 >"$log" 2>&1 </dev/null
    }; then
        rm -f "$log"
    else
        echo "apt-get could not install: $1" >&2
        tail -n 5 "$log" >&2
        rm -f "$log"
    fi
}

if [ "${1:-}" = --python ]; then
    missing="$("$2" - <<'EOF'
import importlib.util, pathlib, sysconfig
need = []
if not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists():
    need.append("python3-dev")
if importlib.util.find_spec("ensurepip") is None:
    need.append("python3-venv")
print(*need)
EOF
)"
    if [ -n "$missing" ]; then
        if can_install; then
            apt_install "$missing"
        else
            echo "$2 lacks what builds need; on Debian that is: $missing" >&2
        fi
    fi
    exit 0
fi

only=" $* "

# Prints "package<TAB>program<TAB>purpose" of each wanted program that is not there.
find_missing() {
    while read -r package program purpose; do
        case "$package" in '' | '#'*) continue ;; esac
        case "$only" in '  ' | *" $package "*) ;; *) continue ;; esac
        case "$program" in
        /*) [ -e "$program" ] || printf '%s\t%s\t%s\n' "$package" "$program" "$purpose" ;;
        *)
            PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null ||
                printf '%s\t%s\t%s\n' "$package" "$program" "$purpose"
            ;;
        esac
    done <"$list"
}

missing="$(find_missing)"
[ -n "$missing" ] || exit 0
if can_install; then
    echo "installing what the tests drive:" $(printf '%s\n' "$missing" | cut -f1)
    apt_install "$(printf '%s\n' "$missing" | cut -f1 | tr '\n' ' ')"
    missing="$(find_missing)"
    [ -n "$missing" ] || exit 0
fi
printf '%s\n' "$missing" | while IFS="$(printf '\t')" read -r package program purpose; do
    echo "missing: $program (Debian package $package), so skipped: $purpose"
done
