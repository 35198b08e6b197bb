# Sourced by .ci/run: runs the checks; what they share.

work=$(mktemp -d)
# Each background job has its own process group.
trap 'kill -KILL -- $(jobs -p | sed s/^/-/) 2>/dev/null || true; rm -rf "$work"' EXIT
export CARGO_TERM_COLOR=never

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# check NAME TITLE COMMAND...: runs the command if its name is selected. Its output is shown if it fails.
check() {
    local name=$1 title=$2 log=$work/check.log limit=600 start=$SECONDS status=0
    shift 2
    if [ ${#selected[@]} -gt 0 ] && [[ " ${selected[*]} " != *" $name "* ]]; then
        return
    fi
    # `set -m` gives it a process group of its own, so that everything it starts can be ended with it.
    # It is not part of a condition: there, bash would continue after a command that failed.
    set -m
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null &
    local job=$!
    set +m
    # Bash handles Ctrl-C during `wait`, but not while a command runs in the foreground.
    timeout "$limit" tail --pid="$job" -s 0.1 -f /dev/null &
    if ! wait $!; then
        echo "still running after $limit s:" >>"$log"
        ps -e -o pgid,pid,stat,etime,wchan:20,args --forest | grep "^ *$job " >>"$log" || true
        kill -KILL -- "-$job" || true
    fi
    wait "$job" || status=$?
    kill -KILL -- "-$job" 2>/dev/null || true # what it left running
    if [ "$status" -ne 0 ]; then
        cat "$log"
        fail "$name: $title (exit code $status, $((SECONDS - start)) s)"
    fi
    printf 'ok %4d s  %-10s %s\n' $((SECONDS - start)) "$name" "$title"
    grep '^note: ' "$log" || true
}

# The same for the last one, whose output is shown in any case.
cargo_test() {
    timeout 600 cargo test &
    wait $!
}

# test_program TARGET: builds a target's tests, and prints the path of the program.
test_program() {
    cargo test "$@" --no-run 2>&1 | sed -n 's/.*(\(target[^)]*\))$/\1/p'
}

# expect FILE TEXT: the file has to contain the text.
expect() {
    grep -qF -- "$2" "$1" || {
        tail -n 40 "$1"
        fail "'$2' is missing"
    }
}

# with_package_lists APT_GET...: updates apt's lists, then runs a command. While a mirror is being
# updated, some of its lists are not available; that matters only if the command fails without them.
with_package_lists() {
    local attempt
    for attempt in 1 2 3; do
        apt-get update || true
        "$@" && return
        echo "attempt $attempt failed: $*"
        sleep 20
    done
    return 1
}

# install PACKAGE...: what is missing of them.
install() {
    local package missing=()
    for package; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        export DEBIAN_FRONTEND=noninteractive
        with_package_lists apt-get install -y --no-install-recommends "${missing[@]}"
    fi
}

install_tools() {
    install gcc libc6-dev strace valgrind iproute2 procps
}
