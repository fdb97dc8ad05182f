use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way to a server that can be shut and opened. While it is not open it takes connections and
/// counts them.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    stands: watch::Sender<Stands>,
    turned_away: Arc<AtomicUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Open,
    /// Who comes is turned away at once, as by the port of a server that has no process left.
    Shut,
    /// Who comes is never answered, as by a server that is stopped or whose disk hangs.
    Silent,
}

impl Door {
    /// To `host:port`, open.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (stands, state) = watch::channel(Stands::Open);
        let turned_away = Arc::new(AtomicUsize::new(0));
        let counted = turned_away.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let now = *state.borrow();
                if now != Stands::Open {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                match now {
                    Stands::Open => {
                        tokio::spawn(pass(near, target.clone(), state.clone()));
                    }
                    Stands::Shut => {}
                    Stands::Silent => {
                        tokio::spawn(hold(near, state.clone()));
                    }
                }
            }
        });
        Self {
            address,
            stands,
            turned_away,
        }
    }

    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts what is connected and turns away what comes.
    pub fn shut(&self) {
        self.stands.send_replace(Stands::Shut);
    }

    /// Says nothing more to what is connected and to what comes, until it stands otherwise.
    pub fn fall_silent(&self) {
        self.stands.send_replace(Stands::Silent);
    }

    pub fn open(&self) {
        self.stands.send_replace(Stands::Open);
    }

    /// Connections that came while it was not open.
    pub fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::SeqCst)
    }
}

async fn pass(mut near: TcpStream, target: String, mut door: watch::Receiver<Stands>) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    let stands = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
        now = door.wait_for(|now| *now != Stands::Open) => now.map(|now| *now),
    };
    if stands.is_ok_and(|now| now == Stands::Silent) {
        hold(near, door).await;
    }
}

/// Keeps a connection and says nothing.
async fn hold(near: TcpStream, mut door: watch::Receiver<Stands>) {
    // Gone with the door, too.
    let _ = door.wait_for(|now| *now != Stands::Silent).await;
    drop(near);
}
