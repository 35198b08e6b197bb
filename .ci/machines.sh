# Sourced by .ci/run: the oldest supported compiler, which also builds for other machines and systems.
#
# It is Debian 12's package rustc-web, unpacked beside the system: the installed compilers and the
# architectures that dpkg knows stay as they are.

old=$work/rust185
machines=(arm64 armhf i386 s390x ppc64el) # their names in Debian

# with_rust_185 COMMAND...
with_rust_185() {
    [ -e "$old/usr/bin/rustc" ] || (unpack_rust_185)
    env PATH="$old/usr/bin:/usr/bin:/bin" LD_LIBRARY_PATH="$old/usr/lib/$(gcc -print-multiarch)" \
        CARGO_TARGET_DIR="$work/target185" "$@"
}

# `apt-get download` takes a package whether it is installed or not. apt has lists of its own here,
# with those for the other machines.
unpack_rust_185() {
    local package others=("${machines[@]/#/libstd-rust-web-dev:}")
    install gcc libc6-dev libcurl4 libhttp-parser2.9 libllvm19 libpcre3 libsqlite3-0 libssh2-1
    mkdir -p "$old/lists/partial"
    cat >"$old/apt.conf" <<CONF
Dir::State::lists "$old/lists";
Dir::Cache "$old";
APT::Architectures { "$(dpkg --print-architecture)"; $(printf '"%s"; ' "${machines[@]}") };
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
    cd "$old"
    export APT_CONFIG=$old/apt.conf
    # libunwind is for musl. The std of the other machines goes into the same tree.
    with_lists apt-get download {rustc-web,cargo-web,libstd-rust-web-dev,rust-web-src}=1.85\* \
        libstd-rust-web-1.85 libunwind-14-dev "${others[@]/%/=1.85*}"
    for package in *.deb; do
        dpkg -x "$package" "$old"
        rm "$package"
    done
}

oldest_compiler() {
    with_rust_185 rustc --version | grep -F "rustc 1.85."
    copy with_rust_185 rustc
    with_rust_185 cargo test
}

# describe MACHINE: sets its names in rustc, in gcc and in qemu.
describe() {
    case $1 in
    arm64) target=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu qemu=aarch64 ;;
    armhf) target=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf qemu=arm ;;
    i386) target=i686-unknown-linux-gnu gnu=i686-linux-gnu qemu=i386 ;;
    s390x) target=s390x-unknown-linux-gnu gnu=s390x-linux-gnu qemu=s390x ;;
    ppc64el) target=powerpc64le-unknown-linux-gnu gnu=powerpc64le-linux-gnu qemu=ppc64le ;;
    esac
}

# The library's tests and those of the ABI, emulated.
on_machine() {
    local skip=()
    if [ "$1" = "$(dpkg --print-architecture)" ]; then
        echo "note: this machine is one"
        return
    fi
    describe "$1"
    install qemu-user-static "gcc-$gnu" "libc6-dev-$1-cross"
    # Here qemu translates between two byte orders, and the counter of the eventfd does not get full.
    [ "$1" = s390x ] && skip=(--skip a_full_waker_would_block)
    # qemu does not know SO_MEMINFO.
    emulated cargo test --lib -- --skip thousand --skip tcp_has_an_edge_for_room "${skip[@]}"
    abi_package
    cd "$work/abi"
    emulated cargo test
}

# emulated cargo test ARGS...: for the machine that `describe` has set.
emulated() {
    local cargo=$1 command=$2
    shift 2
    with_rust_185 "$cargo" "$command" --target "$target" --config "target.$target.linker='$gnu-gcc'" \
        --config "target.$target.runner=['qemu-$qemu-static', '-L', '/usr/$gnu']" "$@"
}

# Of the benchmarks, the comparison with the libc crate alone: Rust 1.85 does not build all of the rest.
abi_package() {
    local libc
    libc=$(grep -A1 '^name = "libc"$' examples/benchmarks/Cargo.lock | sed -n 's/^version = //p')
    mkdir -p "$work/abi/src"
    touch "$work/abi/src/lib.rs"
    cat >"$work/abi/Cargo.toml" <<TOML
[package]
name = "abi"
version = "0.0.0"
edition = "2024"

[[test]]
name = "abi"
path = "$PWD/examples/benchmarks/tests/abi.rs"

[dependencies]
epollet.path = "$PWD"
libc = "=${libc//\"/}"
TOML
}

# with_std CARGO...: Debian has no std for this target, so cargo builds it, too.
with_std() {
    RUSTC_BOOTSTRAP=1 with_rust_185 cargo "$@" --lib -Zbuild-std
}

# Debian's libunwind is made for glibc. It calls this function of glibc before it aborts.
on_musl() {
    local target
    target=$(uname -m)-unknown-linux-musl
    install musl-tools
    RUSTFLAGS="-L$old/usr/lib/llvm-14/lib -Clink-self-contained=no -Clink-arg=-Wl,--defsym=__fprintf_chk=abort" \
        with_std test --target "$target" --config "target.$target.linker='musl-gcc'"
}

# Nothing is linked or run.
android() {
    RUSTFLAGS=-Zno-codegen with_std check --target aarch64-linux-android
}

elsewhere() {
    local target
    for target in x86_64-apple-darwin mips-unknown-linux-gnu; do
        if RUSTFLAGS=-Zno-codegen with_std check --target $target >"$work/elsewhere" 2>&1; then
            fail "it compiles for $target"
        fi
        # The message, and nothing else but cargo's last line.
        [ "$(grep -c ^error "$work/elsewhere")" -eq 2 ] || fail "$(cat "$work/elsewhere")"
        expect "$work/elsewhere" "error: epollet needs Linux or Android, and a processor other than MIPS and SPARC."
    done
}
