# Sourced by .ci/run: the program and the delay server as processes.

# serve LOG COMMAND...: starts a delay server in the background, on a port that the kernel picks.
# Sets $server, its process ID, and $address.
serve() {
    local log=$1
    shift
    : >"$log" # An older log has the line that is awaited below.
    "$@" 127.0.0.1:0 >"$log" 2>&1 &
    server=$!
    until grep -q '^listening on ' "$log"; do
        kill -0 "$server" 2>/dev/null || fail "the server ended: $(cat "$log")"
        sleep 0.05
    done
    address=$(sed -n 's/^listening on http:..//p' "$log")
}

# Ends the server; if strace started it, then the server too, which is strace's child.
stop_server() {
    pkill -P "$server" || kill "$server"
    wait "$server" || true
}

# alone COMMAND...: with only its own loopback interface, so nothing listens on port 8080.
alone() {
    unshare --net sh -c 'ip link set lo up && exec "$@"' - "$@"
}

without_a_network() {
    alone target/debug/epollet | tee "$work/program.log"
    expect "$work/program.log" "started a delay server"
    expect "$work/program.log" "5 of 5 answered"
}

many_connections() {
    local peak
    ulimit -n "$(ulimit -Hn)"
    serve "$work/server.log" target/release/examples/delayserver
    # shellcheck disable=SC2046
    target/release/epollet "$address" $(yes 1000 | head -n 8000) >"$work/program.log"
    expect "$work/program.log" "8000 of 8000 answered"
    peak=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$server/status")
    stop_server
    echo "note: the server's peak resident memory is $peak kB"
    [ "$peak" -le $((6 * 1024)) ]
}

# Every client is answered in the end. While there is no descriptor, the server does not spin.
few_descriptors() {
    local calls
    serve "$work/server.log" strace -f -o "$work/server-calls" \
        bash -c 'ulimit -n 40; exec target/release/examples/delayserver "$@"' -
    # shellcheck disable=SC2046
    target/release/epollet "$address" $(yes 300 | head -n 120) >"$work/program.log"
    stop_server
    expect "$work/program.log" "120 of 120 answered"
    expect "$work/server-calls" EMFILE
    calls=$(loop_calls "$work/server-calls")
    echo "note: the server makes $calls system calls for 120 clients"
    [ "$calls" -le $((120 * 15)) ]
}

# loop_calls STRACE_LOG: how many calls of the server's or the program's loop it has.
loop_calls() {
    grep -cE ' (epoll_|accept4|read|write|recvfrom|sendto|close)' "$1" || true
}
