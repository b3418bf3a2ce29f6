#!/bin/sh
# Usage: sh install.sh [OPTIONS]
#
# In an offline bundle: checks every file, then installs without a network.
# Alone: installs the wheel that is given, with the engine for this machine.
#
#   --prefix DIR        where it goes; ~/.local if not given
#   --yes               do not ask
#   --dry-run           say what would be done, and do nothing
#   --uninstall         remove what was installed; conversations and models stay
#   --force             although corral runs, or something else lies in the way
#   --python FILE       the Python to use
#   --pip               in a bundle: with Python's own tools instead of uv
# Without a bundle:
#   --wheel FILE_OR_URL corral's wheel; one beside this script is found
#   --sha256 HEX        what the wheel has to have
#   --accelerator NAME  cpu, metal, vulkan, cuda, or an index such as cu124
#   --index URL         the index of engine wheels, in full
#   --compile           build the engine here if there is no wheel of it

# From a bundle, lib/corral/env-… below the prefix is the program and never changes; bin/corral is a
# link to it, made last; lib/corral/receipt says what there is, and nothing else is ever removed.
set -u

# Where llama-cpp-python's authors publish built wheels: an index for each accelerator.
ENGINE_INDEX=${CORRAL_ENGINE_INDEX:-https://abetlen.github.io/llama-cpp-python/whl}
CUDA_INDEXES='132 130 125 124 123 122 121 118'
ENGINE=llama-cpp-python

usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

say() { printf '%s\n' "$*"; }

stop() { # CODE SENTENCE [HINT]
    printf 'corral: %s\n' "$2" >&2
    [ -z "${3-}" ] || printf '  hint: %s\n' "$3" >&2
    exit "$1"
}

changed='Nothing was changed.'

attempt() { # WHAT COMMAND…: ends in one plain line if the command fails
    what=$1
    shift
    said=$("$@" 2>&1) && return
    [ -z "${VERBOSE-}" ] || say "$said" >&2
    code=1 reason=$(say "$said" | sed -n 's/^[[:space:]]*\(.*[^[:space:]].*\)$/\1/p' | tail -n 1)
    case $said in
        *'No space left'* | *'isk quota'* | *'os error 28'*) code=4 reason='the disk is full' ;;
        *ensurepip*) reason='this Python has no venv; Debian and Ubuntu have it as python3-venv' ;;
        *HASHES* | *'ash mismatch'*) code=7 reason='a wheel is not what requirements.lock says' ;;
    esac
    stop $code "$what failed: $reason" "$changed VERBOSE=1 shows all that was said."
}

digest() {
    if command -v sha256sum >/dev/null; then sha256sum
    elif command -v shasum >/dev/null; then shasum -a 256
    else openssl dgst -sha256 -r; fi <"$1" | cut -d ' ' -f 1
}

agree() {
    [ -z "$dry_run" ] || exit 0
    [ -z "$yes" ] || return 0
    [ -t 0 ] || stop 2 'There is no terminal to ask on' 'Look with --dry-run, then say --yes.'
    printf 'Go on? [Y/n] '
    read -r answer || answer=n
    case $answer in [nN]*) say "$changed"; exit 130 ;; esac
}

verify() {
    # Every file that is listed is there and as it was, and there is no other.
    while IFS= read -r line || [ -n "$line" ]; do
        name=${line#*  }
        case /$name/ in */../* | //*) stop 7 "SHA256SUMS lists $name, outside of the bundle" ;; esac
        if [ ! -f "$here/$name" ] || [ -L "$here/$name" ]; then
            stop 7 "This bundle is not whole: $name is missing" 'Unpack the archive again.'
        fi
        [ "$(digest "$here/$name")" = "${line%%  *}" ] ||
            stop 7 "This bundle is damaged: $name" 'Unpack or fetch the archive again.'
    done <"$here/SHA256SUMS"
    # macOS leaves .DS_Store where somebody looked; nothing here reads it.
    extra=$({
        sed 's/^[^ ]*  //' "$here/SHA256SUMS"
        echo SHA256SUMS
        cd "$here" && find . ! -type d ! -name .DS_Store | sed 's|^\./||'
    } | LC_ALL=C sort | LC_ALL=C uniq -u | head -n 1)
    [ -z "$extra" ] ||
        stop 7 "There is a file that does not belong to this bundle: $extra" 'Unpack it again.'
}

manifest() { sed -n "s/^ *\"$1\": \"\\(.*\\)\",*\$/\\1/p" "$here/MANIFEST.json" | head -n 1; }

find_python() {
    # Compiled wheels belong to one minor version: those that the bundle has wheels for.
    for minor in $(manifest pythons); do
        managed=$([ -n "$uv" ] && "$uv" python find -n --no-project --system "$minor" 2>/dev/null)
        for candidate in ${given_python:+"$given_python"} "python$minor" python3 python "$managed"; do
            python=$(command -v "$candidate") && [ "$("$python" -I -c \
                'import sys; print("%d.%d" % sys.version_info[:2])' 2>&1)" = "$minor" ] && return
            [ -z "$given_python" ] || break
        done
    done
    stop 1 "This bundle is for Python $(manifest pythons), which is not here" \
        'Install it from your system, or name it with --python FILE.'
}

alone_with() {
    # What a person configured for other projects is no part of this.
    for name in $(env | sed -n -e 's/^\(UV_[A-Z_]*\)=.*/\1/p' -e 's/^\(PIP_[A-Z_]*\)=.*/\1/p'); do
        unset "$name"
    done
    unset PYTHONPATH PYTHONHOME
    export UV_NO_CONFIG=1 UV_OFFLINE=1 UV_PYTHON_DOWNLOADS=never PIP_CONFIG_FILE=/dev/null
}

environment() {
    # Whole in a new folder: whatever ends this early, the corral of before goes on working.
    version=$(manifest version)
    attempt "Making $lib" mkdir -p "$lib" "$prefix/bin"
    fresh=$lib/env-$version.$$
    trap 'rm -rf "$fresh" "$lib/cache.$$"; emptied "$lib" "$prefix/bin"' EXIT
    trap 'exit 130' INT TERM HUP
    set -- install --no-index --require-hashes --no-deps --find-links "$here/wheels" \
        -r "$here/requirements.lock"
    if [ -n "$uv" ]; then
        export UV_CACHE_DIR="$lib/cache.$$"
        attempt 'Making an environment' "$uv" -q venv --python "$python" "$fresh"
        attempt 'Installing the wheels' "$uv" -q pip "$@" --compile-bytecode \
            --python "$fresh/bin/python"
    else
        attempt 'Making an environment' "$python" -I -m venv "$fresh"
        attempt 'Installing the wheels' "$fresh/bin/python" -I -m pip --no-cache-dir -q \
            --disable-pip-version-check "$@"
    fi
    attempt 'Starting the new corral' "$fresh/bin/corral" --version
}

desktop() { # NAME below share/
    from=$here/share/$1 to=$prefix/share/$1
    attempt "Making ${to%/*}" mkdir -p "${to%/*}"
    attempt "Writing $to" cp "$from" "$to.$$"
    case $1:$prefix in
        *:*[\"\`\$\\%\&\|]*) ;; # Nothing that would have to be quoted twice.
        *.desktop:*) # Beside the program, which a desktop may not have in its PATH.
            sed -e "s|^Exec=.*|Exec=\"$prefix/bin/corral\"|" \
                -e "s|^TryExec=.*|TryExec=$prefix/bin/corral|" "$from" >"$to.$$" ;;
    esac
    attempt "Writing $to" mv -f "$to.$$" "$to"
}

shared() { [ "$(uname -s)" != Linux ] || (cd "$here/share" && find . -type f | sed 's|^\./||'); }

write_receipt() { # METHOD, and on stdin lines of what there is
    {
        printf 'corral receipt 1\nmethod %s\nprefix %s\n' "$1" "$prefix"
        cat
        [ ! -f "$receipt" ] || grep '^pack ' "$receipt"
        printf 'file %s\n' "$lib/install.sh"
    } >"$receipt.new" 2>/dev/null || stop 4 "$receipt cannot be written" 'Is the disk full?'
    if [ -f "$0" ] && ! cmp -s "$0" "$lib/install.sh"; then
        attempt 'Keeping the installer' cp "$0" "$lib/install.sh"
    fi
    attempt 'Writing the receipt' mv -f "$receipt.new" "$receipt"
}

own_way() { # METHOD: what lies there and is not from here is somebody's
    before=$(sed -n 's/^method //p' "$receipt" 2>/dev/null)
    [ "${before:-$1}" = "$1" ] || stop 7 "corral is installed here already, by another way: $before" \
        "Remove that first: sh '$lib/install.sh' --uninstall"
    place=$prefix/bin/corral
    # A link would be moved into it, also with --force.
    [ "$1" != bundle ] || [ ! -d "$place" ] ||
        stop 7 "$place is a folder" 'Remove it first, or choose another --prefix.'
    case $force$1 in
        bundle) ;;
        pipx) place=$(pipx environment --value PIPX_BIN_DIR)/corral ;;
        *) return 0 ;; # uv refuses by itself.
    esac
    [ -e "$place" ] || [ -L "$place" ] || return 0
    case $(readlink "$place" 2>/dev/null) in "$lib"/* | "${own:-$lib/}"*) return 0 ;; esac
    stop 7 "$place is there and was not installed by this script" \
        'Remove it first, choose another --prefix, or say --force.'
}

from_bundle() {
    verify
    alone_with
    uv=$here/bin/uv
    [ -z "$pip" ] && "$uv" --version >/dev/null 2>&1 || uv=
    find_python
    own_way bundle
    [ -n "$force" ] || shared | while IFS= read -r name; do
        place=$prefix/share/$name
        [ ! -e "$place" ] || grep -qxF "file $place" "$receipt" 2>/dev/null ||
            stop 7 "$place is there and was not installed by this script" \
                'Remove it first, choose another --prefix, or say --force.'
    done || exit
    say "corral $(manifest version), from this bundle, with $python, by $([ -n "$uv" ] && echo uv || echo pip):"
    say "  program     $prefix/bin/corral, in $lib"
    for more in "$here"/engines/* "$here"/models/*; do
        [ ! -d "$more" ] || say "  with it     ${more##*/}"
    done
    agree
    stop_if_running
    environment
    {
        printf 'tree %s\nlink %s\n' "$fresh" "$prefix/bin/corral"
        shared | while IFS= read -r name; do printf 'file %s\n' "$prefix/share/$name"; done
    } | write_receipt bundle || exit
    attempt 'Linking the program' ln -s "$fresh/bin/corral" "$prefix/bin/.corral.$$"
    attempt 'Linking the program' mv -f "$prefix/bin/.corral.$$" "$prefix/bin/corral"
    trap - EXIT
    changed='corral itself is installed.'
    for old in "$lib"/env-* "$lib"/cache.*; do [ "$old" = "$fresh" ] || rm -rf "$old"; done
    shared | while IFS= read -r name; do desktop "$name"; done || exit
    "$fresh/bin/python" -I "$here/extras.py" "$here" "$receipt" || exit
    say "corral $version is installed: $prefix/bin/corral"
    case :$PATH: in *":$prefix/bin:"*) ;; *) say "  hint: $prefix/bin is not in your PATH yet." ;; esac
    say "  sh '$lib/install.sh' --uninstall removes it again."
}

here_is() { # LIBRARY: whether the loader knows it
    { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null | grep -qF "$1" ||
        ls /usr/lib*/"$1" /usr/lib/*/"$1" >/dev/null 2>&1
}

cuda_index() { # the newest that the driver can run
    driver=$(nvidia-smi 2>/dev/null |
        sed -n 's/.*CUDA Version: *\([0-9]*\)\.\([0-9]\).*/\1\2/p' | head -n 1)
    for known in $CUDA_INDEXES; do
        if [ "${driver:-121}" -ge "$known" ]; then echo "cu$known"; return; fi
    done
    echo cpu
}

detect() {
    accelerator=cpu why='no graphics card that can be used'
    case $(uname -s)-$(uname -m) in
        Darwin-arm64) accelerator=metal why='Apple silicon' ;;
        Darwin-* | Linux-*)
            if nvidia-smi -L >/dev/null 2>&1 || here_is libcuda.so.1; then
                accelerator=$(cuda_index) why='an NVIDIA driver'
            elif here_is libvulkan.so.1 && ls /dev/dri/renderD* >/dev/null 2>&1; then
                accelerator=vulkan why='a graphics card with Vulkan'
            fi ;;
        *) stop 1 "This script does not know $(uname -s)" 'On Windows it is install.ps1.' ;;
    esac
    say "Found here: $(uname -s) on $(uname -m), $why."
    [ "$given_accelerator" != cuda ] || given_accelerator=$(cuda_index)
    index=${given_index:-$ENGINE_INDEX/${given_accelerator:-$accelerator}}
}

find_wheel() {
    wheel=${given_wheel:-${CORRAL_WHEEL:-}}
    for found in "$here"/corral-*-py3-none-any.whl; do
        [ ! -f "$found" ] || wheel=${wheel:-$found}
    done
    case $wheel in
        '') stop 2 'Which corral? There is no wheel of it beside this script' \
            'Name one: --wheel FILE_OR_URL' ;;
        *://*) ;;
        *)
            [ -f "$wheel" ] || stop 3 "$wheel is not there"
            promised "$wheel"
            # uv takes no path with a space in it unless it begins with a slash.
            case $wheel in /*) ;; *) wheel=$PWD/$wheel ;; esac ;;
    esac
}

promised() { # FILE: ends if it is not what --sha256 says
    [ -z "$given_sha256" ] ||
        [ "$(digest "$1")" = "$(printf '%s' "$given_sha256" | tr A-F a-f)" ] ||
        stop 7 "$wheel is not what was promised: its sha256 is another one"
}

fetch() { # uv compares nothing with the sha256 in a URL: what it gets is what was compared here
    kept=${wheel##*/}
    kept=$lib/${kept%%[?#]*}
    case $kept in "$lib"/corral-*.whl) ;; *) stop 2 "$wheel is no wheel of corral" "$help" ;; esac
    trap 'rm -f "$kept.new"; [ -f "$receipt" ] || rm -f "$kept"; emptied "$lib"' EXIT
    trap 'exit 130' INT TERM HUP
    attempt "Making $lib" mkdir -p "$lib"
    if command -v curl >/dev/null; then attempt "Fetching $wheel" curl -fsSL -o "$kept.new" "$wheel"
    else attempt "Fetching $wheel" wget -q -O "$kept.new" "$wheel"; fi
    promised "$kept.new"
    rm -f "$lib"/corral-*.whl
    attempt "Keeping $kept" mv -f "$kept.new" "$kept"
    wheel=$kept
}

own_tools() { # uv and pipx keep all of it below the prefix
    export UV_TOOL_DIR="$lib/tools" UV_TOOL_BIN_DIR="$prefix/bin"
    export PIPX_HOME="$lib/tools" PIPX_BIN_DIR="$prefix/bin"
}

from_wheel() {
    find_wheel
    detect
    before=$(sed -n 's/^env //p' "$receipt" 2>/dev/null)
    case ${before:-${given_prefix:+$lib/tools/}} in "$lib"/tools/*) own_tools ;; esac
    if command -v uv >/dev/null; then
        method=uv
        own=$(uv tool dir)/corral/
        # Never minutes of compiling that nobody asked for: without a wheel it ends.
        set -- uv tool install --reinstall --index "$index" ${force:+--force}
        [ -n "$compile" ] || set -- "$@" --no-build-package "$ENGINE"
    elif command -v pipx >/dev/null; then
        method=pipx
        own=$(pipx environment --value PIPX_LOCAL_VENVS)/corral/
        only=$([ -n "$compile" ] || echo " --only-binary=$ENGINE")
        set -- pipx install --force "--pip-args=--extra-index-url=$index$only"
    else
        stop 1 'Neither uv nor pipx is here' 'Install one of them, or take an offline bundle.'
    fi
    own_way "$method"
    [ -z "$given_python" ] || set -- "$@" --python "$given_python"
    say "corral, from $wheel, by $method:"
    say "  engine      $ENGINE from $index"
    [ -z "$compile" ] || say '  If there is no wheel of it, it is compiled here: minutes.'
    agree
    stop_if_running
    case $given_sha256:$wheel in ?*:*://*) fetch ;; esac
    "$@" "$wheel" || stop 1 'corral was not installed' \
        "If there is no wheel of the engine: --accelerator cpu, --index URL, or --compile."
    attempt "Making $lib" mkdir -p "$lib"
    printf 'env %s\n' "$own" | write_receipt "$method" || exit
    say "corral is installed. sh '$lib/install.sh' --uninstall removes it again."
}

running() {
    # Whatever runs from here has the path of its environment in its command line.
    paths=$(printf '%s\n' "$lib/env-"; sed -n 's/^env //p' "$receipt" 2>/dev/null)
    if [ -r /proc/self/cmdline ]; then
        printf '%s\n' "$paths" | grep -lF -f /dev/stdin /proc/[0-9]*/cmdline 2>/dev/null | tr -cd '0-9\n'
    else
        all=$(ps -A -o pid= -o command=)
        printf '%s\n' "$all" | grep -F "$paths" | awk '{ print $1 }'
    fi
}

stop_if_running() {
    [ -z "$force" ] || return 0
    ids=$(running | tr '\n' ' ')
    [ -z "$ids" ] || stop 7 "corral, or a script that installs it, is running: process ${ids% }" \
        'Quit it first, or say --force.'
}

emptied() { # FOLDER…: those below the prefix that hold nothing any more, and their parents
    for folder in "$@"; do
        case $folder in "$prefix"/*) (cd "$prefix" && rmdir -p "${folder#"$prefix"/}") 2>/dev/null ;; esac
    done
}

known() { # KIND PATH: whether a line of the receipt can be one
    case $1:$2 in
        */../* | *//*) return 1 ;;
        link:"$prefix"/bin/corral | file:"$prefix"/share/* | file:"$lib"/install.sh) ;;
        tree:"$lib"/env-* | pack:/*/engines/engine-* | corral:* | method:* | prefix:* | env:*) ;;
        *) return 1 ;;
    esac
}

removed() { # KIND PATH
    case $1:$(readlink "$2" 2>/dev/null) in
        link:"$lib"/* | file:* | tree:* | pack:*) ;;
        *) return 0 ;; # Somebody put another corral there.
    esac
    rm -rf "$2" 2>/dev/null || stop 1 "$2 cannot be removed" 'Say --uninstall again afterwards.'
    emptied "${2%/*}"
}

uninstall() {
    [ -f "$receipt" ] ||
        stop 3 "Nothing is installed here: there is no $receipt" 'Another place: --prefix DIR'
    while read -r kind path; do
        known "$kind" "$path" || stop 7 "$receipt names $path: it is not as it was written" \
            'Nothing was removed. Install again, which writes it anew.'
    done <"$receipt"
    method=$(sed -n 's/^method //p' "$receipt")
    own=$(sed -n 's/^env //p' "$receipt")
    say 'This goes:'
    sed -n '4,$s/^[a-z]* /  /p' "$receipt"
    python=$(sed -n 's/^tree //p' "$receipt")/bin/python
    [ -z "$own" ] || python=${own}bin/python
    stays=$("$python" -I -c 'from corral.paths import Paths as P; p = P.from_environment()
print(*(f"  {x}" for x in (p.config, p.data, p.cache, p.logs) if x.exists()), sep="\n")' 2>/dev/null)
    say 'This stays: conversations, settings, models and logs.'
    say "${stays:-  They lie where they were.}"
    agree
    stop_if_running
    case $own in "$lib"/tools/*) own_tools ;; esac
    [ -d "$own" ] || method='' # Somebody asked uv or pipx already.
    case $method in
        uv) attempt 'uv tool uninstall' uv tool uninstall corral ;;
        pipx) attempt 'pipx uninstall' pipx uninstall corral ;;
    esac
    while read -r kind path; do removed "$kind" "$path"; done <"$receipt"
    rm -rf "$lib"/env-* "$lib"/cache.* "$lib"/corral-*.whl "$lib/tools" "$receipt.new" "$receipt"
    emptied "$lib"
    say 'corral is removed.'
}

main() {
    help='sh install.sh --help'
    given_prefix='' given_python='' given_wheel='' given_sha256='' given_accelerator='' given_index=''
    yes='' dry_run='' force='' pip='' compile='' uninstall=''
    while [ $# -gt 0 ]; do
        case $1 in
            --prefix | --python | --wheel | --sha256 | --accelerator | --index)
                [ $# -gt 1 ] || stop 2 "$1 needs a value" "$help"
                eval "given_${1#--}=\$2"
                shift ;;
            --yes | --force | --pip | --compile | --uninstall) eval "${1#--}=1" ;;
            --dry-run) dry_run=1 ;;
            -h | --help) usage; exit 0 ;;
            *) stop 2 "There is no option $1" "$help" ;;
        esac
        shift
    done
    here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
    prefix=$given_prefix
    if [ -z "$prefix" ] && [ -f "$here/receipt" ]; then
        prefix=$(sed -n 's/^prefix //p' "$here/receipt")
    fi
    prefix=${prefix:-${HOME:+$HOME/.local}}
    [ -n "$prefix" ] || stop 2 'HOME is not set' 'Say where to install: --prefix DIR'
    case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
    # One spelling: what the receipt names and where programs say they run are compared with it.
    prefix=$(printf '%s\n' "${prefix%/}" | tr -s / | sed -e ':a' -e 's|/\./|/|;ta' -e 's|/\.$||')
    case $prefix/ in *"
"* | */../*) stop 2 "--prefix cannot be $prefix" 'No line break, and no .. in it.' ;; esac
    lib=$prefix/lib/corral
    receipt=$lib/receipt
    if [ -n "$uninstall" ]; then uninstall
    elif [ -f "$here/SHA256SUMS" ] && [ -d "$here/wheels" ]; then from_bundle
    else from_wheel; fi
}

main "$@"
