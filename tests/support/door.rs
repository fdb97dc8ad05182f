use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way to a server that can be shut and opened. While it is shut it takes connections, counts
/// them and closes them at once, as the port of a server does that has no process left.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    open: watch::Sender<bool>,
    turned_away: Arc<AtomicUsize>,
}

impl Door {
    /// To `host:port`, open.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (open, state) = watch::channel(true);
        let turned_away = Arc::new(AtomicUsize::new(0));
        let counted = turned_away.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *state.borrow() {
                    tokio::spawn(pass(near, target.clone(), state.clone()));
                } else {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self {
            address,
            open,
            turned_away,
        }
    }

    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts what is connected and turns away what comes.
    pub fn shut(&self) {
        self.open.send_replace(false);
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Connections that came while it was shut.
    pub fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::SeqCst)
    }
}

async fn pass(mut near: TcpStream, target: String, mut open: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
