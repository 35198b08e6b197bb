# Sourced by .ci/run and by each check.

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# expect FILE TEXT: the file has to contain the text.
expect() {
    grep -qF -- "$2" "$1" || {
        tail -n 40 "$1"
        fail "'$2' is missing"
    }
}

# install PACKAGE...: what is missing of them.
install() {
    local package missing=()
    for package; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        with_lists apt-get install -y --no-install-recommends "${missing[@]}"
    fi
}

# with_lists APT_GET...: updates apt's lists, then runs a command. While a mirror is being updated, some
# of its lists cannot be used. That matters only if the command fails without them.
with_lists() {
    apt-get update || true
    "$@" || {
        sleep 60
        apt-get update || true
        "$@"
    }
}
