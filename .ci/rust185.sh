# Sourced by .ci/run: the oldest supported compiler, which also builds for other machines.
#
# It is Debian 12's package rustc-web, unpacked beside the system: the installed packages and the
# architectures that dpkg knows stay as they are.

old=$work/rust185
machines=(arm64 armhf i386 s390x ppc64el) # their names in Debian

unpack_rust_185() {
    local own package
    own=$(dpkg --print-architecture)
    mkdir -p "$old"/apt/{lists,cache/archives}/partial
    cat >"$old/apt/apt.conf" <<CONF
Dir::State::lists "$old/apt/lists";
Dir::Cache "$old/apt/cache";
APT::Architectures { "$own"; $(printf '"%s"; ' "${machines[@]}") };
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
    export APT_CONFIG=$old/apt/apt.conf
    cd "$old/apt/cache/archives"
    with_package_lists download_rust_185
    for package in *.deb; do
        dpkg -x "$package" "$old"
        rm "$package"
    done
}

# The compiler with those of its libraries that are not installed, the standard library for other
# machines, and its source.
download_rust_185() {
    local machine packages=('rust-web-src=1.85*')
    for machine in "${machines[@]}"; do
        packages+=("libstd-rust-web-dev:$machine=1.85*")
    done
    apt-get install -y --no-install-recommends --allow-downgrades --download-only \
        'rustc-web=1.85*' 'cargo-web=1.85*' 'libstd-rust-web-dev=1.85*' &&
        apt-get download "${packages[@]}"
}

# with_rust_185 COMMAND...
with_rust_185() {
    local libraries
    libraries=$old/usr/lib/$(gcc -print-multiarch):$old/lib/$(gcc -print-multiarch)
    env PATH="$old/usr/bin:/usr/bin:/bin" LD_LIBRARY_PATH="$libraries" CARGO_TARGET_DIR="$work/target185" "$@"
}

oldest_compiler() {
    with_rust_185 rustc --version | grep -F "rustc 1.85."
    new_crate 2021 with_rust_185
    new_crate 2024 with_rust_185
    with_rust_185 cargo test
}

install_cross_tools() {
    local machine packages=(qemu-user-static)
    for machine in "${machines[@]}"; do
        if [ "$machine" != "$(dpkg --print-architecture)" ]; then
            describe "$machine"
            packages+=("gcc-$gnu" "libc6-dev-$machine-cross")
        fi
    done
    install "${packages[@]}"
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
    # Here qemu translates between two byte orders, and the counter of the eventfd does not get full.
    [ "$1" = s390x ] && skip=(--skip a_full_waker_would_block)
    emulated cargo test --lib -- --skip thousand "${skip[@]}"
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

# Of the benchmarks, the comparison with the libc crate alone: most of the rest would not be used.
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

# Type-checks the library with std as it is on Android. There is no package of that std: cargo builds
# it from its source. Nothing is linked or run.
android() {
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zno-codegen with_rust_185 \
        cargo check --lib --target aarch64-linux-android -Zbuild-std=std
}

# For each target that the compiler knows: the compile error, or none on Linux and Android without MIPS
# and SPARC. Most have no std here, so it compiles ffi.rs without; this gives other errors, too.
everywhere_else() {
    local target refused count=0
    cat >"$work/ffi.rs" <<RUST
#![feature(no_core, rustc_attrs)]
#![no_core]
#[rustc_builtin_macro]
macro_rules! compile_error { () => {} }
#[path = "$PWD/src/ffi.rs"]
mod ffi;
RUST
    for target in $(with_rust_185 rustc --print target-list); do
        RUSTC_BOOTSTRAP=1 with_rust_185 rustc --target "$target" --edition 2024 --crate-type lib \
            --emit metadata -o "$work/ffi" "$work/ffi.rs" >"$work/target.log" 2>&1 || true
        # Debian's LLVM does not have every processor.
        grep -q "could not create LLVM TargetMachine" "$work/target.log" && continue
        expect "$work/target.log" "unresolved import \`std\`" # It was compiled.
        refused=$(grep -cF 'error: epollet needs Linux or Android, and a processor other than MIPS and SPARC.' \
            "$work/target.log" || true)
        case $target in
        mips* | sparc*) [ "$refused" -eq 1 ] || fail "$target is not refused" ;;
        *linux*) [ "$refused" -eq 0 ] || fail "$target is refused" ;;
        *) [ "$refused" -eq 1 ] || fail "$target is not refused" ;;
        esac
        count=$((count + refused))
    done
    echo "note: $count targets are refused"
}
