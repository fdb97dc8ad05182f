use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way to RabbitMQ that can be cut and mended.
pub(super) struct Proxy {
    address: SocketAddr,
    // Odd while the way is cut; each change ends the connections made before it.
    era: Arc<watch::Sender<u64>>,
}

impl Proxy {
    pub(super) async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let era = Arc::new(watch::Sender::new(0));
        let changes = era.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut era = changes.subscribe();
                if *era.borrow_and_update() % 2 == 1 {
                    continue;
                }
                let target = target.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = era.changed() => {}
                    }
                });
            }
        });
        Self { address, era }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn cut(&self) {
        self.era.send_modify(|era| *era |= 1);
    }

    pub(super) fn mend(&self) {
        self.era.send_modify(|era| *era = (*era | 1) + 1);
    }
}
