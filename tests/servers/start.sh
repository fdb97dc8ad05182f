# Starting the RabbitMQ and the PostgreSQL that the tests share, for tests/run, which sources this
# file: `start`, `free_port`, `wait_for` and the folder $run are there.
# shellcheck shell=bash disable=SC2154

# Opens AMQP and waits for a method frame, which begins with the byte 1: the broker's greeting.
greets() { # HOST PORT
    local first
    exec 3<>"/dev/tcp/$1/$2" || return 1
    printf 'AMQP\0\0\11\1' >&3
    IFS= read -r -N 1 -t 5 first <&3 || first=
    exec 3>&-
    [[ $first == $'\x01' ]]
}

start_rabbitmq() {
    local sbin dir=$run/rabbitmq epmd_port dist_port
    sbin=$(rabbitmq_sbin)
    free_port && epmd_port=$port
    free_port && dist_port=$port
    free_port
    mkdir -p "$dir"
    printf 'listeners.tcp.1 = 127.0.0.1:%s\ndisk_free_limit.absolute = 50MB\n' "$port" \
        >"$dir/rabbitmq.conf"
    echo '[].' >"$dir/plugins"
    : >"$dir/env.conf"
    # In the foreground and before the node, which would start a daemon that outlives all.
    start epmd env ERL_EPMD_ADDRESS=127.0.0.1 epmd -port "$epmd_port"
    wait_for epmd listens "$epmd_port"
    local private=(
        PATH="$PATH" LANG=C.UTF-8 HOME="$dir"
        ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1
        RABBITMQ_NODENAME="tests-$port@localhost"
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port"
        RABBITMQ_DIST_PORT="$dist_port"
        RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/log"
        RABBITMQ_GENERATED_CONFIG_DIR="$dir/config"
        RABBITMQ_ENABLED_PLUGINS_FILE="$dir/plugins"
        RABBITMQ_CONFIG_FILE="$dir/rabbitmq" RABBITMQ_CONF_ENV_FILE="$dir/env.conf"
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}'
    )
    local version=${sbin%/sbin}
    say "starting RabbitMQ ${version##*rabbitmq_server-} on port $port"
    start rabbitmq env -i "${private[@]}" "$sbin/rabbitmq-server"
    wait_for rabbitmq greets 127.0.0.1 "$port"
    export TEST_AMQP_URL="amqp://guest:guest@127.0.0.1:$port/%2f"
}

# PostgreSQL refuses to run as root.
unprivileged() {
    local user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    if ((EUID == 0)); then
        setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- "$@"
    else
        "$@"
    fi
}

start_postgres() {
    local bin version dir=$run/postgres
    bin=$(postgres_bin)
    free_port
    mkdir -p "$dir"
    if ((EUID == 0)); then chown "$(unprivileged id -u):$(unprivileged id -g)" "$dir"; fi
    version=$("$bin/postgres" --version)
    say "starting PostgreSQL ${version#postgres (PostgreSQL) } on port $port"
    (cd "$dir" && unprivileged "$bin/initdb" --username=longshore --auth=trust --encoding=UTF8 \
        --no-locale --no-sync -D "$dir/data") >"$run/initdb.log" 2>&1 || {
        cat "$run/initdb.log" >&2
        exit 1
    }
    start postgres unprivileged "$bin/postgres" -D "$dir/data" -c port="$port" \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=400 \
        -c fsync=off
    export TEST_DATABASE_URL="postgres://longshore@127.0.0.1:$port/postgres"
    wait_for postgres database_answers
}

database_answers() {
    PGCONNECT_TIMEOUT=10 "$(postgres_bin)/psql" -X -q -c 'SELECT 1' "$TEST_DATABASE_URL"
}

broker_answers() {
    local url='^amqps?://([^@/]*@)?(\[[^]]+\]|[^:/?,]+)(:([0-9]+))?'
    [[ $TEST_AMQP_URL =~ $url ]] || die "TEST_AMQP_URL is not an AMQP URL"
    local host=${BASH_REMATCH[2]} port=${BASH_REMATCH[4]}
    host=${host#[} host=${host%]}
    case $TEST_AMQP_URL in
    amqps:*) (: <"/dev/tcp/$host/${port:-5671}") ;;
    *) greets "$host" "${port:-5672}" ;;
    esac
}
