# Sourced by .ci/run: strace counts the system calls of the real binaries, and lets some of them fail.
# Each fault has to end in the right result or in one clear error: no lost answer, no panic, no spin.

# On some machines (arm64) epoll_wait of the C library is the system call epoll_pwait. The question
# marks let strace ignore what a machine does not have.
epoll_wait='?epoll_wait,?epoll_pwait'

# program STATUS STRACE_ARGS...: the program under strace, with three requests. Its calls go to $work/calls.
program() {
    local wanted=$1 status=0
    shift
    timeout 60 strace -f -o "$work/calls" "$@" target/debug/epollet "$address" 30 20 10 \
        >"$work/program.log" 2>&1 || status=$?
    if grep -q panicked "$work/program.log" || [ "$status" -ne "$wanted" ]; then
        cat "$work/program.log"
        fail "exit code $status with $*"
    fi
    at_most_calls 80 "$work/calls" "$*"
}

# at_most_calls COUNT STRACE_LOG FAULT
at_most_calls() {
    local calls
    calls=$(loop_calls "$2")
    echo "$calls calls with $3"
    [ "$calls" -le "$1" ] || fail "a loop spins"
}

answered() {
    expect "$work/program.log" "$1 of 3 answered"
}

# faulty_server STRACE_ARGS...: a delay server under strace. Its calls go to $work/server-calls.
faulty_server() {
    serve "$work/server.log" strace -f -o "$work/server-calls" "$@" target/debug/examples/delayserver
}

stop_faulty_server() {
    stop_server
    if grep -q panicked "$work/server.log"; then
        cat "$work/server.log"
        fail "the server panicked"
    fi
}

# One event queue, one registration for each stream, which closing removes.
system_calls() {
    local call count
    serve "$work/server.log" target/debug/examples/delayserver
    program 0 -e "trace=epoll_create1,epoll_ctl,$epoll_wait"
    stop_server
    answered 3
    while read -r count call; do
        [ "$(grep -cF "$call" "$work/calls")" -eq "$count" ] || {
            cat "$work/calls"
            fail "not $count of $call"
        }
    done <<'CALLS'
1 epoll_create1(EPOLL_CLOEXEC)
3 EPOLL_CTL_ADD
0 EPOLL_CTL_DEL
0 EPOLL_CTL_MOD
CALLS
    # For each answer at most three: the head, the body and the end of file.
    [ "$(grep -cE 'epoll_p?wait\(' "$work/calls")" -le 9 ]
}

# The guide's page `practice` shows these calls. Numbers differ from run to run, and whether the
# server has closed its side when the program reads: one of ten runs has to be as shown.
calls_in_the_guide() {
    local attempt
    sed -n '/^# Watch the kernel/,$p' src/guide/practice.md | sed -n '/^```text$/,/^```$/p' \
        | grep -v '^```' | masked_calls >"$work/shown"
    [ "$(wc -l <"$work/shown")" -gt 8 ] || fail "the guide shows no calls"
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        # As in the guide: a server on port 8080, which a network of its own leaves free.
        alone bash -c '
            target/debug/examples/delayserver >/dev/null &
            until : 2>/dev/null </dev/tcp/127.0.0.1/8080; do sleep 0.05; done
            strace -e trace=epoll_create1,epoll_ctl,sendto,epoll_wait,recvfrom \
                target/debug/epollet localhost 200 100 >/dev/null
            kill %1' 2>&1 | masked_calls >"$work/seen"
        cmp -s "$work/shown" "$work/seen" && return
    done
    diff "$work/shown" "$work/seen"
}

masked_calls() {
    sed -E 's/"HTTP[^"]*"/"HTTP"/; s/, [0-9]+\) = 1$/, #) = 1/; s/= [0-9]{2,}$/= #/; s/ +=/ =/'
}

# A kernel that returns no event now and then: the test that compares it with the model has to fail.
a_kernel_that_lies() {
    local tests
    tests=$(test_program --lib)
    strace -f -o "$work/calls" -e "trace=$epoll_wait" -e "inject=$epoll_wait:retval=0:when=50+100" \
        "$tests" model >"$work/model.log" 2>&1 && fail "the test passes"
    expect "$work/calls" INJECTED
    expect "$work/model.log" "test result: FAILED"
}

faults_in_the_program() {
    local step text epoll="trace=$epoll_wait,epoll_ctl,epoll_create1,recvfrom,sendto,connect"
    serve "$work/server.log" target/debug/examples/delayserver
    # Interrupted by a signal: every second call, every third, every fourth.
    for step in 2 3 4; do
        program 0 -e "$epoll" -e "inject=$epoll_wait:error=EINTR:when=1+$step"
        expect "$work/calls" INJECTED
        answered 3
    done
    program 0 -e "$epoll" -e inject=recvfrom:error=EINTR:when=1+2
    expect "$work/calls" INJECTED
    answered 3
    # One request fails, with its reason; the others are answered.
    while read -r fault text; do
        program 1 -e "$epoll" -e "inject=$fault"
        expect "$work/calls" INJECTED
        expect "$work/program.log" "$text"
        answered 2
    done <<'FAULTS'
epoll_ctl:error=ENOSPC:when=2 request-1 failed: No space left on device
epoll_ctl:error=ENOMEM:when=2 request-1 failed: Cannot allocate memory
recvfrom:error=ECONNRESET:when=1 failed: Connection reset by peer
sendto:error=EPIPE:when=1 request-0 failed: Broken pipe
sendto:error=EPIPE:when=2 request-1 failed: Broken pipe
connect:error=EMFILE:when=2 request-1 failed: Too many open files
FAULTS
    program 1 -e "$epoll" -e inject=epoll_ctl:error=ENOMEM:when=1+
    expect "$work/calls" INJECTED
    answered 0
    program 1 -e "$epoll" -e inject=epoll_create1:error=EMFILE
    expect "$work/calls" INJECTED
    expect "$work/program.log" "error: Too many open files"
    stop_server
    # Without arguments it makes a server and a waker, too.
    local status=0
    alone strace -f -o "$work/calls" -e trace=eventfd2 -e inject=eventfd2:error=EMFILE target/debug/epollet \
        >"$work/program.log" 2>&1 || status=$?
    [ "$status" -eq 1 ] || fail "exit code $status"
    expect "$work/calls" INJECTED
    expect "$work/program.log" "Too many open files"
}

faults_in_the_server() {
    local fault status
    # Every client is answered despite these faults.
    for fault in \
        "$epoll_wait:error=EINTR:when=1+2" \
        accept4:error=EMFILE:when=1..5 \
        accept4:error=ENFILE:when=2+3 \
        accept4:error=ECONNABORTED:when=1..2 \
        accept4:error=EINTR:when=1+3 \
        recvfrom:error=EAGAIN:when=1..3 \
        recvfrom:error=EINTR:when=1+2 \
        sendto:error=EAGAIN:when=1..3 \
        sendto:error=EINTR:when=1+2; do
        faulty_server -e "inject=$fault"
        program 0 -e trace=none
        answered 3
        stop_faulty_server
        expect "$work/server-calls" INJECTED
        at_most_calls 150 "$work/server-calls" "$fault"
    done
    # With these, only one client loses its answer.
    for fault in \
        recvfrom:error=ECONNRESET:when=1 \
        sendto:error=EPIPE:when=1 \
        ioctl:error=ENOMEM:when=2 \
        epoll_ctl:error=ENOSPC:when=2 \
        epoll_ctl:error=ENOMEM:when=3; do
        faulty_server -e "inject=$fault"
        program 1 -e trace=none
        answered 2
        program 0 -e trace=none
        answered 3
        stop_faulty_server
        expect "$work/server-calls" INJECTED
    done
    # With these it does not start.
    for fault in epoll_create1:error=EMFILE epoll_ctl:error=ENOSPC socket:error=EMFILE bind:error=EADDRINUSE; do
        status=0
        strace -f -o "$work/calls" -e "inject=$fault" target/debug/examples/delayserver 127.0.0.1:0 \
            >"$work/server.log" 2>&1 || status=$?
        [ "$status" -eq 1 ] || fail "exit code $status with $fault"
        expect "$work/server.log" "error: cannot serve on 127.0.0.1:0: "
    done
}

# Each call that sends or receives moves one byte. strace cannot do this: the bytes that it claims to be
# sent are lost.
short_transfers() {
    cat >"$work/short.c" <<'C'
#define _GNU_SOURCE
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
ssize_t send(int fd, const void *bytes, size_t count, int flags) {
    return syscall(SYS_sendto, fd, bytes, count > 1 ? 1 : count, flags, 0, 0);
}
ssize_t recv(int fd, void *bytes, size_t count, int flags) {
    return syscall(SYS_recvfrom, fd, bytes, count > 1 ? 1 : count, flags, 0, 0);
}
C
    cc -shared -fPIC -o "$work/short.so" "$work/short.c"
    faulty_server -E LD_PRELOAD="$work/short.so" -e trace=sendto,recvfrom
    program 0 -e trace=none
    answered 3
    stop_faulty_server
    all_short "$work/server-calls"
    serve "$work/server.log" target/debug/examples/delayserver
    strace -o "$work/calls" -E LD_PRELOAD="$work/short.so" -e trace=sendto,recvfrom \
        target/debug/epollet "$address" 30 20 10 >"$work/program.log"
    stop_server
    answered 3
    all_short "$work/calls"
}

# Three requests of some 50 bytes and three answers of some 100, and no call that moved more than one byte.
all_short() {
    [ "$(grep -cE '(sendto|recvfrom)\(.* = 1$' "$1")" -ge 400 ] || fail "few calls moved a byte"
    if grep -E '(sendto|recvfrom)\(.* = ([2-9]|[0-9]{2,})$' "$1"; then
        fail "this call moved more than one"
    fi
}
