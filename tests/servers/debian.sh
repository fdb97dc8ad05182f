# RabbitMQ and PostgreSQL of another Debian than this machine's, for tests/run, which sources
# this file: in a folder of their own, made by debootstrap and kept from run to run. Nothing of
# it is installed on the machine itself.
# shellcheck shell=bash

# Where the folders are; each holds one Debian of about 500 MB. Not below the repository: the
# server processes' users must get there.
debians=${LONGSHORE_TEST_DEBIANS:-/var/cache/longshore-tests}

# Sets $debian to the folder of a Debian that has it.
prepare_debian_with() { # rabbitmq|postgres VERSION
    local in_12 in_13
    case $1 in
    rabbitmq) in_12=3.10 in_13=4.0 ;;
    postgres) in_12=15 in_13=17 ;;
    esac
    if is_either "$2" "$in_12"; then
        prepare_debian bookworm
    elif is_either "$2" "$in_13"; then
        prepare_debian trixie
    else
        die "neither this machine nor Debian 12 or 13 has $1 $2"
    fi
}

is_either() { is_version "$1" "$2" || is_version "$2" "$1"; }

# The mirror that this machine itself takes its packages from.
debian_mirror() {
    local uri release origin
    # shellcheck disable=SC2016  # apt-get fills these in
    while IFS='|' read -r uri release origin; do
        [[ $origin == Debian && $release != *[-/]* ]] && echo "$uri" && return
    done < <(apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(ORIGIN)' 'Created-By: Packages')
}

# Sets $debian to the folder of that release.
prepare_debian() { # RELEASE
    local release=$1 lock
    debian=$debians/$release
    # PostgreSQL's programs run as they are; RabbitMQ's need more than a user's rights.
    ((EUID == 0)) || die "another Debian's servers need root (chroot); run: sudo -E tests/run ..."
    unshare --mount true 2>/dev/null ||
        die "another Debian's servers need the right to mount (in a container: --privileged)"
    mkdir -p "$debians"
    # Two runs may want it at the same time.
    exec {lock}>"$debians/.lock"
    flock "$lock"
    [[ -e $debian/.complete ]] || make_debian "$release"
    exec {lock}>&-
}

make_debian() { # RELEASE
    local mirror
    have debootstrap || install_packages debootstrap
    mirror=$(debian_mirror)
    [[ -n $mirror ]] || die "no Debian mirror among this machine's package sources, so no $1 either"
    say "making a Debian $1 in $debian (about a minute)"
    rm -rf "$debian"
    local packages=rabbitmq-server,postgresql
    debootstrap --variant=minbase --include="$packages" "$1" "$debian" "$mirror" \
        >"$debians/$1.log" 2>&1 </dev/null || {
        tail -n 20 "$debians/$1.log" >&2
        die "debootstrap could not make a Debian $1; all it said: $debians/$1.log"
    }
    rm -rf "$debian"/var/cache/apt/archives/*.deb "$debian"/var/lib/apt/lists/*
    chmod 755 "$debian"
    wrap_rabbitmq
    wrap_postgres
    touch "$debian/.complete"
}

# In a chroot, where the machine's /proc and the folder of the test (its $HOME) are at their
# places. The mounts are seen by this process alone and end with it.
wrap_rabbitmq() {
    local program sbin
    sbin=$(dirname "$(compgen -G "$debian/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")")
    mv "$sbin" "$sbin.inside"
    mkdir "$sbin"
    for program in rabbitmq-server rabbitmqctl; do
        cat >"$sbin/$program" <<WRAPPER
#!/bin/sh
export ROOT='$debian'
exec unshare --mount sh -ec '
    mount --rbind /proc "\$ROOT/proc"
    mount -t tmpfs tmpfs "\$ROOT/tmp"
    mkdir -p "\$ROOT\$HOME"
    mount --bind "\$HOME" "\$ROOT\$HOME"
    cd /
    exec chroot "\$ROOT" "\$@"
' sh '${sbin#"$debian"}.inside/$program' "\$@"
WRAPPER
        chmod 755 "$sbin/$program"
    done
}

# PostgreSQL refuses to run as root, and nobody else may chroot: its programs run where they
# are, on the C library that they were made for.
wrap_postgres() {
    local program bin loader libraries
    bin=$(dirname "$(compgen -G "$debian/usr/lib/postgresql/*/bin/postgres")")
    loader=$(compgen -G "$debian/usr/lib*/ld-linux-*.so.*" | head -n 1)
    libraries=$(dirname "$(compgen -G "$debian/usr/lib/*/libc.so.6")")
    # They look for each other, and for their data, from where they believe they are: in `bin`.
    mv "$bin" "$bin.inside"
    mkdir "$bin"
    for program in postgres initdb psql; do
        cat >"$bin/$program" <<WRAPPER
#!/bin/sh
exec '$loader' --library-path '$libraries' --argv0 "\$0" '$bin.inside/$program' "\$@"
WRAPPER
        chmod 755 "$bin/$program"
    done
}
