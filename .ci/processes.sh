# Sourced by .ci/run: the program and the delay server as processes. strace counts their system calls,
# and lets some of them fail.

# On some machines (arm64) epoll_wait of the C library is the system call epoll_pwait. The question
# marks let strace ignore what a machine does not have.
epoll_wait='?epoll_wait,?epoll_pwait'

build() {
    cargo build "$@" --bins --example delayserver
}

# serve COMMAND...: starts a delay server on a port that the kernel picks. Sets $address.
serve() {
    : >"$work/server.log" # An older log has the line that is awaited below.
    "$@" 127.0.0.1:0 >"$work/server.log" 2>&1 &
    server=$!
    until grep -q '^listening on ' "$work/server.log"; do
        kill -0 "$server" || fail "the server ended: $(cat "$work/server.log")"
        sleep 0.05
    done
    address=$(sed -n 's/^listening on http:..//p' "$work/server.log")
}

# Ends the server; if strace started it, then the server too, which is strace's child.
stop_server() {
    pkill -P "$server" || kill "$server"
    wait "$server" || true
}

# request STATUS TEXT STRACE...: the program makes three requests to the server, perhaps under strace.
# Its exit code has to be STATUS, and it has to print TEXT.
request() {
    local wanted=$1 text=$2 status=0
    shift 2
    timeout 8 "$@" target/debug/epollet "$address" 300 200 100 >"$work/program.log" 2>&1 || status=$?
    expect "$work/program.log" "$text"
    [ "$status" -eq "$wanted" ] || fail "exit code $status"
}

# few_calls STRACE_LOG: a loop that spins under strace makes thousands.
few_calls() {
    local calls
    calls=$(grep -cE ' (epoll_|accept4|read|write|recvfrom|sendto|close)' "$1")
    [ "$calls" -le 200 ] || fail "a loop spins: $calls calls"
}

# Runs a command with a loopback interface of its own, where nothing listens on port 8080.
in_a_network() {
    install iproute2
    unshare --net sh -c 'ip link set lo up && exec "$@"' - "$@"
}

many_clients() {
    local peak
    build --release
    ulimit -n "$(ulimit -Hn)"
    serve target/release/examples/delayserver
    # shellcheck disable=SC2046
    target/release/epollet "$address" $(yes 1000 | head -n 8000) >"$work/many"
    expect "$work/many" "8000 of 8000 answered"
    peak=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$server/status")
    echo "note: 8,000 clients: the server's peak resident memory is $peak kB"
    [ "$peak" -le $((6 * 1024)) ]
}

# One event queue, one registration for each stream, which closing removes; for each answer at most
# three polls: the head, the body and the end of file.
system_calls() {
    local call count
    install strace procps
    build
    serve target/debug/examples/delayserver
    request 0 "3 of 3 answered" strace -f -o "$work/calls" -e "trace=epoll_create1,epoll_ctl,$epoll_wait"
    cat "$work/calls"
    while read -r count call; do
        [ "$(grep -cE "$call" "$work/calls")" -le "$count" ] || fail "more than $count of $call"
    done <<'CALLS'
1 epoll_create1
3 epoll_ctl
9 epoll_p?wait
CALLS
}

failing_calls() {
    local fault status text
    install strace procps iproute2
    build
    # In the program: an interrupted poll goes on, and a failed registration is reported.
    serve target/debug/examples/delayserver
    while read -r fault status text; do
        fault=${fault/epoll_wait/$epoll_wait}
        request "$status" "$text" strace -f -o "$work/calls" -e "inject=$fault"
        expect "$work/calls" INJECTED
        few_calls "$work/calls"
    done <<'FAULTS'
epoll_wait:error=EINTR:when=1+2 0 3 of 3 answered
epoll_ctl:error=ENOSPC:when=2 1 error: No space left on device
FAULTS
    status=0
    in_a_network strace -f -o "$work/calls" -e inject=clone3:error=EAGAIN target/debug/epollet \
        >"$work/program.log" 2>&1 || status=$?
    [ "$status" -eq 1 ] || fail "exit code $status"
    expect "$work/program.log" "ulimit -u"
    stop_server
    # In the server: a client that fails does not fail the others, and one that gives up while it waits
    # to be accepted is no reason to pause.
    while read -r fault status text; do
        serve strace -f -o "$work/server-calls" -e "inject=$fault" target/debug/examples/delayserver
        request "$status" "$text"
        stop_server
        expect "$work/server-calls" INJECTED
        few_calls "$work/server-calls"
        if [[ $fault == accept4* ]] && grep "cannot accept" "$work/server.log"; then
            fail "it pauses"
        fi
    done <<'FAULTS'
accept4:error=ECONNABORTED:when=1..2 0 3 of 3 answered
recvfrom:error=EAGAIN:when=1..3 0 3 of 3 answered
sendto:error=EAGAIN:when=1..3 0 3 of 3 answered
recvfrom:error=ECONNRESET:when=1 1 2 of 3 answered
sendto:error=EPIPE:when=1 1 2 of 3 answered
epoll_ctl:error=ENOSPC:when=2 1 2 of 3 answered
FAULTS
}

# Each outcome of the exercises, and 01 once more where the runner may not look into a process that
# forbids it: then it has to say less, and nothing false.
exercises() {
    cargo run --example exercises verify
    setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace cargo run --example exercises verify 01
}

# Chromium shows the page of the playground, and strace what the kernel returned.
page_in_a_browser() {
    install chromium chromium-driver strace
    cargo build --example playground
    cargo test --test playground -- --ignored
    cd examples/playground/browser
    cargo fmt --check
    CARGO_TARGET_DIR=$work/browser cargo clippy --locked --all-targets -- -D warnings
    CARGO_TARGET_DIR=$work/browser cargo test --locked
}

# Left out: tests that need a large number of operations to show their fact.
memory() {
    local tests
    install valgrind iproute2
    build
    tests=$(cargo test --lib --no-run 2>&1 | sed -n 's/.*(\(target[^)]*\))$/\1/p')
    under_valgrind "$tests" --test-threads=1 --skip thousand
    expect "$work/valgrind" "test result: ok."
    in_a_network bash -c '. .ci/lib.sh; . .ci/processes.sh; under_valgrind target/debug/epollet'
    expect "$work/valgrind" "5 of 5 answered"
}

# valgrind runs one thread at a time; without fair scheduling a waiting thread may starve. At the end it
# lists the open descriptors; those that the program opened have a stack.
under_valgrind() {
    valgrind --fair-sched=yes --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite \
        --track-fds=yes "$@" >"$work/valgrind" 2>&1 || fail "$(cat "$work/valgrind")"
    if grep -A1 'Open .*file descriptor\|Open .*socket' "$work/valgrind" | grep 'at 0x'; then
        fail "this is left open"
    fi
}
