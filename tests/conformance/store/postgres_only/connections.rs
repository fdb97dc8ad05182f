use std::collections::HashSet;
use std::time::Duration;

use longshore::job::State;
use longshore::store::postgres::PostgresStore;
use longshore::store::{Store, StoreError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

use super::super::backend::Backend;
use super::super::postgres::PostgresDatabase;
use super::super::world::{World, eventually, queue, record, succeed};
use super::{execute, world};

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_being_shown() {
    for url in [
        "postgres//user:hunter2@host/db",
        "mysql://user:hunter2@host/db",
        "postgres://user:hunter2@host:notaport/db",
        "postgres://user:hunter2@host/db?sslmode=hunter2",
        "",
    ] {
        let error = PostgresStore::connect(url).await.unwrap_err();
        assert!(matches!(error, StoreError::Url(_)), "{url}: {error:?}");
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
    let store = PostgresStore::connect("postgres://user:hunter2@127.0.0.1:1/db")
        .await
        .unwrap();
    let down = store.now().await.unwrap_err();
    assert!(matches!(down, StoreError::Unavailable(_)), "{down:?}");
    assert!(!format!("{down:?} {store:?}").contains("hunter2"));
}

/// A server that accepts connections and then says nothing, as a stopped one does.
#[tokio::test]
async fn a_frozen_server_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://user@{}/db", listener.local_addr().unwrap());
    let frozen = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    let store = PostgresStore::connect(&url).await.unwrap();
    let error = store.now().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    frozen.abort();
}

/// Forwards to a server until it freezes; what was connected then stays frozen for ever, as
/// connections to a host that is gone. Returns its port.
async fn freezer(server: Url, frozen: watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = (
        server.host_str().unwrap().to_owned(),
        server.port().unwrap_or(5432),
    );
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (upstream, mut frozen) = (upstream.clone(), frozen.clone());
            tokio::spawn(async move {
                let mut server = TcpStream::connect(upstream).await.unwrap();
                let freeze = async { drop(frozen.wait_for(|frozen| *frozen).await) };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                    () = freeze => {}
                }
                std::future::pending::<()>().await;
            });
        }
    });
    port
}

/// Calls on connections that went silent fail within their bound, and give their places in the
/// pool to new ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_do_not_keep_the_pool() {
    let database = PostgresDatabase::create().await;
    let mut url = Url::parse(&database.url()).unwrap();
    let (freeze, frozen) = watch::channel(false);
    let port = freezer(url.clone(), frozen).await;
    url.set_ip_host("127.0.0.1".parse().unwrap()).unwrap();
    url.set_port(Some(port)).unwrap();
    let store = PostgresStore::connect(url.as_str()).await.unwrap();
    store.migrate().await.unwrap();
    let calls = || futures::future::join_all((0..8).map(|_| store.now()));
    assert!(calls().await.iter().all(Result::is_ok));
    freeze.send(true).unwrap();
    for answer in calls().await {
        let error = answer.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }
    freeze.send(false).unwrap();
    eventually(async || {
        calls()
            .await
            .into_iter()
            .all(|call| call.is_ok())
            .then_some(())
    })
    .await;
    store.close().await;
    database.destroy().await;
}

/// The connections of the pool are lost, and the next call makes new ones.
#[tokio::test]
async fn a_restart_of_the_server_costs_no_call() {
    let (world, mut connection) = world().await;
    for _ in 0..5 {
        let (id, claimed) = world.running().await;
        let ended: Vec<bool> = sqlx::query_scalar(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
               AND application_name = 'longshore'",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        assert!(!ended.is_empty(), "the store says who it is");
        assert!(world.record(id, &claimed, succeed()).await);
    }
    world.close().await;
}

/// A caller that gives up in the middle leaves no half-done work and no broken connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_is_rolled_back() {
    let (world, mut connection) = world().await;
    let (id, claimed) = world.running().await;
    let lock = format!(
        "BEGIN; SELECT FROM longshore.live WHERE id = '{}' FOR UPDATE",
        id.uuid()
    );
    execute(&mut connection, lock).await;
    for _ in 0..20 {
        let records = [record(id, &claimed, succeed())];
        let call = world.store.record(&records);
        let cut = tokio::time::timeout(Duration::from_millis(30), call).await;
        assert!(cut.is_err(), "the row is locked");
    }
    execute(&mut connection, "ROLLBACK".to_owned()).await;
    // Those that were cut off give their locks back as soon as the server sees them gone.
    let records = [record(id, &claimed, succeed())];
    let written = eventually(async || world.store.record(&records).await.ok()).await;
    let state = world.view(id).await.state;
    assert_eq!((written, state), (vec![true], State::Succeeded));
    world.close().await;
}

/// The store's own settings hold whatever the server's are.
#[tokio::test]
async fn every_commit_waits_for_the_disk() {
    let database = PostgresDatabase::create().await;
    let mut connection = database.connect().await;
    let lax = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off',
               current_database()); END $$";
    execute(&mut connection, lax.to_owned()).await;
    let world = World::on(database).await.migrate().await;
    // A trigger sees what the transaction that inserts is set to.
    let witness = "CREATE TABLE public.seen (setting text);
        CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO public.seen VALUES (current_setting('synchronous_commit'));
            RETURN NEW; END $$;
        CREATE TRIGGER see BEFORE INSERT ON longshore.live
            FOR EACH ROW EXECUTE FUNCTION public.see()";
    execute(&mut connection, witness.to_owned()).await;
    world.queued().await;
    let seen: HashSet<String> = sqlx::query_scalar("SELECT setting FROM public.seen")
        .fetch_all(&mut connection)
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(seen, HashSet::from(["on".to_owned()]));
    world.close().await;
}

/// However many read everything, and however long that takes: keys are read, queues are paused,
/// and short questions are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wide_reads_leave_room() {
    let database = PostgresDatabase::create().await;
    let mut connection = database.connect().await;
    let observer = tokio::sync::Mutex::new(database.connect().await);
    let world = World::on(database).await.migrate().await;
    let lock = "BEGIN; LOCK TABLE longshore.done IN ACCESS EXCLUSIVE MODE";
    execute(&mut connection, lock.to_owned()).await;
    let wide: Vec<_> = (0..6)
        .map(|_| {
            let store = world.store.clone();
            tokio::spawn(async move { store.counts().await.map(drop) })
        })
        .collect();
    let waiting = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(async || {
        let waiting: i64 = sqlx::query_scalar(waiting)
            .fetch_one(&mut *observer.lock().await)
            .await
            .unwrap();
        (waiting >= 2).then_some(())
    })
    .await;
    world.store.keys().await.unwrap();
    world.store.pause(&queue("email"), "ada").await.unwrap();
    assert!(
        world
            .store
            .resume(&queue("email"), "somebody")
            .await
            .unwrap()
    );
    assert_eq!(world.store.processes().await.unwrap().len(), 1);
    world.store.reports().await.unwrap();
    // Whoever gave up is not waited for: the server ends what nobody reads.
    wide.iter().for_each(tokio::task::JoinHandle::abort);
    for call in wide {
        drop(call.await);
    }
    eventually(async || {
        let waiting: i64 = sqlx::query_scalar(waiting)
            .fetch_one(&mut *observer.lock().await)
            .await
            .unwrap();
        (waiting == 0).then_some(())
    })
    .await;
    execute(&mut connection, "ROLLBACK".to_owned()).await;
    world.close().await;
}
